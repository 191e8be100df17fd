//! Programs of this machine that a build is told to use: by the settings, by cargo's configuration,
//! and by variables that build scripts know.

use std::collections::BTreeSet;

use crate::config::{
    env::Env,
    files::cargo::{LINKERS, in_flags, is_for_this_machine, is_name},
};

/// Variables that name a program that does its work alone. Compilers of C are not among them: what
/// these need is spread over many folders. Source: the `cc`, `prost-build`, `nasm-rs` and
/// `flatc-rust` crates.
const VARIABLES: &[&str] =
    &["AR", "AS", "FLATC", "LD", "NASM", "NM", "OBJCOPY", "PROTOC", "RANLIB", "STRIP"];
const FLAGS: &[&str] = &["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"];
/// Source: cargo's `target.<triple>.linker` and `target.<triple>.rustflags`, as variables.
const OF_TARGETS: &str = "CARGO_TARGET_";

/// A program that a build is told to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// Its name on `PATH`, or its whole path.
    pub name: String,
    /// Whether the settings name it, so that a build without it is not what the user wants.
    pub is_required: bool,
}

/// All of them; `tools` are those of the settings. All processes of one build find the same.
pub fn programs(env: &Env, tools: Vec<String>) -> Vec<Program> {
    let linkers = env.in_files(LINKERS).map(|linkers| linkers.value.as_str()).unwrap_or_default();
    let mut named: BTreeSet<String> = linkers.split(',').map(str::to_owned).collect();
    let of_cargo = |name: &&str| env.of_cargo(name);
    named.extend(VARIABLES.iter().filter_map(of_cargo).map(str::to_owned));
    named.extend(in_flags(FLAGS.iter().filter_map(of_cargo)));
    for (name, _) in env.iter() {
        let Some(of_target) = name.strip_prefix(OF_TARGETS) else { continue };
        let Some(value) = env.of_cargo(name).filter(|_| is_for_this_machine(of_target)) else {
            continue;
        };
        if of_target.ends_with("_LINKER") {
            named.insert(value.to_owned());
        } else if of_target.ends_with("_RUSTFLAGS") {
            named.extend(in_flags([value]));
        }
    }
    named.retain(|name| is_name(name) && !tools.contains(name));
    let named = named.into_iter().map(|name| Program { name, is_required: false });
    let tools = tools.into_iter().map(|name| Program { name, is_required: true });
    let mut programs: Vec<Program> = tools.chain(named).collect();
    programs.sort();
    programs.dedup();
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_name_programs() {
        let target =
            format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU", std::env::consts::ARCH.to_uppercase());
        let (linker, flags) = (format!("{target}_LINKER"), format!("{target}_RUSTFLAGS"));
        let env = Env::with(&[
            ("PROTOC", "/home/me/protoc"),
            ("CC", "clang-19"),
            ("RUSTFLAGS", "-Clink-arg=-fuse-ld=mold"),
            (&linker, "clang"),
            (&flags, "-C linker=wild"),
            ("CARGO_TARGET_THUMBV7M_NONE_EABI_LINKER", "arm-gcc"),
            ("NM", ""),
        ]);
        let programs = programs(&env, vec!["flatc".into(), "clang".into()]);
        let name = |program: &Program| program.name.clone();
        let names: Vec<String> = programs.iter().map(name).collect();
        assert_eq!(names, ["/home/me/protoc", "clang", "flatc", "ld.mold", "wild"]);
        let required: Vec<String> =
            programs.iter().filter(|program| program.is_required).map(name).collect();
        assert_eq!(required, ["clang", "flatc"]);
    }
}
