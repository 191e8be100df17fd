//! rustc command lines: nothing is lost, and nothing that is asked of one panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustcbuildx::{
    config::env::Env,
    rustc::{args::RustcArgs, outputs, tool::Tool},
    unit::invocation,
};

fuzz_target!(|text: &str| {
    let words: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let _ = Tool::programs(&words);
    let args = RustcArgs::parse(words.clone());
    assert_eq!(args.words(), words);
    let _ = (
        outputs::of(&args),
        args.externs().count(),
        args.library_paths().count(),
        args.to_string(),
    );
    let env = Env::with(&[("CARGO_MANIFEST_DIR", "/w/p")]);
    let _ = invocation::invocation(Tool::Rustc, args, "/w".into(), &env);
});
