//! The names of the files that a rustc command line writes, as far as cargo or another unit looks
//! for them.
//!
//! Source: `rustc_session::output::out_filename`, for Linux.

use crate::rustc::{
    args::{Flag, RustcArgs},
    crate_type::CrateType,
    emit::EmitKind,
};

/// Names, each with what rustc calls its kind.
pub fn of(args: &RustcArgs) -> Vec<(String, &'static str)> {
    let name = args.value(Flag::CrateName).unwrap_or_default();
    let stem = format!("{name}{}", args.codegen("extra-filename").unwrap_or_default());
    let mut types = args.crate_types();
    if args.has(Flag::Test) || types.is_empty() {
        types = vec![CrateType::Bin];
    }
    let mut names = Vec::new();
    for emit in args.emits() {
        match emit.kind {
            EmitKind::DepInfo => names.push((format!("{stem}.d"), "dep-info")),
            EmitKind::Metadata => names.push((format!("lib{stem}.rmeta"), "metadata")),
            EmitKind::Link => names.extend(types.iter().map(|kind| {
                let file = match kind {
                    CrateType::Lib | CrateType::Rlib => format!("lib{stem}.rlib"),
                    CrateType::Staticlib => format!("lib{stem}.a"),
                    CrateType::Dylib | CrateType::Cdylib | CrateType::ProcMacro => {
                        format!("lib{stem}.so")
                    }
                    _ => stem.clone(),
                };
                (file, "link")
            })),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn names(line: &str, expected: &[&str]) {
        let args = RustcArgs::parse(line.split(' ').map(str::to_owned).collect());
        let names: Vec<_> = of(&args).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn outputs_are_named_as_rustc_does() {
        let rest = "--crate-name a -C extra-filename=-1";
        let line = |more: &str| format!("{rest} {more}");
        names(
            &line("--crate-type lib --emit=dep-info,metadata,link"),
            &["a-1.d", "liba-1.rmeta", "liba-1.rlib"],
        );
        names(&line("--crate-type proc-macro --emit=dep-info,link"), &["a-1.d", "liba-1.so"]);
        names(&line("--test --emit=dep-info,link"), &["a-1.d", "a-1"]);
        names(
            &line("--crate-type cdylib --crate-type rlib --emit=link"),
            &["liba-1.so", "liba-1.rlib"],
        );
        names(&line("--test --emit=dep-info,metadata"), &["a-1.d", "liba-1.rmeta"]);
    }
}
