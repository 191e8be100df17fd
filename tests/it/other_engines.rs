//! Podman, and docker over ssh: less than with docker, but the same.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::project::Project;

#[test]
fn podman_builds_the_same() {
    let project = Project::on(Engine::podman(), "workspace").inside("ws/middle");
    project.same(&["build", "test", "clippy"]);
}

#[test]
fn podman_in_a_path_with_spaces_and_letters_beyond_ascii() {
    Project::at(Engine::podman(), "package", "späces and ünï/package").same(&["run"]);
}

#[test]
fn podman_calls_are_one_per_unit() {
    // Nothing is stored, so nothing is planned.
    let project = Project::on(Engine::podman(), "broken").env("RUSTCBUILDX_STORE_SIZE", "0");
    let run = project.ours("build --message-format=json").succeeds();
    let calls = project.calls.take();
    // Where podman mounts another store than the one that was expected, a call is made again.
    let given =
        |call: &String| call.split(' ').find(|word| word.contains("=given=")).map(str::to_owned);
    let made: BTreeSet<_> = calls.iter().map(given).collect();
    assert_eq!(made.len(), run.units_compiled() + run.build_scripts(), "{calls:#?}");
    assert!(calls.iter().all(|call| call.starts_with("podman ")), "{calls:#?}");
}

#[test]
fn podman_reports_failures_and_forgets_them() {
    let project = Project::on(Engine::podman(), "broken").env("CARGO_BUILD_JOBS", "1");
    let cases = [
        ("src/lib.rs", "let _: u32 = \"\";", "E0308"),
        ("build.rs", "eprintln!(\"on stderr\"); std::process::exit(7);", "exit status: 7"),
    ];
    for (file, wrong, message) in cases {
        project.edit(file, "// HERE", wrong);
        project.fails_alike("build").says(message);
        project.edit(file, wrong, "// HERE");
    }
    project.same(&["run"]);
}

#[test]
fn ssh_builds_there_and_brings_artifacts_here() {
    let project = Project::on(Engine::ssh(), "broken").env("CARGO_BUILD_JOBS", "1");
    project.same(&["run", "test"]);
    project.edit("src/main.rs", "// HERE", "let _: u32 = \"\";");
    project.fails_alike("build").says("E0308");
}

/// By itself, docker's command starts ssh ten times for each call.
#[test]
fn ssh_is_started_once_for_all_calls() {
    let (project, ssh) = with_ssh_watched("broken");
    project.ours("build").succeeds();
    assert!(project.calls.take().len() > 1);
    assert_eq!(ssh.tunnels(), 1, "{}", ssh.started());
    // To find out what is there is left to docker's command: the image's digest, and its version.
    assert!(ssh.started().lines().count() < 30, "{}", ssh.started());
}

#[test]
fn ssh_host_that_was_away_is_met_later() {
    let (project, ssh) = with_ssh_watched("broken");
    fs::write(&ssh.away, "").unwrap();
    project.ours("build").fails().says("hint: ");
    fs::remove_file(&ssh.away).unwrap();
    fs::write(&ssh.log, "").unwrap();
    project.ours("build").succeeds();
    assert_eq!(ssh.tunnels(), 1, "{}", ssh.started());
}

/// What stands before the real `ssh`.
struct Ssh {
    /// Each call's arguments.
    log: PathBuf,
    /// While this file is there, no host is reached.
    away: PathBuf,
}

impl Ssh {
    fn started(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn tunnels(&self) -> usize {
        self.started().lines().filter(|line| line.contains("-L")).count()
    }
}

/// A project on an engine that it has not met yet.
fn with_ssh_watched(fixture: &str) -> (Project, Ssh) {
    let engine = Engine::ssh();
    let path = engine.env[OsStr::new("PATH")].to_str().unwrap();
    let real =
        path.split(':').map(|dir| Path::new(dir).join("ssh")).find(|file| file.is_file()).unwrap();
    let project = Project::on(engine, fixture);
    let [shims, log, away] = ["shims", "ssh.log", "away"].map(|name| project.dir().join(name));
    fs::create_dir(&shims).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >>{}\n[ ! -e {} ] || exit 255\nexec {} \"$@\"\n",
        log.display(),
        away.display(),
        real.display()
    );
    fs::write(shims.join("ssh"), script).unwrap();
    fs::set_permissions(shims.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let project = project
        .env("PATH", &format!("{}:{path}", shims.display()))
        .env("CARGO_BUILD_JOBS", "1")
        .with_own_cache();
    (project, Ssh { log, away })
}
