//! What engines keep from one build to the next: used while it is there, made up for when it is
//! not.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use crate::engine::Engine;
use crate::project::{By, Project};

/// With a cache of its own, so that all its dependencies are the engine's to keep.
fn project(fixture: &str) -> Project {
    Project::new(fixture).env("CARGO_INCREMENTAL", "0").with_own_cache()
}

/// Where it is marked what engines keep, for a project with a cache of its own.
fn marks(project: &Project) -> PathBuf {
    project.dir().join("cache/rustcbuildx/kept")
}

/// As if this engine had never made anything.
pub fn forget_kept(project: &Project) {
    fs::remove_dir_all(marks(project)).unwrap();
}

/// The steps whose files the engine was seen to keep.
pub fn kept(project: &Project) -> Vec<String> {
    assert!(marks(project).exists(), "nothing is marked as kept");
    kept_by_now(project)
}

/// The same while the first of all builds runs: maybe none.
pub fn kept_by_now(project: &Project) -> Vec<String> {
    let engines = fs::read_dir(marks(project)).into_iter().flatten();
    let keys = engines.flat_map(|engine| fs::read_dir(engine.unwrap().path()).unwrap());
    keys.map(|key| key.unwrap().file_name().into_string().unwrap()).collect()
}

/// Does to what the engine keeps of each step, in folders of their own, what a shell command does.
/// No other test may use the same steps.
pub fn spoil(project: &Project, keys: &[String], command: &str) {
    let image = Engine::docker().env[OsStr::new("RUSTCBUILDX_BASE_IMAGE")].to_str().unwrap();
    let mounts: String = keys
        .iter()
        .map(|key| format!("--mount=type=cache,id=rustcbuildx-{key},target=/kept/{key} "))
        .collect();
    let file = format!(
        "FROM {}\nRUN --network=none {mounts} {command}\n",
        image.trim_start_matches("docker-image://")
    );
    let mut docker = project.command("docker", By::Ours);
    docker
        .args(["buildx", "build", "--quiet", "--output=type=cacheonly", "-"])
        .stdin(Stdio::piped());
    let mut docker = docker.spawn().unwrap();
    docker.stdin.take().unwrap().write_all(file.as_bytes()).unwrap();
    assert!(docker.wait().unwrap().success());
}

#[test]
fn what_the_engine_lost_is_sent() {
    let project = project("broken");
    project.ours("build").succeeds();
    let keys = kept(&project);
    // Two libraries, a build script and its run, at least.
    assert!(keys.len() >= 4, "{keys:?}");
    let edit_and_count = |from: &str, to: &str| {
        project.edit("src/main.rs", from, to);
        project.calls.take();
        project.ours("build").succeeds();
        project.calls.take().len()
    };
    let usual = edit_and_count("// HERE", "// HERE 1");
    spoil(&project, &keys, "rm -r /kept/*/files");
    assert!(edit_and_count("// HERE 1", "// HERE 2") > usual, "it is not noticed");
    assert_eq!(edit_and_count("// HERE 2", "// HERE 3"), usual, "it is not remembered");
    project.same_in_the_end("run");
}

/// It is given what it lost, for the step to be the same as anywhere else.
#[test]
fn what_the_engine_lost_makes_no_other_step() {
    // That no engine has from an earlier test.
    let new = format!("// {:?}.", std::time::SystemTime::now());
    let [first, second] = [(); 2].map(|()| {
        let project = project("broken").env("RUSTCBUILDX_CANONICAL_PATHS", "all").logging("info");
        ["macros/src/lib.rs", "build.rs"]
            .iter()
            .for_each(|file| project.edit(file, "// HERE", &new));
        project
    });
    first.ours("build").succeeds();
    let keys = kept(&first);
    spoil(&first, &keys, "for kept in /kept/*; do mv $kept/files $kept/gone; done");
    [&first, &second]
        .iter()
        .for_each(|project| project.edit("build.rs", &new, &format!("{new} Edited.")));
    first.ours("build").succeeds();
    // As if it had been out of sight for a moment.
    spoil(
        &first,
        &keys,
        "for kept in /kept/*; do [ -e $kept/files ] || mv $kept/gone $kept/files; done",
    );
    second.ours("build").succeeds();
    let [first, second] = [first, second].map(|project| fs::read_to_string(project.log()).unwrap());
    assert!(first.contains("again without what was thought to be kept"), "{first}");
    assert!(
        second.contains("taken from the engine's cache") && !second.contains("was run now"),
        "{first}\n{second}"
    );
}

/// With `--target`, cargo tags two folders: one for this machine, where macros are, and one for the
/// target.
#[test]
fn nothing_is_sent_for_a_named_target() {
    let project = project("broken");
    let args = format!("build --target {}-unknown-linux-gnu", std::env::consts::ARCH);
    project.ours(&args).succeeds();
    let calls = project.calls.take();
    assert!(
        !calls.is_empty() && !calls.iter().any(|call| call.contains("/artifacts/")),
        "{calls:#?}"
    );
    project.plain(&args).succeeds();
    project.assert_same_tree();
}

/// As if a crate came out otherwise each time it is compiled.
#[test]
fn what_does_not_fit_is_sent() {
    let project = project("broken");
    project.ours("build").succeeds();
    spoil(
        &project,
        &kept(&project),
        "for file in /kept/*/files/*.rmeta /kept/*/files/*.rlib; do echo spoilt >$file; done",
    );
    project.edit("src/main.rs", "// HERE", "// HERE 1");
    project.ours("build").succeeds();
    project.same_in_the_end("run");
}

/// What came from the store was never made by this engine, or so it seems: it is given to it once,
/// all in one call.
#[test]
fn what_was_stored_serves_units_that_are_built() {
    let project = project("registry");
    project.ours("build").succeeds();
    forget_kept(&project);
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    let edit_and_count = |to: &str| {
        project.edit("src/main.rs", "fn main", to);
        project.calls.take();
        project.ours("build").succeeds();
        let calls = project.calls.take();
        let sent = |call: &String| call.matches("/artifacts/").count();
        (calls.len(), calls.iter().map(sent).sum::<usize>())
    };
    // All four units of the package, two of which take much from others.
    let (calls, sent) = edit_and_count("\nfn main");
    assert!(calls == 5 && sent <= 8, "{calls} calls, {sent} files sent by themselves");
    assert_eq!(edit_and_count("\n\nfn main"), (1, 0));
    project.same_in_the_end("run");
}

/// What is made from a crate differs with it, though nothing else does: the command, the sources,
/// the files' names.
#[test]
fn an_edit_reaches_what_is_made_from_it() {
    for incremental in ["0", "1"] {
        let project = project("workspace").inside("ws").env("CARGO_INCREMENTAL", incremental);
        for (from, to) in [("\"linux\"", "\"Linux\""), ("\"Linux\"", "\"LINUX\"")] {
            project.same(&["run"]);
            project.edit("ws/middle/src/lib.rs", from, to);
        }
        project.same(&["run"]);
    }
}
