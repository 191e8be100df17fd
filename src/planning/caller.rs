//! The cargo that called this process, and how to run its command again.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    path::PathBuf,
};

use camino::Utf8PathBuf;

use crate::{
    config::env::{Env, environment_of},
    planning::dry_run::{DryRun, changes_folder},
    util::{
        ancestors::{Process, nearest_cargo},
        digest::digest,
    },
};

/// How the names of variables begin that decide what a planner does. The wrapper may have others
/// than cargo: by the `[env]` table of cargo's configuration, or of a script that calls it.
const SETTINGS_BEGIN: &[&str] =
    &["BUILDKIT_", "BUILDX_", "CONTAINER", "DOCKER_", "RUSTCBUILDX", "XDG_CACHE_HOME"];
/// By these, cargo would take part in the jobserver of who started it, whose files a process in the
/// background does not have.
const JOBSERVER: &[&str] = &["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

/// A cargo of a command that can be planned.
#[derive(Debug)]
pub struct Caller {
    pub process: Process,
    /// Cargo's file.
    pub program: Utf8PathBuf,
    /// What follows cargo's name.
    pub words: Vec<String>,
    pub folder: PathBuf,
    /// The environment that cargo was started with, without the variables that it sets for a unit.
    environment: Vec<(OsString, OsString)>,
}

impl Caller {
    /// The nearest cargo above this process. `None` if there is none, the system does not tell of
    /// it, or nobody knows how to make a dry run of its command.
    pub fn find() -> Option<Self> {
        let process = nearest_cargo()?;
        let file = |name: &str| format!("/proc/{}/{name}", process.id);
        let words = words(fs::read(file("cmdline")).ok()?)?;
        if changes_folder(&words) {
            // It has done so by now, and would do it again.
            return None;
        }
        DryRun::of(&words)?;
        let program = Utf8PathBuf::from_path_buf(fs::read_link(file("exe")).ok()?).ok()?;
        let folder = fs::read_link(file("cwd")).ok()?;
        let environment = environment_of(process.id)?;
        let is_whole = program.file_name() == Some("cargo") && process.is_cargo_still();
        is_whole.then_some(Self { process, program, words, folder, environment })
    }

    /// A name that no other cargo's barrier has.
    pub fn barrier(&self) -> String {
        let user = rustix::process::geteuid().as_raw().to_string();
        format!("cargo-{}", &digest([user, self.process.identity()])[..32])
    }

    /// The environment for a process that runs cargo's command again, with the settings of this
    /// one.
    pub fn environment(&self, env: &Env) -> impl Iterator<Item = (OsString, OsString)> {
        again(self.environment.iter().cloned(), env).into_iter()
    }
}

/// Cargo's arguments; `None` if one of them is not UTF-8.
///
/// Source: proc_pid_cmdline(5).
fn words(mut cmdline: Vec<u8>) -> Option<Vec<String>> {
    if cmdline.pop() != Some(0) {
        return None;
    }
    cmdline
        .split(|byte| *byte == 0)
        .skip(1)
        .map(|word| String::from_utf8(word.to_vec()).ok())
        .collect()
}

fn again(
    environment: impl Iterator<Item = (OsString, OsString)>,
    env: &Env,
) -> BTreeMap<OsString, OsString> {
    let is_kind = |name: &OsStr, kinds: &[&str]| {
        name.to_str().is_some_and(|name| kinds.iter().any(|kind| name.starts_with(kind)))
    };
    let output = env.script_output();
    let is_users = |(name, _): &(&str, &str)| {
        // A build script sets nothing for others.
        is_kind(name.as_ref(), SETTINGS_BEGIN) && !output.contains(name)
    };
    let settings = env.iter().filter(is_users);
    let mut again: BTreeMap<OsString, OsString> =
        environment.filter(|(name, _)| !is_kind(name, JOBSERVER)).collect();
    again.extend(settings.map(|(name, value)| (name.into(), value.into())));
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_the_name() {
        let case = |cmdline: &[u8], expected: Option<&[&str]>| {
            let found = words(cmdline.to_vec());
            let expected: Option<Vec<String>> =
                expected.map(|words| words.iter().map(ToString::to_string).collect());
            assert_eq!(found, expected);
        };
        case(
            b"/bin/cargo\0build\0--config\0a=\"b c\"\0",
            Some(&["build", "--config", "a=\"b c\""]),
        );
        case(b"cargo\0rustc\0--\0\0-v\0", Some(&["rustc", "--", "", "-v"]));
        case(b"cargo\0", Some(&[]));
        case(b"cargo\0\xff\0", None);
        // Of a process that ended, or that wrote over its name.
        case(b"", None);
        case(b"cargo build", None);
    }

    #[test]
    fn settings_are_the_wrappers_and_the_rest_is_cargos() {
        let cargos = [("PATH", "/bin"), ("DOCKER_HOST", "a"), ("MAKEFLAGS", "-j"), ("IT", "1")];
        let cargos = cargos.map(|(name, value)| (name.into(), value.into()));
        let env = Env::with(&[
            ("PATH", "/usr/bin"),
            ("DOCKER_HOST", "b"),
            ("RUSTCBUILDX_RUNNER", "podman"),
            ("CARGO_PKG_NAME", "a"),
            ("OUT_DIR", "/nowhere/out"),
        ]);
        let found = again(cargos.into_iter(), &env);
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| format!("{}={}", name.display(), value.display()))
            .collect();
        assert_eq!(found, ["DOCKER_HOST=b", "IT=1", "PATH=/bin", "RUSTCBUILDX_RUNNER=podman"]);
    }

    #[test]
    fn a_build_script_sets_nothing_for_others() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("output"), "cargo::rustc-env=DOCKER_HOST=evil\n").unwrap();
        let out_dir = dir.path().join("out");
        let env = Env::with(&[("OUT_DIR", out_dir.to_str().unwrap()), ("DOCKER_HOST", "evil")]);
        assert!(again(std::iter::empty(), &env).is_empty());
    }
}
