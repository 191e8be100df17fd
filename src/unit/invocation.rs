//! What one call of the wrapper asks for: a compile, a run of a build script, or a mere question to
//! the compiler.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::env::Env,
    rustc::{
        args::{Flag, RustcArgs},
        tool::Tool,
    },
    unit::{
        variables::{self, NUM_JOBS},
        work::{Unit, Work},
    },
};

/// What cargo wants of one call.
#[derive(Debug)]
pub enum Invocation {
    Compile(Box<Unit>),
    /// A question to the compiler, or a compile that says nothing worth a container.
    Passthrough,
    /// A compile that cannot be served faithfully, and why.
    Local(String),
}

/// Sorts a call to a compiler: a question, a compile, or one for the local compiler.
///
/// `args` has its `@file`s expanded. Never fails: what is an error is left to rustc.
pub fn invocation(tool: Tool, args: RustcArgs, cwd: Utf8PathBuf, env: &Env) -> Invocation {
    let inputs: Vec<&str> = args.inputs().collect();
    let crate_name = args.value(Flag::CrateName);
    let (&[input], Some(package), Some(name)) =
        (&inputs[..], env.get("CARGO_MANIFEST_DIR"), crate_name)
    else {
        return Invocation::Passthrough;
    };
    let asks = [Flag::Version, Flag::Help, Flag::Explain].iter().any(|flag| args.has(*flag));
    if asks || input == "-" || name == "___" || args.values(Flag::Print).any(is_question) {
        return Invocation::Passthrough;
    }
    if let Some(reason) = unservable(&args) {
        return Invocation::Local(reason);
    }
    let Some(out_dir) = args.value(Flag::OutDir).map(|dir| cwd.join(dir)) else {
        return Invocation::Local("it has no --out-dir".to_owned());
    };
    let env = variables::of_compile(env);
    let package = Utf8PathBuf::from(package);
    let work = Work::Compile { tool, args, out_dir };
    Invocation::Compile(Box::new(Unit { env, ..Unit::new(work, cwd, package) }))
}

/// A run of the build script at `program` in the folder `cwd`, as cargo starts it for a `target`
/// folder; `None` if cargo does not.
pub fn build_script(
    program: Utf8PathBuf,
    cwd: Utf8PathBuf,
    target: Option<&Utf8Path>,
    env: &Env,
) -> Option<Unit> {
    let out_dir = Utf8PathBuf::from(env.get("OUT_DIR")?);
    let package = Utf8PathBuf::from(env.get("CARGO_MANIFEST_DIR")?);
    let mut library_path = env.added_by_parent("LD_LIBRARY_PATH");
    if let Some(target) = target {
        library_path.retain(|folder| is_filled(Utf8Path::new(folder), target));
    }
    let mut hidden = BTreeMap::new();
    // Another machine has another number of processors, and the same output.
    hidden.insert(NUM_JOBS.to_owned(), None);
    let env = variables::of_build_script(env);
    let work = Work::BuildScript { program, out_dir, library_path };
    Some(Unit { env, hidden, ..Unit::new(work, cwd, package) })
}

/// Whether a container has something in a folder of libraries: those that cargo compiled, or that
/// build scripts made. It has its own toolchain, and nothing of what cargo copies for its user.
fn is_filled(folder: &Utf8Path, target: &Utf8Path) -> bool {
    let is_filled = |below: &Utf8Path| {
        below.ends_with("deps") || below.components().any(|part| part.as_str() == "out")
    };
    folder.strip_prefix(target).is_ok_and(is_filled)
}

/// `--print` kinds that go with a compile; every other is answered instead of compiling.
fn is_question(kind: &str) -> bool {
    !matches!(kind.split('=').next(), Some("link-args" | "native-static-libs"))
}

fn unservable(args: &RustcArgs) -> Option<String> {
    if args.has(Flag::Sysroot) {
        return Some("it names a --sysroot of this machine".to_owned());
    }
    if args.has(Flag::Output) || args.emits().iter().any(|emit| emit.path.is_some()) {
        return Some("it names its output files one by one".to_owned());
    }
    if args.codegen("target-cpu") == Some("native") {
        return Some("target-cpu=native means the processor of this machine".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(line: &str, vars: &[(&str, &str)]) -> Invocation {
        let words = line.split(' ').map(str::to_owned).collect();
        invocation(Tool::Rustc, RustcArgs::parse(words), "/w".into(), &Env::with(vars))
    }

    const CARGO: &[(&str, &str)] = &[("CARGO_MANIFEST_DIR", "/w/p"), ("CARGO_PKG_NAME", "p")];

    #[track_caller]
    fn compile(line: &str) -> Unit {
        match sort(line, CARGO) {
            Invocation::Compile(unit) => *unit,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn questions_pass_through() {
        for line in [
            "-vV",
            "- --crate-name ___ --print=file-names",
            "- --crate-name x --out-dir /o",
            "a.rs --crate-name ___ --print cfg",
            "a.rs --crate-name x --print sysroot --out-dir /o",
            "--crate-name x",
        ] {
            assert!(matches!(sort(line, CARGO), Invocation::Passthrough), "{line}");
        }
        assert!(matches!(sort("a.rs --crate-name x --out-dir /o", &[]), Invocation::Passthrough));
    }

    #[test]
    fn what_names_this_machine_stays_here() {
        for line in [
            "a.rs --crate-name x --out-dir /o --sysroot /s",
            "a.rs --crate-name x -o f",
            "a.rs --crate-name x --out-dir /o -Ctarget-cpu=native",
        ] {
            assert!(matches!(sort(line, CARGO), Invocation::Local(_)), "{line}");
        }
    }

    #[test]
    fn a_compile_knows_its_output() {
        let unit = compile(
            "--crate-name x src/lib.rs --crate-type lib --emit=dep-info,metadata,link --out-dir \
             target/d",
        );
        assert_eq!(unit.out_dir(), "/w/target/d");
        assert!(!unit.links() && !unit.makes_build_script() && !unit.is_proc_macro());
        assert!(compile("--crate-name x src/lib.rs --test --emit=link --out-dir t").links());
        assert!(
            compile(
                "--crate-name x m.rs --crate-type lib --crate-type cdylib --emit=link --out-dir t"
            )
            .links()
        );
        assert!(
            !compile("--crate-name x m.rs --crate-type bin --emit=metadata --out-dir t").links()
        );
        assert!(
            !compile("--crate-name x m.rs --test --emit=dep-info,metadata --out-dir t").links()
        );
        assert!(
            compile(
                "--crate-name build_script_build b.rs --crate-type bin --emit=link --out-dir t"
            )
            .makes_build_script()
        );
    }
}
