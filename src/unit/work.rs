//! One call of the wrapper, and one unit of work: what cargo asked for, with no container in sight.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    config::{env::Env, secrets::is_secret},
    rustc::{
        args::{Flag, RustcArgs},
        crate_type::CrateType,
        emit::EmitKind,
        tool::Tool,
    },
    unit::path_map::Places,
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

/// One compile, or one run of a build script.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unit {
    pub work: Work,
    /// Where cargo starts the process.
    pub cwd: Utf8PathBuf,
    /// `CARGO_MANIFEST_DIR`: the folder of the package.
    pub package: Utf8PathBuf,
    /// The variables that may decide its output.
    pub env: BTreeMap<String, String>,
    /// Variables whose values no Dockerfile may hold, each with what of it decides the output, if anything.
    pub hidden: BTreeMap<String, Option<String>>,
    /// Files and folders outside the package that it reads.
    pub paths: Vec<Utf8PathBuf>,
    /// Where the container shows all of these.
    #[serde(skip)]
    pub places: Places,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    Compile {
        tool: Tool,
        args: RustcArgs,
        out_dir: Utf8PathBuf,
    },
    /// `library_path` holds the folders of its target folder that cargo adds to the dynamic linker's.
    BuildScript {
        program: Utf8PathBuf,
        out_dir: Utf8PathBuf,
        library_path: Vec<String>,
    },
}

/// How many processes a build script may run at once.
pub const NUM_JOBS: &str = "NUM_JOBS";

impl Unit {
    /// One that reads nothing but its package.
    pub fn new(work: Work, cwd: Utf8PathBuf, package: Utf8PathBuf) -> Self {
        let (env, hidden, paths, places) = Default::default();
        Self { work, cwd, package, env, hidden, paths, places }
    }

    /// Name and version of the package, and the crate: for messages.
    pub fn name(&self) -> String {
        let package = self.package_name();
        let version = self.env.get("CARGO_PKG_VERSION").map_or("?", String::as_str);
        match &self.work {
            Work::Compile { args, .. } => {
                let name = args.value(Flag::CrateName).unwrap_or("?");
                format!("{package} {version} (crate {name})")
            }
            Work::BuildScript { .. } => format!("{package} {version} (build script)"),
        }
    }

    pub fn package_name(&self) -> &str {
        self.env.get("CARGO_PKG_NAME").map_or("?", String::as_str)
    }

    /// What cargo made for it of artifact dependencies: programs and libraries, by the variables that name them.
    ///
    /// Source: cargo docs, "Artifact dependencies: environment variables"; those of folders lead to these same files.
    pub fn artifacts(&self) -> impl Iterator<Item = &Utf8Path> {
        let is_file = |name: &str| ARTIFACT_FILES.iter().any(|prefix| name.starts_with(prefix));
        self.env.iter().filter(move |(name, _)| is_file(name)).map(|(_, path)| Utf8Path::new(path))
    }

    /// The programs of its package, which few tests do more with than to run them.
    pub fn programs(&self) -> impl Iterator<Item = &Utf8Path> {
        self.env.iter().filter(|(name, _)| name.starts_with("CARGO_BIN_EXE_")).map(|(_, path)| Utf8Path::new(path))
    }

    /// The folder whose new files are the unit's output.
    pub fn out_dir(&self) -> &Utf8Path {
        match &self.work {
            Work::Compile { out_dir, .. } | Work::BuildScript { out_dir, .. } => out_dir,
        }
    }

