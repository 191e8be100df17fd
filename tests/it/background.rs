//! The planner in the background: `RUSTC_WRAPPER` alone takes as few calls of the engine as `cargo
//! green`, for any cargo, and nothing is left of the planner when cargo has ended.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::command::{Running, start, wait_until};
use crate::engine::WRAPPER;
use crate::interrupted::{SOON, Sleeper, wrappers};
use crate::planned::{as_workspace, assert_planned, member};
use crate::project::{By, Project, json_lines};

fn project(fixture: &str) -> Project {
    Project::new(fixture).env("CARGO_INCREMENTAL", "0")
}

/// The planners that work for a project.
fn planners(project: &Project) -> Vec<i32> {
    let is_planner = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("\0--plan-in-background\0")
    };
    wrappers(project).into_iter().filter(is_planner).collect()
}

#[track_caller]
fn is_over(project: &Project) {
    assert!(wait_until(SOON, || wrappers(project).is_empty()), "a planner is left");
}

/// A build that does not go on past this file's code.
fn asleep_in(file: &str) -> (Project, Sleeper, Running) {
    let (project, sleeper) = (project("broken"), Sleeper::new());
    project.edit(file, "// HERE", &sleeper.code());
    let cargo = project.start(By::Ours, "build");
    sleeper.starts();
    (project, sleeper, cargo)
}

/// After Ctrl-C, nothing goes on and nothing is left.
#[track_caller]
fn interrupt(project: &Project, sleeper: &Sleeper, cargo: Running) {
    cargo.signal(Signal::INT);
    cargo.finish_within(SOON).fails();
    sleeper.is_stopped();
    is_over(project);
}

#[test]
fn many_units_in_few_calls() {
    for jobs in ["", " -j 1"] {
        let project = project("registry")
            .env("RUSTCBUILDX_SET_ENVS", "IT_BACKGROUND")
            .env("IT_BACKGROUND", &format!("1{jobs}"));
        let args = format!("build --message-format=json{jobs}");
        let ours = project.ours(&args).succeeds();
        let calls = project.calls.take();
        let units = ours.units_compiled() + ours.build_scripts();
        assert!(units > 20 && calls.len() <= 5, "{units} units: {calls:#?}");
        assert!(!ours.stderr.contains("rustcbuildx: "), "{ours}");
        is_over(&project);
        let plain = project.plain(&args).succeeds();
        assert_eq!(
            json_lines(&plain, &project.target(By::Plain)),
            json_lines(&ours, &project.target(By::Ours))
        );
        project.assert_same_tree();
    }
}

/// `cargo clippy` starts another cargo, with variables of its own.
#[test]
fn every_command_that_compiles() {
    let project = project("broken");
    for args in [
        "doc --no-deps",
        "check",
        "clippy",
        "test --no-run",
        "rustc --lib -- --cfg extra",
        "--config profile.dev.opt-level=1 build",
        "build --config profile.dev.opt-level=2",
        "install --path . --root {target}/root",
    ] {
        project.plain(args).succeeds();
        assert_planned(&project, project.ours(args));
        project.assert_same_tree();
        project.ours(args).succeeds();
        assert_eq!(project.calls.take(), [""; 0], "{args}");
    }
}

/// Cargo's configuration names the wrapper, which has another name, and sets what it does.
#[test]
fn a_wrapper_of_cargos_configuration() {
    let project = project("broken").with_own_cache();
    let copy = project.dir().join("other");
    fs::copy(WRAPPER, &copy).unwrap();
    let cache = project.dir().join("cache of the table");
    fs::create_dir(project.root.join(".cargo")).unwrap();
    let table = format!("[env]\nXDG_CACHE_HOME = {{ value = {cache:?}, force = true }}\n");
    fs::write(project.root.join(".cargo/config.toml"), table).unwrap();
    let mut cargo = project.command("cargo", By::PlainAfterOurs);
    let wrapper = format!("build.rustc-wrapper={copy:?}");
    cargo.args(["run", "--config", &wrapper]).env_remove("RUSTC_WRAPPER");
    let ran = start(cargo, "cargo run --config build.rustc-wrapper=…").finish().says("one is 1");
    assert_planned(&project, ran);
    assert!(fs::read_dir(cache.join("rustcbuildx/store")).unwrap().count() > 0);
}

