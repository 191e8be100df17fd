//! Which variables of the environment a unit gets.

use std::collections::BTreeMap;

use crate::{
    config::{
        env::Env,
        secrets::{has_password, is_secret},
    },
    rustc::dep_info,
    unit::work::Work,
};

/// How many processes a build script may run at once.
pub const NUM_JOBS: &str = "NUM_JOBS";

/// Which variables of the environment a kind of unit gets.
struct Declared {
    is_of_compiles: bool,
    names: &'static [&'static str],
    prefixes: &'static [&'static str],
}

/// Source: cargo docs, "Environment variables Cargo sets for crates"; rustc and clippy docs for
/// those that change what they print or accept.
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

/// Whether a variable is cargo's, or one that every program of Rust asks for.
pub fn are_of_cargo(name: &str) -> bool {
    let is_declared = |declared: &Declared| {
        declared.names.contains(&name)
            || declared.prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    NEVER.contains(&name)
        || OF_WORKER.contains(&name)
        || [&COMPILE, &BUILD_SCRIPT].into_iter().any(is_declared)
}

fn declared_variables(env: &Env, declared: &Declared) -> BTreeMap<String, String> {
    env.iter()
        .filter(|(name, value)| {
            let is_secret = is_secret(name) || has_password(value);
            !NEVER.contains(name) && (!is_secret || is_of_package(name, value, env, declared))
        })
        .filter(|(name, _)| {
            declared.names.contains(name)
                || declared.prefixes.iter().any(|prefix| name.starts_with(prefix))
                || env.set_by_parent(name) == Some(true) && (*name != "CARGO")
        })
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The variables of the environment that a compile gets.
pub fn of_compile(env: &Env) -> BTreeMap<String, String> {
    declared_variables(env, &COMPILE)
}

/// The variables of the environment that a run of a build script gets.
pub fn of_build_script(env: &Env) -> BTreeMap<String, String> {
    declared_variables(env, &BUILD_SCRIPT)
}

/// Whether a variable comes from a package's build script: for the compilers of that package, or
/// for the script of a dependent. A variable of the user's environment with such a name does not.
fn is_of_package(name: &str, value: &str, env: &Env, declared: &Declared) -> bool {
    match declared.is_of_compiles {
        true => {
            let said = dep_info::directives(&env.script_output(), "rustc-env");
            said.iter().any(|said| said.trim_end().split_once('=') == Some((name, value)))
        }
        false => name.starts_with("DEP_") && env.set_by_parent(name) == Some(true),
    }
}

/// Whether a variable may be given to a unit on the word of the unit alone.
///
/// A crate may bake any value in, and its container needs but two for itself; a build script acts
/// on them.
pub fn may_be_given(name: &str, work: &Work) -> bool {
    let needed_there: &[&str] = match work {
        Work::Compile { .. } => &["LD_LIBRARY_PATH", "PATH"],
        Work::BuildScript { .. } => NEVER,
    };
    !needed_there.contains(&name) && !is_secret(name)
}

/// What the worker sets by itself, or the container needs.
const OF_WORKER: &[&str] =
    &["CARGO", "CARGO_MAKEFLAGS", "LLVM_PROFILE_FILE", "MAKEFLAGS", "MFLAGS", NUM_JOBS, "TMPDIR"];

/// Whether a variable may be given to a unit since its code was seen to ask for it.
pub fn may_be_given_to_code(name: &str, work: &Work) -> bool {
    may_be_given(name, work) && !OF_WORKER.contains(&name)
}

/// Whether a variable may be given to a unit since a program or library of its image was seen to
/// ask for it: not if that is to speak as the user likes it, or to find what is the image's own.
pub fn may_be_given_to_tools(name: &str) -> bool {
    let prefixes = ["BASH", "COLLECT_", "GLIBC_", "LC_", "LD_", "MALLOC_", "RUSTC_ICE"];
    let is_of_tools = |name: &str| {
        OF_TERMINALS.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    !NEVER.contains(&name) && !OF_WORKER.contains(&name) && !is_of_tools(name) && !is_secret(name)
}

/// What compilers, linkers and shells look at before they speak, and what decides nothing of what
/// they make.
const OF_TERMINALS: &[&str] = &[
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "ENV",
    "LANG",
    "LANGUAGE",
    "LINES",
    "LOCPATH",
    "LOGNAME",
    "MAIL",
    "NLSPATH",
    "NO_COLOR",
    "OLDPWD",
    "OUTPUT_CHARSET",
    "POSIXLY_CORRECT",
    "SHELL",
    "TEMP",
    "TERM",
    "TERMCAP",
    "TERMINFO",
    "TERM_PROGRAM",
    "TMP",
    "TZ",
    "USER",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_strangers_stay_out() {
        let env = Env::with(&[
            ("CARGO_MANIFEST_DIR", "/w/p"),
            ("CARGO_REGISTRY_TOKEN", "s"),
            ("CARGO_PKG_KEY", "not secret"),
            ("DEP_X_KEY", "s"),
            ("EDITOR", "vi"),
            ("CFLAGS", "-Da=http://me:secret@host"),
            ("CC", "clang"),
            ("RUSTC_WRAPPER", "rustcbuildx"),
        ]);
        let names = |declared| declared_variables(&env, declared).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&COMPILE), ["CARGO_MANIFEST_DIR", "CARGO_PKG_KEY"]);
        assert_eq!(names(&BUILD_SCRIPT), ["CARGO_MANIFEST_DIR", "CARGO_PKG_KEY", "CC"]);
    }
}
