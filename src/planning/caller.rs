//! The cargo that called this process, and how to run its command again.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use camino::Utf8PathBuf;

use crate::{
    config::env::{Env, environment_of},
    planning::dry_run::{DryRun, changes_folder},
    util::{
        ancestors::{Process, nearest_cargo},
        digest::digest,
        process::Environment,
    },
};

/// How the names of variables begin that decide what a planner does. The wrapper may have others
/// than cargo: by the `[env]` table of cargo's configuration, or of a script that calls it.
const SETTINGS: &[&str] =
    &["AWS_", "BUILDKIT_", "BUILDX_", "CONTAINER", "DOCKER_", "RUSTCBUILDX", "XDG_CACHE_HOME"];
/// By these, cargo would take part in the jobserver of who started it, whose files a process in the
/// background does not have.
const JOBSERVER: &[&str] = &["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

const CLIPPY: &str = "clippy-driver";

/// A cargo of a command that can be planned.
#[derive(Debug)]
pub struct Caller {
    pub process: Process,
    /// Cargo's file.
    pub program: Utf8PathBuf,
    /// What follows cargo's name.
    pub words: Vec<String>,
    pub folder: PathBuf,
    /// The variables that cargo was started with, which are not those that it sets for a unit.
    pub environment: Environment,
}

impl Caller {
    /// The nearest cargo above this process.
    pub fn find() -> Option<Self> {
        nearest_cargo().and_then(Self::of)
    }

    /// `None` if the process is no cargo, the system does not tell of it, or nobody knows how to
    /// make a dry run of its command.
    pub fn of(process: Process) -> Option<Self> {
        let file = |name: &str| format!("/proc/{}/{name}", process.id);
        let words = words(fs::read(file("cmdline")).ok()?)?;
        if changes_folder(&words) {
            // It has done so by now, and would do it again.
            return None;
        }
        DryRun::of(&words)?;
        let program = Utf8PathBuf::from_path_buf(fs::read_link(file("exe")).ok()?).ok()?;
        let folder = fs::read_link(file("cwd")).ok()?;
        let mut environment = environment_of(process.id)?;
        if is_for_members_only(&environment) {
            return None;
        }
        environment.retain(|(name, _)| !is_one_of(name, JOBSERVER));
        let is_whole = program.file_name() == Some("cargo") && process.is_cargo_still();
        is_whole.then_some(Self { process, program, words, folder, environment })
    }

    /// A name that no other cargo's barrier has.
    pub fn barrier(&self) -> String {
        let user = rustix::process::geteuid().as_raw().to_string();
        format!("cargo-{}", &digest([user, self.process.identity()])[..32])
    }

    /// The variables for its planner: cargo's, and settings of this process.
    pub fn planners_environment(&self, env: &Env) -> Environment {
        let mut all: BTreeMap<OsString, OsString> = self.environment.iter().cloned().collect();
        all.extend(settings(env));
        all.into_iter().collect()
    }
}

/// Whether cargo calls this program as a wrapper for the workspace alone. A dry run would compile
/// all else. Clippy is such a wrapper, too, in front of which this program is called.
fn is_for_members_only(environment: &Environment) -> bool {
    let value = |wanted: &str| {
        let found = environment.iter().find(|(name, value)| name == wanted && !value.is_empty());
        found.map(|(_, value)| Path::new(value))
    };
    let is_clippy = |wrapper: &Path| wrapper.file_name().is_some_and(|name| name == CLIPPY);
    value("RUSTC_WRAPPER").is_none()
        && value("RUSTC_WORKSPACE_WRAPPER").is_some_and(|wrapper| !is_clippy(wrapper))
}

/// What this process was set, and cargo perhaps was not.
fn settings(env: &Env) -> Environment {
    let output = env.script_output();
    // A build script sets nothing for others.
    let is_users = |name: &str| is_one_of(name.as_ref(), SETTINGS) && !output.contains(name);
    let settings = env.iter().filter(|(name, _)| is_users(name));
    settings.map(|(name, value)| (name.into(), value.into())).collect()
}

fn is_one_of(name: &OsStr, beginnings: &[&str]) -> bool {
    let name = name.as_bytes();
    beginnings.iter().any(|beginning| name.starts_with(beginning.as_bytes()))
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
        let own = Process::own().unwrap();
        let cargos = [("PATH", "/bin"), ("DOCKER_HOST", "a"), ("IT", "1")];
        let caller = Caller {
            process: own,
            program: "/bin/cargo".into(),
            words: vec![],
            folder: "/".into(),
            environment: cargos.map(|(name, value)| (name.into(), value.into())).to_vec(),
        };
        let env = Env::with(&[
            ("PATH", "/usr/bin"),
            ("DOCKER_HOST", "b"),
            ("RUSTCBUILDX_RUNNER", "podman"),
            ("CARGO_PKG_NAME", "a"),
            ("OUT_DIR", "/nowhere/out"),
        ]);
        let found: Vec<_> = caller
            .planners_environment(&env)
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
        assert!(settings(&env).is_empty());
    }

    #[test]
    fn a_wrapper_of_the_workspace_alone_is_told_from_others() {
        let case = |variables: &[(&str, &str)], expected: bool| {
            let pair = |(name, value): &(&str, &str)| (name.into(), value.into());
            let environment = variables.iter().map(pair).collect();
            assert_eq!(is_for_members_only(&environment), expected, "{variables:?}");
        };
        let (all, members) = ("RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER");
        case(&[], false);
        case(&[(members, "rustcbuildx")], true);
        case(&[(all, ""), (members, "rustcbuildx")], true);
        case(&[(all, "rustcbuildx"), (members, "mine")], false);
        // Where cargo's configuration names the wrapper.
        case(&[(members, "/t/bin/clippy-driver")], false);
    }

    #[test]
    fn what_is_no_cargo_has_no_planner() {
        assert!(Caller::of(Process::own().unwrap()).is_none());
        assert!(is_one_of("MAKEFLAGS".as_ref(), JOBSERVER));
        assert!(!is_one_of("IT_MAKEFLAGS".as_ref(), JOBSERVER));
    }
}
