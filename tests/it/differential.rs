//! Plain cargo and ours: same status, output, files, modes, messages; fresh for both afterwards.

use std::fs;
use std::process::Command;

use crate::engine::Engine;
use crate::project::{By, Project};
use crate::tree::walk;

/// Every kind of target in one package; `[env]`; metadata that is hard to quote; warnings.
#[test]
fn package() {
    Project::new("package").same(&[
        "build",
        "test",
        "run -- one 'two three'",
        "run --example hello",
        "bench --no-run",
        "clippy --all-targets",
        "check --all-targets --no-default-features",
        "doc --no-deps",
        "install --locked --path . --root {target}/root",
        "test --release",
    ]);
}

#[test]
fn path_with_spaces_and_letters_beyond_ascii() {
    let place = "späces and ünï/日本 'q'/package";
    Project::at(Engine::docker(), "package", place).same(&["build", "clippy", "test"]);
}

/// Build scripts of all kinds, a proc-macro, editions 2015 to 2024, a dependency outside.
#[test]
fn workspace() {
    Project::new("workspace").inside("ws").same(&[
        "build --workspace",
        "run",
        "test --workspace",
        "clippy --workspace --all-targets",
        "build --workspace --release",
        "doc --no-deps --workspace",
    ]);
}

#[test]
fn member_of_a_workspace() {
    Project::new("workspace").inside("ws/app").same(&[
        "build --release",
        "bench --no-run",
        "install --locked --path . --root {target}/root",
        "doc",
    ]);
}

#[test]
fn explicit_target() {
    let host = host_triple();
    Project::new("workspace").inside("ws").same(&[
        &format!("build --workspace --target {host}"),
        &format!("test --workspace --target {host}"),
    ]);
}

/// A macro asks cargo where the workspace is, and reads a file there; the crate bakes cargo's own
/// path in.
#[test]
fn macro_that_asks_cargo() {
    Project::new("queries").same(&["run", "clippy", "run --release"]);
}

/// Published crates, whose build scripts probe the compiler, and C code.
#[test]
fn registry() {
    Project::new("registry").same(&["run", "test", "clippy"]);
}

/// rustc tells the linker where it found a library: that is a link into the engine's store.
#[test]
fn a_run_path_leads_into_no_store() {
    let project = Project::new("linkage").env("RUSTFLAGS", "-C prefer-dynamic -C rpath");
    project.ours("build").succeeds();
    let target = project.target(By::Ours);
    let files = walk(&target, |_| false).into_keys().map(|path| target.join(path));
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert!(files.iter().any(|path| path.ends_with("debug/host")), "{files:#?}");
    for path in files {
        let bytes = fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("rustcbuildx/store"), "{path:?}");
    }
}

/// `cdylib`, `staticlib`, `dylib`, what a linker is told, debug information in files of its own.
#[test]
fn linkage() {
    Project::new("linkage").same(&[
        "build --workspace --all-targets",
        "run",
        "test --workspace",
        "run --release",
        "bench --no-run --workspace",
        "clippy --workspace",
        "check --workspace",
    ]);
}

/// Colours reach the terminal, and the messages of the first run are those of plain cargo too.
#[test]
fn colours() {
    let project = Project::new("package").env("CARGO_TERM_COLOR", "always");
    project.same(&["clippy", "test -- --color=always"]);
}

/// Once all that may differ is set alike (one target folder, no incremental), the bytes are too:
/// those of dependencies if they keep the host's paths.
#[test]
fn bytes_are_equal() {
    assert_equal_bytes(Project::new("workspace").inside("ws"));
    assert_equal_bytes(Project::new("registry").env("RUSTCBUILDX_CANONICAL_PATHS", "none"));
}

fn assert_equal_bytes(project: Project) {
    let project = project.env("CARGO_INCREMENTAL", "0");
    let (target, kept) = (project.target(By::Ours), project.target(By::Plain));
    project.start(By::PlainAfterOurs, "build --workspace --all-targets").finish().succeeds();
    fs::rename(&target, &kept).unwrap();
    project.ours("build --workspace --all-targets").succeeds();

    let mut compared = 0;
    for file in crate::tree::walk(&kept, |_| false).into_keys() {
        let (plain, ours) = (kept.join(&file), target.join(&file));
        let kind = plain.extension().and_then(|kind| kind.to_str());
        if plain.is_file() && [Some("rlib"), Some("rmeta"), Some("so"), Some("d")].contains(&kind) {
            assert!(fs::read(&plain).unwrap() == fs::read(&ours).unwrap(), "{file} differs");
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared} files compared");
}

pub fn host_triple() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}
