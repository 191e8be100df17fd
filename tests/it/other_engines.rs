//! Podman, and docker over ssh: less than with docker, but the same.

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
    let project = Project::on(Engine::podman(), "broken");
    let run = project.ours("build --message-format=json").succeeds();
    let calls = project.calls.take();
    assert_eq!(calls.len(), run.units_compiled() + run.build_scripts(), "{calls:#?}");
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
