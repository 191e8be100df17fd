//! Engine calls, counted: none where there is nothing to do, and one per unit where none is planned.

use crate::command::{Finished, start};
use crate::engine::WRAPPER;
use crate::project::{By, Project, json_lines};

const NO_CALLS: [&str; 0] = [];

/// Where no outcome is stored, a plan is of no use.
fn unplanned() -> Project {
    Project::new("workspace").inside("ws").env("RUSTCBUILDX_STORE_SIZE", "0")
}

/// From nothing: the records are those of plain cargo, and there are as many calls as units were
/// compiled and build scripts run.
#[test]
fn one_per_unit_and_build_script_run() {
    let project = unplanned();
    let args = "test --no-run --message-format=json -p native -p macros -p middle";
    let (plain, ours) = (project.plain(args).succeeds(), project.ours(args).succeeds());
    let records = |run: &Finished, by| json_lines(run, &project.target(by));
    assert_eq!(records(&plain, By::Plain), records(&ours, By::Ours));
    let calls = project.calls.take();
    let units = ours.units_compiled() + ours.build_scripts();
    assert_eq!(calls.len(), units, "{units} units: {calls:#?}");
}

/// A unit that reads a file outside of its package is built twice, and once from then on.
#[test]
fn one_more_for_what_is_learned() {
    let project = unplanned();
    let args = "test --no-run --message-format=json -p app";
    project.ours(args).succeeds();
    project.calls.take();
    for source in ["ws/app/src/lib.rs", "ws/middle/src/lib.rs"] {
        project.edit(source, "pub ", "\npub ");
        let ours = project.ours(args).succeeds();
        let calls = project.calls.take();
        assert!(ours.units_compiled() > 2, "{ours}");
        assert_eq!(calls.len(), ours.units_compiled(), "{calls:#?}");
    }
}

/// What cargo, rustup and build scripts ask a compiler never reaches an engine.
#[test]
fn none_for_questions() {
    let project = Project::new("broken");
    let questions = [
        "rustc -vV",
        "rustc --version",
        "rustc --print sysroot",
        "rustc --print=cfg",
        "rustc - --crate-name ___ --print=file-names --crate-type bin --crate-type rlib --print=cfg",
        "rustc --help",
        "rustc --explain E0308",
        "clippy-driver rustc -vV",
        "rustc --print",
    ];
    for question in questions {
        let (program, args) = question.split_once(' ').unwrap();
        let ask = |wrapped: bool| {
            let mut command = project.command(if wrapped { WRAPPER } else { program }, By::Ours);
            command.args(wrapped.then_some(program)).args(args.split(' '));
            start(command, question).finish()
        };
        let (plain, ours) = (ask(false), ask(true));
        assert_eq!(plain.status, ours.status, "{question}");
        assert_eq!((plain.stdout, plain.stderr), (ours.stdout, ours.stderr), "{question}");
    }
    assert_eq!(project.calls.take(), NO_CALLS);
}

#[test]
fn none_when_switched_off() {
    for (name, value) in [("RUSTCBUILDX", "0"), ("RUSTCBUILDX_RUNNER", "none")] {
        let project = Project::new("broken").env(name, value);
        project.same(&["run", "clippy"]);
        project.edit("src/lib.rs", "// HERE", "let _: u32 = \"\";");
        project.ours("build").fails().says("E0308");
        assert_eq!(project.calls.take(), NO_CALLS);
    }
}
