//! What `cargo install` needs of libraries stays in the engine, and comes from there when something else needs it.

use std::fs;

use crate::command::start;
use crate::kept::{kept, spoil};
use crate::planned::{green, in_its_own_folder, project};
use crate::project::{By, Project};
use crate::sources::commit;

fn committed() -> Project {
    let project = project("broken").with_own_cache();
    commit(&project.root);
    project
}

/// Installs what is committed of the project as a published program would be; gives what the program says.
fn install(project: &Project, cargo: &str, more: &str) -> String {
    let (repository, root) = (project.root.display(), project.dir().join("installed"));
    let args = format!("{cargo}install --git file://{repository} broken --force --root {}{more}", root.display());
    in_its_own_folder(project, &args).succeeds();
    start(project.command(root.join("bin/broken").to_str().unwrap(), By::Ours), "broken").finish().succeeds().stdout
}

/// What the store has of crates whose artifacts are in the engine, and all else that it has.
fn stored(project: &Project) -> (Vec<String>, Vec<String>) {
    let entries = fs::read_dir(project.dir().join("cache/rustcbuildx/store")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.partition(|name| name.ends_with("-left"))
}

#[test]
fn libraries_stay_in_the_engine() {
    let project = committed();
    assert_eq!(install(&project, "green ", ""), "one is 1\n");
    let (left, whole) = stored(&project);
    // The library, and the macros' crate; the script, its run and the program.
    assert_eq!((left.len(), whole.len()), (2, 3), "{left:?} {whole:?}");
    // All is there for another run.
    project.calls.take();
    install(&project, "green ", "");
    assert_eq!(project.calls.take(), [""; 0]);
    // Nothing is missing where a target folder stays.
    project.plain("build --release").succeeds();
    green(&project, "build --release").succeeds();
    project.assert_same_tree();
}

#[test]
fn what_the_engine_lost_is_made_again() {
    let project = committed();
    install(&project, "green ", "");
    for (cargo, from, to) in [("", "// HERE", "let _ = 1;"), ("green ", "let _ = 1;", "let _ = 2;")] {
        spoil(&project, &kept(&project), "rm -rf /kept/*/files");
        project.edit("src/main.rs", from, to);
        commit(&project.root);
        assert_eq!(install(&project, cargo, ""), "one is 1\n");
    }
}

/// The macros are for this machine's compiler to run.
#[test]
fn a_local_compile_has_the_bytes() {
    let project = committed();
    let target = format!(" --target {}-unknown-linux-gnu", std::env::consts::ARCH);
    install(&project, "green ", &target);
    assert!(!stored(&project).0.is_empty());
    let project = project.env("RUSTFLAGS", "-Ctarget-cpu=native");
    project.calls.take();
    assert_eq!(install(&project, "green ", &target), "one is 1\n");
    // They are taken as they are kept: nothing is told of how to make them.
    let calls = project.calls.take();
    assert!(calls.last().is_some_and(|call| !call.contains("--build-context")), "{calls:#?}");
}
