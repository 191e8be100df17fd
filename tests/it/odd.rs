//! Layouts, sizes and settings that are rare and still right.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::planned;
use crate::project::{By, Project};

/// A dependency's folder and a source file that are links to somewhere else.
#[test]
fn links_in_the_source_tree() {
    let project = Project::new("broken");
    let elsewhere = project.dir().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for name in ["macros", "src/lib.rs"] {
        let to = elsewhere.join(name.replace('/', "-"));
        fs::rename(project.root.join(name), &to).unwrap();
        symlink(to, project.root.join(name)).unwrap();
    }
    project.same(&["run", "check"]);
    project.edit("src/lib.rs", "macros::one!()", "macros::one!() + 1");
    project.same(&["run"]);
    assert_eq!(project.ours("run").stdout, "one is 2\n");
}

/// Cargo keeps intermediate files apart from what it hands out.
#[test]
fn a_build_folder_of_its_own() {
    let project = Project::new("workspace").inside("ws");
    let project = project.env("CARGO_BUILD_BUILD_DIR", "{target}/of its own");
    project.same(&["build", "test -p middle"]);
}

/// Engines clip what a step prints.
#[test]
fn a_lot_of_output() {
    let project = Project::new("broken");
    let functions: String =
        (0..4000).map(|n| format!("pub fn f{n}() {{ let unused_{n} = {n}; }}\n")).collect();
    project.edit("src/lib.rs", "pub fn one()", &format!("{functions}pub fn one()"));
    let prints =
        "for n in 0..200_000 { println!(\"line {n} of the build script\"); eprintln!(\"{n}\"); }";
    project.edit("build.rs", "// HERE", prints);
    project.same(&["build"]);
}

/// Sources change while nothing else does, back and forth: never a stale result.
#[test]
fn back_and_forth() {
    let project = Project::new("broken");
    for number in [1, 2, 1, 3] {
        fs::write(project.root.join("src/lib.rs"), format!("pub fn one() -> u32 {{ {number} }}\n"))
            .unwrap();
        project.same(&["run"]);
        assert_eq!(project.ours("run").stdout, format!("one is {number}\n"));
    }
}

/// Into an emptied target folder all comes from the store, without a call of the engine, to the
/// same files.
#[test]
fn a_second_target_folder() {
    let project = Project::new("broken").env("CARGO_INCREMENTAL", "0");
    assert_eq!(emptied_and_again(&project), 0);
}

/// Without a store, all comes from the engine's cache, to the same files.
#[test]
fn a_second_target_folder_without_a_store() {
    let project = Project::new("broken").env("RUSTCBUILDX_STORE_SIZE", "0");
    assert!(emptied_and_again(&project) > 0);
}

/// Builds and runs twice, each time from nothing; gives the engine calls of the second time.
fn emptied_and_again(project: &Project) -> usize {
    project.same(&["run"]);
    for by in [By::Plain, By::Ours] {
        fs::remove_dir_all(project.target(by)).unwrap();
    }
    project.calls.take();
    project.ours("run").succeeds();
    let calls = project.calls.take().len();
    project.same_in_the_end("run");
    calls
}

/// Nobody but its owner may read what this user makes; the users of tasks are others.
#[test]
fn files_for_nobody_else() {
    let project = Project::new("broken").umask(0o077).env("CARGO_INCREMENTAL", "0");
    project.same(&["run", "test"]);
    // From what an earlier call left in the engine.
    project.edit("src/main.rs", "fn main() {", "fn main() {\n    // Another one.");
    project.same(&["run"]);
    project.edit("build.rs", "// HERE", "println!(\"cargo::rustc-cfg=other\");");
    project.same(&["run"]);
    // All of it comes from the engine.
    assert!(emptied_and_again(&project.with_own_cache()) > 0);
}

/// What rustc kept of the last compile serves the next one, and nothing of it is stale.
#[test]
fn incremental() {
    let project =
        Project::new("broken").env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zincremental-info");
    project.ours("run").succeeds();
    project.edit("src/lib.rs", "macros::one!()", "macros::one!() + 1");
    let again = project.ours("run").succeeds().says("hard-linked");
    assert_eq!(again.stdout, "one is 2\n");
}

/// Begun by plain cargo, continued by ours: what plain compiled is sent, not compiled again.
#[test]
fn taken_over_from_plain_cargo() {
    let project = Project::new("workspace").inside("ws");
    project.start(By::PlainAfterOurs, "build --workspace").finish().succeeds();
    project.plain("build --workspace").succeeds();
    project.edit("ws/middle/src/lib.rs", "let unused = 1;", "");
    project.same(&["build --workspace", "test --workspace"]);
}

/// A path that leads through a folder and up again is another name for the same folder.
#[test]
fn ways_up_again() {
    let project = Project::new("edits");
    let native = "native={out}";
    project.edit("native/build.rs", native, "native={out}/../out");
    project.edit("app/Cargo.toml", "../native", "../core/../native");
    let aside = "--target-dir {target}/x/../inner";
    project.same(&[&format!("build {aside}"), &format!("check {aside}")]);
    // By the shorter name, all of it is known.
    let args = "run --target-dir {target}/inner";
    project.calls.take();
    project.ours(args).succeeds();
    assert_eq!(project.calls.take(), [""; 0]);
    project.edit("core/src/lib.rs", "rows.iter()", "rows.iter().rev()");
    project.same(&[&format!("build {aside}"), args]);
}

#[test]
fn ways_up_again_in_a_plan() {
    planned_as_ever("build --target-dir {target}/x/../inner");
}

#[test]
fn a_target_folder_behind_a_link() {
    planned_as_ever("build --target-dir {target}-link");
}

/// A plan makes what cargo asks for under the keys that it asks for.
#[track_caller]
fn planned_as_ever(args: &str) {
    let project = planned::project("registry");
    for by in [By::Plain, By::Ours] {
        let target = project.target(by);
        fs::create_dir(&target).unwrap();
        symlink(&target, target.with_file_name(format!("{}-link", file_name(&target)))).unwrap();
    }
    let plain = project.plain(args).succeeds();
    let ours = planned::green(&project, args).succeeds();
    let calls = project.calls.take();
    assert!(calls.len() <= 5, "{calls:#?}");
    project.assert_same_output(&plain, &ours);
    project.assert_same_tree();
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