    /// Whether the output is a build script's program.
    ///
    /// Cargo names such crates `build_script_*`, and sets `CARGO_BIN_NAME` for every other program
    /// (cargo docs, "Environment variables Cargo sets for crates").
    pub fn makes_build_script(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return false };
        args.value(Flag::CrateName).is_some_and(|name| name.starts_with("build_script_"))
            && args.crate_types() == [CrateType::Bin]
            && args.emits().iter().any(|emit| emit.kind == EmitKind::Link)
            && !self.env.contains_key("CARGO_BIN_NAME")
    }

    /// Whether rustc will run a linker, and so needs the object code of every crate below.
    pub fn links(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return false };
        let types = args.crate_types();
        let is_library = |kind: &CrateType| matches!(kind, CrateType::Lib | CrateType::Rlib);
        let makes_program = types.is_empty() || !types.iter().all(is_library);
        (makes_program || self.is_test()) && args.emits().iter().any(|emit| emit.kind == EmitKind::Link)
    }

    /// Whether other units are made from what this one makes, as far as one can tell.
    pub fn serves_units(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return true };
        let is_library = |kind: &CrateType| {
            matches!(kind, CrateType::Lib | CrateType::Rlib | CrateType::Dylib | CrateType::ProcMacro)
        };
        self.makes_build_script() || !self.is_test() && args.crate_types().iter().any(is_library)
    }

    pub fn is_test(&self) -> bool {
        matches!(&self.work, Work::Compile { args, .. } if args.has(Flag::Test))
    }

    /// Whether cargo asks rustc to keep what the next compile may use again.
    pub fn is_incremental(&self) -> bool {
        matches!(&self.work, Work::Compile { args, .. } if args.codegen("incremental").is_some())
    }

    pub fn is_build_script(&self) -> bool {
        matches!(self.work, Work::BuildScript { .. })
    }

    pub fn is_proc_macro(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return false };
        args.crate_types() == [CrateType::ProcMacro]
    }
}

/// Sorts a call to a compiler: a question, a compile, or one for the local compiler.
///
/// `args` has its `@file`s expanded. Never fails: what is an error is left to rustc.
pub fn invocation(tool: Tool, args: RustcArgs, cwd: Utf8PathBuf, env: &Env) -> Invocation {
    let inputs: Vec<&str> = args.inputs().collect();
    let crate_name = args.value(Flag::CrateName);
    let (&[input], Some(package), Some(name)) = (&inputs[..], env.get("CARGO_MANIFEST_DIR"), crate_name) else {
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
    let env = declared_variables(env, &COMPILE);
    let package = Utf8PathBuf::from(package);
    let work = Work::Compile { tool, args, out_dir };
    Invocation::Compile(Box::new(Unit { env, ..Unit::new(work, cwd, package) }))
}

/// A run of the build script at `program` in the folder `cwd`, as cargo starts it for a `target` folder; `None` if cargo
/// does not.
pub fn build_script(program: Utf8PathBuf, cwd: Utf8PathBuf, target: Option<&Utf8Path>, env: &Env) -> Option<Unit> {
    let out_dir = Utf8PathBuf::from(env.get("OUT_DIR")?);
    let package = Utf8PathBuf::from(env.get("CARGO_MANIFEST_DIR")?);
    let mut library_path = env.added_by_parent("LD_LIBRARY_PATH");
    if let Some(target) = target {
        library_path.retain(|folder| is_filled(Utf8Path::new(folder), target));
    }
    let mut hidden = BTreeMap::new();
    // Another machine has another number of processors, and the same output.
    hidden.insert(NUM_JOBS.to_owned(), None);
    let env = declared_variables(env, &BUILD_SCRIPT);
    let work = Work::BuildScript { program, out_dir, library_path };
    Some(Unit { env, hidden, ..Unit::new(work, cwd, package) })
}

/// Whether a container has something in a folder of libraries: those that cargo compiled, or that build scripts made.
/// It has its own toolchain, and nothing of what cargo copies for its user.
fn is_filled(folder: &Utf8Path, target: &Utf8Path) -> bool {
    let is_filled = |below: &Utf8Path| below.ends_with("deps") || below.components().any(|part| part.as_str() == "out");
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

/// What the variables begin with that name artifacts of dependencies.
const ARTIFACT_FILES: &[&str] = &["CARGO_BIN_FILE_", "CARGO_CDYLIB_FILE_", "CARGO_STATICLIB_FILE_"];

/// Which variables of the environment a kind of unit gets.
struct Declared {
    is_of_compiles: bool,
    names: &'static [&'static str],
    prefixes: &'static [&'static str],
}

/// Source: cargo docs, "Environment variables Cargo sets for crates"; rustc and clippy docs for those
/// that change what they print or accept.
const COMPILE: Declared = Declared {
    is_of_compiles: true,
    names: &[
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_RUSTC_CURRENT_DIR",
        "CARGO_TARGET_TMPDIR",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "CLIPPY_DISABLE_DOCS_LINKS",
        "OUT_DIR",
        "RUSTC_BOOTSTRAP",
        "RUSTC_FORCE_RUSTC_VERSION",
        "RUSTC_LOG",
        "RUST_BACKTRACE",
        "RUST_LIB_BACKTRACE",
        "RUST_MIN_STACK",
        "SOURCE_DATE_EPOCH",
    ],
    prefixes: &["CARGO_BIN_", "CARGO_CDYLIB_", "CARGO_PKG_", "CARGO_STATICLIB_"],
};

