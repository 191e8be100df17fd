//! What engines store from one build to the next: used while it is there, made up for when it is
//! lost or damaged.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::SystemTime;

use rustcbuildx::step::protocol::VERSION;

use crate::engine::Engine;
use crate::planned::{green, project as planned};
use crate::project::{By, Project};
use crate::sharing::with_a_path_in_its_script;

/// With a cache of its own, so that all its dependencies are the engine's to store.
fn project(fixture: &str) -> Project {
    planned(fixture).with_own_cache()
}

/// Where it is marked what engines have, for a project with a cache of its own.
fn marks(project: &Project) -> PathBuf {
    project.dir().join("cache/rustcbuildx/engine-cache")
}

/// As if this engine had never made anything.
pub fn forget(project: &Project) {
    fs::remove_dir_all(marks(project)).unwrap();
}

/// The keys of outcomes that the engine was seen to have, and the names of packs.
pub fn known(project: &Project) -> Vec<String> {
    let engines = fs::read_dir(marks(project)).expect("something is marked");
    let names = engines.flat_map(|engine| fs::read_dir(engine.unwrap().path()).unwrap());
    names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect()
}

/// Does to what the engine has of each name, a folder or a file, what a shell command does with
/// `$it`. No other test may use the same steps.
pub fn spoil(project: &Project, names: &[String], command: &str) {
    let image = Engine::docker().env[OsStr::new("RUSTCBUILDX_BASE_IMAGE")].to_str().unwrap();
    let (image, names) = (image.trim_start_matches("docker-image://"), names.join(" "));
    let number = fs::read_to_string(engine_marks(project).join("number")).unwrap();
    // Each time another command, since `--no-cache` drops the store.
    let now = SystemTime::now();
    let file = format!(
        "FROM {image}
RUN --network=none --mount=type=cache,id=rustcbuildx-store-{VERSION},target=/store \\
  : {now:?}; [ \"$(cat /store/v{VERSION}/number)\" = {number} ] || exit; \
  cd /store/v{VERSION} && for name in {names}; do \\
  for it in outcomes/$name packs/$name states/$name; do [ ! -e $it ] || {command} || exit; done; done
"
    );
    let mut docker = project.command("docker", By::Ours);
    docker
        .args(["buildx", "build", "--quiet", "--output=type=cacheonly", "-"])
        .stdin(Stdio::piped());
    let mut docker = docker.spawn().unwrap();
    docker.stdin.take().unwrap().write_all(file.as_bytes()).unwrap();
    assert!(docker.wait().unwrap().success());
}

/// The folder with the marks of the one engine that a project uses.
fn engine_marks(project: &Project) -> PathBuf {
    fs::read_dir(marks(project)).unwrap().next().unwrap().unwrap().path()
}

/// Whether something is so in one of a few tries. While Docker measures the engine's store, which
/// it may do at any time, it mounts another one.
fn is_so_soon(mut is_so: impl FnMut() -> bool) -> bool {
    (0..4).any(|_| is_so())
}

/// Edits the program, builds it, and returns how many calls that took.
fn edit_and_count(project: &Project, from: &str, to: &str) -> usize {
    project.edit("src/main.rs", from, to);
    project.calls.take();
    project.ours("build").succeeds();
    project.calls.take().len()
}

#[test]
fn what_the_engine_lost_is_sent() {
    let project = project("broken");
    project.ours("build").succeeds();
    let names = known(&project);
    // Two libraries, a build script and its run, and the sources of two packages, at least.
    assert!(names.len() >= 6, "{names:?}");
    let usual = edit_and_count(&project, "// HERE", "// HERE 1");
    spoil(&project, &names, "rm -r $it");
    let count = edit_and_count(&project, "// HERE 1", "// HERE 2");
    assert!(count > usual, "it is not noticed");
    let again = || edit_and_count(&project, "// HERE", "// HERE .") == usual;
    assert!(is_so_soon(again), "it is not remembered");
    project.same_in_the_end("run");
}

/// As BuildKit mounts another one while Docker measures the first.
#[test]
fn another_store_is_noticed() {
    let project = project("broken");
    project.ours("build").succeeds();
    let usual = edit_and_count(&project, "// HERE", "// HERE 1");
    let engine = engine_marks(&project);
    fs::write(engine.join("number"), "that of the other").unwrap();
    fs::write(engine.join("s0"), "").unwrap();
    // It is waited for three times.
    assert!(edit_and_count(&project, "// HERE 1", "// HERE 2") >= usual + 3);
    assert!(!engine.join("s0").exists(), "what the other has still counts");
    assert!(is_so_soon(|| edit_and_count(&project, "// HERE", "// HERE .") == usual));
    project.same_in_the_end("run");
}

/// A file that is cut off is noticed before it is used, one with other bytes before it comes back.
#[test]
fn what_is_damaged_is_not_used() {
    for damage in ["echo >$file", "printf x | dd of=$file conv=notrunc status=none"] {
        let project = project("broken");
        project.ours("build").succeeds();
        let command = format!(
            "for file in $it/files/*.rmeta $it/files/*.rlib; do [ ! -e $file ] || {damage}; done"
        );
        spoil(&project, &known(&project), &format!("{{ {command}; }}"));
        // All is asked of the engine.
        fs::remove_dir_all(project.dir().join("cache/rustcbuildx/store")).unwrap();
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        project.ours("build").succeeds();
        project.plain("build").succeeds();
        project.assert_same_tree();
        project.same_in_the_end("run");
    }
}

/// Files of unknown making, of which each unit is sent a copy, are a sign that something is wrong.
#[test]
fn nothing_is_copied_for_a_named_target() {
    let project = project("broken").logging("info");
    let args = format!("build --target {}-unknown-linux-gnu", std::env::consts::ARCH);
    project.ours(&args).succeeds();
    let log = fs::read_to_string(project.log()).unwrap();
    let sent = log.lines().filter_map(|line| line.split_once("docker is sent "));
    let sent: Vec<&str> = sent.flat_map(|(_, names)| names.split(' ')).collect();
    assert!(!sent.is_empty() && !sent.iter().any(|name| name.starts_with('f')), "{sent:#?}");
    project.plain(&args).succeeds();
    project.assert_same_tree();
}

/// What came from the store was never made by this engine, or so it seems: it is sent once.
#[test]
fn what_was_stored_serves_units_that_are_built() {
    let project = project("registry");
    project.ours("build").succeeds();
    forget(&project);
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    let edit_and_count = |to: &str| {
        project.edit("src/main.rs", "fn main", to);
        project.calls.take();
        project.ours("build").succeeds();
        project.calls.take().len()
    };
    // All four units of the package, some of them together.
    let calls = edit_and_count("\nfn main");
    assert!((1..=4).contains(&calls), "{calls}");
    assert_eq!(edit_and_count("\n\nfn main"), 1);
    project.same_in_the_end("run");
}

/// What is made from a crate differs with it, though nothing else does: the command, the sources,
/// the files' names.
#[test]
fn an_edit_reaches_what_is_made_from_it() {
    for incremental in ["0", "1"] {
        let project = Project::new("workspace")
            .inside("ws")
            .with_own_cache()
            .env("CARGO_INCREMENTAL", incremental);
        for (from, to) in [("\"linux\"", "\"Linux\""), ("\"Linux\"", "\"LINUX\"")] {
            project.same(&["run"]);
            project.edit("ws/middle/src/lib.rs", from, to);
        }
        project.same(&["run"]);
    }
}

/// An engine that lost everything, or another one, is sent what is stored, and builds the rest.
#[test]
fn a_plan_for_a_new_engine_builds_only_what_is_missing() {
    for is_noticed_late in [false, true] {
        let project = project("broken").logging("info");
        green(&project, "build").succeeds();
        spoil(&project, &known(&project), "rm -r $it");
        if !is_noticed_late {
            forget(&project);
        }
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        project.edit("src/main.rs", "// HERE", "let _ = 1;");
        project.calls.take();
        green(&project, "run").succeeds();
        let calls = project.calls.take();
        assert!(calls.len() <= 4, "{calls:#?}");
        let log = fs::read_to_string(project.log()).unwrap();
        let again = log.matches("macros 0.1.0 (crate macros) was made").count();
        assert_eq!(again, 0, "{log}");
        project.plain("run").succeeds();
        project.assert_same_tree();
    }
}

/// On a new machine, say, whose store is empty: what others had the engine build is neither built
/// nor sent again.
#[test]
fn what_the_engine_has_is_not_built() {
    // That a program holds a path of its machine is found out anew on each.
    let with_path = with_a_path_in_its_script(project("broken"));
    for (project, fewest, most_calls) in [(project("registry"), 20, 4), (with_path, 3, 7)] {
        // No other test's units are the same.
        let now = format!("{:?}", SystemTime::now());
        let trace = project.dir().join("trace.json");
        let project = project
            .env("RUSTCBUILDX_SET_ENVS", "IT_NOW")
            .env("IT_NOW", &now)
            .env("RUSTCBUILDX_TIMINGS", trace.to_str().unwrap())
            .logging("info");
        green(&project, "build").succeeds();
        let built = || {
            let trace = fs::read_to_string(&trace).unwrap();
            trace.matches("\"cat\":\"engine\"").count()
        };
        assert!(built() > fewest);
        let again = || {
            for folder in [project.target(By::Ours), project.dir().join("cache")] {
                fs::remove_dir_all(folder).unwrap();
            }
            [&trace, &project.log()].into_iter().for_each(|file| fs::remove_file(file).unwrap());
            project.calls.take();
            green(&project, "build").succeeds();
            let log = fs::read_to_string(project.log()).unwrap();
            // Its name is that of a pack.
            let is_sent = log.lines().any(|line| line.contains("docker is sent s"));
            let calls = project.calls.take().len();
            println!("{calls} calls, {} built, sent: {is_sent}", built());
            built() == 0 && !is_sent && calls <= most_calls
        };
        assert!(is_so_soon(again));
        project.plain("build").succeeds();
        project.assert_same_tree();
    }
}
