//! What rustc, build scripts, linkers and engines say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustcbuildx::rustc::dep_info;

fuzz_target!(|text: &str| {
    let _ = dep_info::variables(text);
    let _ = dep_info::undefined_variables(text);
    let _ = dep_info::unreadable_files(text);
    let _ = dep_info::pointed_at(text);
    let _ = dep_info::complaints_of_macros(text);
    for name in ["error", "rerun-if-changed", "rerun-if-env-changed"] {
        let _ = dep_info::directives(text, name);
    }
    let _ = dep_info::errors(text);
});
