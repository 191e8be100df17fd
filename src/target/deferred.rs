//! Deferred artifacts: those that stay in the engine, because nobody but this tool's units looks
//! for them.
//!
//! Of a library or a build script's program, a plan brings back only what cargo looks at: what
//! rustc said, and its dep-info. The rest stays in the engine ([`crate::engine::cache`]) for the
//! units made from it. In the place of each artifact is a stub that names the step which made it,
//! and whoever turns out to need the bytes has them fetched
//! ([`Session::fetch`](crate::build::Session::fetch)).
//!
//! There are two kinds of folders for that: the temporary target folder of `cargo install`, and, if
//! the user asked for it, a build folder in the cache that `cargo green` has cargo use for commands
//! of which compilers alone read libraries.

use std::{fs::File, io::Write, os::unix::fs::OpenOptionsExt};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::env::Env,
    rustc::crate_type::CrateType,
    step::key::Key,
    target::{
        shim::Shim,
        stub::{STUB, named_in},
    },
    unit::work::{Unit, Work},
    util::{disk::OnDisk, state_dir::Cache},
};

/// In the cache: the build folders in which libraries and build scripts of dependencies are only
/// stubs.
pub const BUILD: &str = "build";
/// After how many a build folder that no plan was made for is removed.
const DAYS: u32 = 90;
/// Whether a target folder goes with the command that made it.
///
/// Source: `cargo::ops::cargo_install`.
pub fn is_passing(target: &Utf8Path, env: &Env) -> bool {
    let temp = env.get("TMPDIR").filter(|dir| !dir.is_empty()).unwrap_or("/tmp");
    target.parent() == Some(Utf8Path::new(temp))
        && target.file_name().is_some_and(|name| name.starts_with("cargo-install"))
}

/// What cargo is to take for its build folder; `None` where there is no cache folder, or cargo
/// would misread its name.
///
/// Source: cargo docs, "build.build-dir".
pub fn build_folder(env: &Env) -> Option<Utf8PathBuf> {
    let cache = env.cache_dir().ok()?;
    let is_template = cache.as_str().contains(['{', '}']);
    (!is_template).then(|| cache.join(BUILD).join("{workspace-path-hash}"))
}

/// Whether a folder is such a build folder.
pub fn is_build_folder(folder: &Utf8Path, env: &Env) -> bool {
    env.cache_dir().is_ok_and(|cache| folder.starts_with(cache.join(BUILD)))
}

/// Removes build folders that were not used for long, once it is noted that this one is.
pub fn sweep(cache: &Cache, folder: &Utf8Path) -> Result<()> {
    let below =
        folder.strip_prefix(cache.path(BUILD)).ok().and_then(|below| below.components().next());
    below.and_then(|first| cache.used(&format!("{BUILD}/{first}")));
    cache.sweep_folder(BUILD, DAYS)
}

/// Whether stubs may be in a target or build folder.
pub fn may_be_in(folder: &Utf8Path, env: &Env) -> bool {
    is_passing(folder, env) || is_build_folder(folder, env)
}

/// Whether nobody but containers needs what a unit makes.
pub fn may_be(unit: &Unit) -> bool {
    let Work::Compile { args, .. } = &unit.work else { return false };
    let is_library =
        |kind: &CrateType| matches!(kind, CrateType::Lib | CrateType::Rlib | CrateType::ProcMacro);
    unit.makes_build_script() || unit.serves_units() && args.crate_types().iter().all(is_library)
}

/// The store's name for what came back of a unit whose artifacts did not.
pub fn stored_as(key: &str) -> String {
    format!("{key}-left")
}

/// Writes stubs for a unit's artifacts into a folder.
pub fn put_stubs(unit: &Unit, key: &str, folder: &Utf8Path) -> Result<()> {
    for name in unit.output_files() {
        let stub = folder.join(name);
        if !stub.exists() {
            // A program's is to be started: what is in front of it has the engine run it.
            let mode = if unit.makes_build_script() { 0o777 } else { 0o666 };
            let file = File::options().write(true).create_new(true).mode(mode).open(&stub);
            file.and_then(|mut file| write!(file, "{STUB}{key}"))
                .on_disk(&stub, || format!("failed to write `{stub}`"))?;
        }
    }
    Ok(())
}

/// The step whose artifact this is the stub of, if it is one.
pub fn maker(path: &Utf8Path) -> Option<Key> {
    match Shim::open(path).ok()? {
        Some(mut shim) => shim.maker(),
        None => named_in(File::open(path).ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::shim;

    #[test]
    fn only_cargos_temporary_folder_passes() {
        let (env, other) = (Env::with(&[]), Env::with(&[("TMPDIR", "/t")]));
        let is_passing = |target: &str, env| is_passing(Utf8Path::new(target), env);
        assert!(
            is_passing("/tmp/cargo-installX1", &env) && is_passing("/t/cargo-installX1", &other)
        );
        for lasting in
            ["/tmp/cargo-installX1/a", "/tmp/target", "/t/cargo-installX1", "/w/cargo-install", ""]
        {
            assert!(!is_passing(lasting, &env), "{lasting}");
        }
    }

    #[test]
    fn stand_ins_last_in_the_cache_only() {
        let env = Env::with(&[("XDG_CACHE_HOME", "/c")]);
        assert_eq!(build_folder(&env).unwrap(), "/c/rustcbuildx/build/{workspace-path-hash}");
        assert!(may_be_in(Utf8Path::new("/c/rustcbuildx/build/1a/2b"), &env));
        assert!(!may_be_in(Utf8Path::new("/c/target"), &env));
        assert_eq!(build_folder(&Env::with(&[("XDG_CACHE_HOME", "/{c}")])), None);
    }

    #[test]
    fn a_stand_in_names_its_maker() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("liba.rlib");
        assert_eq!(maker(&path), None);
        for (bytes, expected) in
            [(format!("{STUB}u1").into_bytes(), Some("u1")), (vec![0xff; 300], None)]
        {
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(maker(&path).as_deref(), expected);
            let program = path.with_file_name("build_script_build-1");
            std::fs::write(&program, bytes).unwrap();
            shim::wrap(&program, &program, &b"front"[..]).unwrap();
            assert_eq!(maker(&program).as_deref(), expected);
        }
    }
}