/// Source: cargo docs, "Environment variables Cargo sets for build scripts"; the `cc`, `pkg-config`
/// and `cmake` crates' docs for what a user sets to steer them.
const BUILD_SCRIPT: Declared = Declared {
    is_of_compiles: false,
    names: &[
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MANIFEST_PATH",
        "CRATE_CC_NO_DEFAULTS",
        "DEBUG",
        "HOST",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUST_BACKTRACE",
        "RUST_LIB_BACKTRACE",
        "SOURCE_DATE_EPOCH",
        "TARGET",
    ],
    prefixes: &[
        "AR",
        "ARFLAGS",
        "CARGO_BIN_",
        "CARGO_CDYLIB_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_PKG_",
        "CARGO_STATICLIB_",
        "CC",
        "CFLAGS",
        "CMAKE",
        "CXX",
        "CXXFLAGS",
        "DEP_",
        "LDFLAGS",
        "PKG_CONFIG",
        "RANLIB",
    ],
};

/// Names that cargo sets for its own ends, or that mean something else in a container.
const NEVER: &[&str] = &[
    NUM_JOBS,
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "MFLAGS",
    "PATH",
    "PWD",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SHLVL",
    "TMPDIR",
    "_",
];

fn declared_variables(env: &Env, declared: &Declared) -> BTreeMap<String, String> {
    env.iter()
        .filter(|(name, value)| {
            !NEVER.contains(name) && (!is_secret(name) || is_of_package(name, value, env, declared))
        })
        .filter(|(name, _)| {
            declared.names.contains(name)
                || declared.prefixes.iter().any(|prefix| name.starts_with(prefix))
                || env.set_by_parent(name) == Some(true) && (*name != "CARGO")
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Whether a variable is what a package's build script said, for the compilers of that package or for a dependent's script. What
/// the user's environment has under such a name is not.
fn is_of_package(name: &str, value: &str, env: &Env, declared: &Declared) -> bool {
    match declared.is_of_compiles {
        true => env.has_script_said(name, value),
        false => name.starts_with("DEP_") && env.set_by_parent(name) == Some(true),
    }
}

/// Whether a variable may be given to a unit on the word of the unit alone.
///
/// A crate may bake any value in, and its container needs but two for itself; a build script acts on them.
pub fn may_be_given(name: &str, work: &Work) -> bool {
    let needed_there: &[&str] = match work {
        Work::Compile { .. } => &["LD_LIBRARY_PATH", "PATH"],
        Work::BuildScript { .. } => NEVER,
    };
    !needed_there.contains(&name) && !is_secret(name)
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
        let unit =
            compile("--crate-name x src/lib.rs --crate-type lib --emit=dep-info,metadata,link --out-dir target/d");
        assert_eq!(unit.out_dir(), "/w/target/d");
        assert!(!unit.links() && !unit.makes_build_script() && !unit.is_proc_macro());
        assert!(compile("--crate-name x src/lib.rs --test --emit=link --out-dir t").links());
        assert!(compile("--crate-name x m.rs --crate-type lib --crate-type cdylib --emit=link --out-dir t").links());
        assert!(!compile("--crate-name x m.rs --crate-type bin --emit=metadata --out-dir t").links());
        assert!(!compile("--crate-name x m.rs --test --emit=dep-info,metadata --out-dir t").links());
        assert!(
            compile("--crate-name build_script_build b.rs --crate-type bin --emit=link --out-dir t")
                .makes_build_script()
        );
    }

    #[test]
    fn secrets_and_strangers_stay_out() {
        let env = Env::with(&[
            ("CARGO_MANIFEST_DIR", "/w/p"),
            ("CARGO_REGISTRY_TOKEN", "s"),
            ("CARGO_PKG_KEY", "not secret"),
            ("DEP_X_KEY", "s"),
            ("EDITOR", "vi"),
            ("CC", "clang"),
            ("RUSTC_WRAPPER", "rustcbuildx"),
        ]);
        let names = |declared| declared_variables(&env, declared).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&COMPILE), ["CARGO_MANIFEST_DIR", "CARGO_PKG_KEY"]);
        assert_eq!(names(&BUILD_SCRIPT), ["CARGO_MANIFEST_DIR", "CARGO_PKG_KEY", "CC"]);
    }
}
