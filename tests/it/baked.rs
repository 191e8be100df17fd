//! Code that runs in a container and opens paths that were baked into it: of other packages, and of
//! what their scripts made.

use std::fs;

use crate::{
    planned::{self, green},
    project::{By, Project},
    sources::commit,
};

const SAID: &str = "script: in a member, in a package from elsewhere, made by a script
macro: in a member
macro from elsewhere: a macro, in a package from elsewhere, made by a script
elsewhere: in a package from elsewhere, made by a script; a macro, in a package from elsewhere, made by a script
";

fn in_git(project: Project) -> Project {
    let elsewhere = project.root.join("elsewhere");
    commit(&elsewhere);
    project.edit("app/Cargo.toml", "@ROOT@", project.root.to_str().unwrap());
    let project = project.inside("app");
    project.plain("generate-lockfile").succeeds();
    project
}

#[test]
fn scripts_and_macros_open_what_is_baked_in() {
    let project = in_git(Project::new("baked").with_own_cache());
    project.same(&["run"]);
    assert_eq!(project.ours("run").stdout, SAID);
    fs::write(project.root.join("app/own/other"), "in another file").unwrap();
    project.edit("app/own/src/lib.rs", "/text", "/other");
    project.same(&["run", "clippy", "test"]);
    for by in [By::Plain, By::Ours] {
        fs::remove_dir_all(project.target(by)).unwrap();
    }
    project.same(&["run"]);
}

/// What was not made by ours: the cache is gone, or plain cargo came first.
#[test]
fn of_unknown_making() {
    let project = in_git(Project::new("baked").with_own_cache());
    for by in [By::Plain, By::PlainAfterOurs] {
        project.start(by, "run").finish().succeeds();
    }
    let edits = [
        ("build.rs", "fn main() {", "fn main() {\n"),
        ("src/main.rs", "fn main() {", "fn main() {\n"),
    ];
    for (file, from, to) in edits {
        project.edit(&format!("app/{file}"), from, to);
    }
    project.same(&["run"]);
    fs::remove_dir_all(project.dir().join("cache")).unwrap();
    for (file, from, to) in edits {
        project.edit(&format!("app/{file}"), from, to);
    }
    project.same(&["run"]);
}

#[test]
fn a_plan_learns_what_is_baked_in() {
    let project = in_git(planned::project("baked").with_own_cache());
    assert_eq!(green(&project, "run").succeeds().stdout, SAID);
    let calls = project.calls.take();
    assert!(
        calls.iter().all(|call| !call.contains("--secret") || call.contains("/batch")),
        "{calls:#?}"
    );
    project.plain("run").succeeds();
    project.assert_same_tree();
    project.same(&["run"]);
    project.calls.take();
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    assert_eq!(green(&project, "run").succeeds().stdout, SAID);
    assert_eq!(project.calls.take(), [""; 0]);
    // By the wrapper, too, all is found in the store.
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    assert_eq!(project.ours("run").succeeds().stdout, SAID);
    assert_eq!(project.calls.take(), [""; 0]);
    // And what the store has no more, in the engine.
    for folder in [project.target(By::Ours), project.dir().join("cache")] {
        fs::remove_dir_all(folder).unwrap();
    }
    assert_eq!(green(&project, "run").succeeds().stdout, SAID);
}