/// One in the target folder of another, and one that a test runs, each with a planner of its own.
#[test]
fn cargos_beside_and_below_each_other() {
    let project = project("broken").with_own_cache();
    let nested = "#[test]
        fn nested() {
            let mut cargo = std::process::Command::new(std::env::var_os(\"CARGO\").unwrap());
            cargo.args([\"build\", \"--release\", \"--lib\"]);
            assert!(cargo.status().unwrap().success());
        }\n";
    fs::create_dir(project.root.join("tests")).unwrap();
    fs::write(project.root.join("tests/nested.rs"), nested).unwrap();
    assert_planned(&project, project.ours("test --test nested"));
    let runs = ["check", "build --profile bench"].map(|args| project.start(By::Ours, args));
    for run in runs {
        run.finish().succeeds();
    }
    is_over(&project);
    for args in ["test --test nested", "check", "build --profile bench"] {
        project.plain(args).succeeds();
    }
    project.same_in_the_end("run");
}

/// A driver that is no cargo, although one is above it: that of these tests.
#[test]
fn no_plan_for_who_is_not_cargo() {
    let project = project("broken").logging("info");
    let mut rustc = project.command(WRAPPER, By::Ours);
    rustc.args(["rustc", "src/lib.rs", "--crate-type=lib", "--crate-name=alone"]);
    rustc.args(["--edition=2021", "--out-dir"]).arg(project.dir());
    rustc.env("CARGO_MANIFEST_DIR", &project.root);
    project.edit("src/lib.rs", "macros::one!()", "1");
    start(rustc, "rustcbuildx rustc").finish().succeeds();
    assert!(project.dir().join("libalone.rlib").exists());
    let calls = project.calls.take();
    assert!(calls.len() == 1 && !calls[0].contains("/batch"), "{calls:#?}");
    assert_eq!(planners(&project), [0; 0]);
}

/// Nothing but the barrier and what is the planner's own: neither cargo's pipes nor its jobserver.
#[test]
fn the_planner_holds_nothing_of_cargos() {
    let (project, sleeper, cargo) = asleep_in("macros/src/lib.rs");
    let links = |pid: i32| -> BTreeSet<PathBuf> {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).collect()
    };
    let planner = planners(&project);
    assert_eq!(planner.len(), 1, "{planner:?}");
    let others: BTreeSet<PathBuf> =
        cargo.ids().into_iter().filter(|pid| *pid != planner[0]).flat_map(links).collect();
    let shared: Vec<PathBuf> = links(planner[0]).intersection(&others).cloned().collect();
    assert!(shared.iter().all(|file| file.starts_with("/dev/null")), "{shared:?}");
    interrupt(&project, &sleeper, cargo);
}

/// What is done is in its place while the rest is still built.
#[test]
fn a_unit_goes_on_once_its_outcome_is_there() {
    let (project, sleeper, cargo) = asleep_in("macros/src/lib.rs");
    let deps = project.target(By::Ours).join("debug/deps");
    let is_macros = |name: &str| name.starts_with("libmacros-") && name.ends_with(".so");
    let has_macros = || {
        let names = fs::read_dir(&deps).into_iter().flatten().flatten();
        names.into_iter().any(|entry| entry.file_name().to_str().is_some_and(is_macros))
    };
    assert!(wait_until(SOON, has_macros), "nothing is in place");
    assert_eq!(planners(&project).len(), 1, "the plan has ended");
    interrupt(&project, &sleeper, cargo);
}

/// What happens to cargo alone, or to it and all that a terminal has, while the plan's call runs.
#[track_caller]
fn ends_with_cargo(signal: Signal, is_for_all: bool) {
    let (project, sleeper, cargo) = asleep_in("macros/src/lib.rs");
    assert_eq!(planners(&project).len(), 1);
    if is_for_all {
        cargo.signal(signal);
    } else {
        cargo.signal_it(signal);
    }
    cargo.finish_within(SOON).fails();
    is_over(&project);
    sleeper.is_stopped();
    project.edit("macros/src/lib.rs", &sleeper.code(), "// HERE");
    project.same_in_the_end("run");
}

#[test]
fn ctrl_c() {
    ends_with_cargo(Signal::INT, true);
}

#[test]
fn kill_9_of_cargo_alone() {
    ends_with_cargo(Signal::KILL, false);
}

#[test]
fn an_end_of_cargo_alone() {
    ends_with_cargo(Signal::TERM, false);
}

/// Units go on by themselves, and no other planner is started.
#[test]
fn kill_9_of_the_planner() {
    let (project, sleeper, cargo) = asleep_in("build.rs");
    for planner in planners(&project) {
        let pid = rustix::process::Pid::from_raw(planner).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
    let is_alone = || {
        let calls = project.calls.take();
        calls.iter().any(|call| !call.contains("/batch"))
    };
    assert!(wait_until(SOON, is_alone), "no unit is built by itself");
    sleeper.starts();
    assert_eq!(planners(&project), [0; 0]);
    interrupt(&project, &sleeper, cargo);
}

/// The program that `cargo run` becomes runs without a planner beside it.
#[test]
fn the_planner_does_not_wait_for_what_cargo_runs() {
    let (project, sleeper) = (Project::new("broken").env("CARGO_INCREMENTAL", "1"), Sleeper::new());
    project.ours("build").succeeds();
    project.edit("src/main.rs", "// HERE", &sleeper.code());
    // The second of these has the planner started, which nobody asks for a plan then.
    for file in ["macros/src/lib.rs", "src/lib.rs"] {
        project.edit(file, "// HERE", "let _ = 1;");
    }
    let cargo = project.start(By::Ours, "run");
    sleeper.starts();
    is_over(&project);
    cargo.signal(Signal::INT);
    cargo.finish_within(SOON).fails();
    sleeper.is_stopped();
}

/// After an edit, the first units go by themselves, as if they were the only ones; many that are
/// left are built together.
#[test]
fn what_an_edit_reaches_is_built_together() {
    let project = Project::new("broken").env("CARGO_INCREMENTAL", "1").env("CARGO_BUILD_JOBS", "2");
    as_workspace(&project);
    member(&project, "below", "");
    (0..16).for_each(|at| member(&project, &format!("m{at}"), "below = { path = \"../below\" }\n"));
    let calls = |file: &str, text: &str| {
        fs::write(project.root.join(file), text).unwrap();
        project.plain("build").succeeds();
        project.calls.take();
        project.ours("build").succeeds();
        is_over(&project);
        project.assert_same_tree();
        let calls = project.calls.take();
        let together = calls.iter().filter(|call| call.contains("/batch")).count();
        (together, calls.len() - together)
    };
    // Once it is known how far an edit reaches, the first unit waits for the plan.
    for (number, most) in [("1", 8), ("2", 0), ("1", 0)] {
        let (together, alone) =
            calls("below/src/lib.rs", &format!("pub fn below() -> u8 {{ {number} }}"));
        assert!(together == 1 && alone <= most, "{together} and {alone}");
    }
    assert_eq!(calls("m0/src/lib.rs", "pub use below::below;"), (0, 1));
}
