//! Ctrl-C, `kill -9`, two cargos at once: the engine's work stops, and the next build is right.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::{start, wait_until};
use crate::engine::WRAPPER;
use crate::planned;
use crate::project::{By, Project};

/// Far more than anything here takes, far less than what sleeps in the sandbox.
pub const SOON: Duration = Duration::from_secs(20);
const LATER: Duration = Duration::from_secs(120);

/// Code that starts `sleep` for a number of seconds that no other process sleeps for.
pub struct Sleeper {
    seconds: String,
}

impl Sleeper {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { seconds: format!("300.{}{number:03}", std::process::id()) }
    }

    pub fn code(&self) -> String {
        format!(
            "std::process::Command::new(\"sleep\").arg(\"{}\").status().unwrap();",
            self.seconds
        )
    }

    /// Seen from here because a container's processes are processes of this machine.
    pub fn is_running(&self) -> bool {
        let command = format!("sleep\0{}\0", self.seconds);
        processes().any(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == command.as_bytes())
        })
    }

    #[track_caller]
    pub fn starts(&self) {
        assert!(wait_until(LATER, || self.is_running()), "the unit did not start to sleep");
    }

    #[track_caller]
    pub fn is_stopped(&self) {
        assert!(wait_until(SOON, || !self.is_running()), "it still sleeps in the sandbox");
    }
}

/// All that run on this machine.
fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The wrapper's processes that work for this project.
pub fn wrappers(project: &Project) -> Vec<i32> {
    let link = |pid, name| fs::read_link(format!("/proc/{pid}/{name}"));
    let is_ours = |pid: &i32| {
        link(*pid, "exe").is_ok_and(|exe| exe == Path::new(WRAPPER))
            && link(*pid, "cwd").is_ok_and(|cwd| cwd.starts_with(&project.root))
    };
    processes().filter(is_ours).collect()
}

/// What happens while the unit of `file` sleeps; the build fails of it, and then it all works.
#[track_caller]
fn case(file: &str, interrupt: impl Fn(&Project, &crate::command::Running)) {
    let (project, sleeper) = (Project::new("broken"), Sleeper::new());
    let temp = project.dir().join("temp");
    fs::create_dir(&temp).unwrap();
    let project = project.env("TMPDIR", temp.to_str().unwrap());
    project.edit(file, "// HERE", &sleeper.code());
    let cargo = project.start(By::Ours, "build");
    sleeper.starts();
    // What is there now would stay there.
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "something is in the temporary folder");
    interrupt(&project, &cargo);
    cargo.finish_within(SOON).fails();
    sleeper.is_stopped();
    assert!(wait_until(SOON, || wrappers(&project).is_empty()), "a wrapper is left");

    // The unit that did not end is no hit for the one that is the same but for the time it takes.
    project.edit(file, &sleeper.code(), "// HERE");
    project.same_in_the_end("run");
}

#[test]
fn ctrl_c_while_a_build_script_runs() {
    case("build.rs", |_, cargo| cargo.signal(Signal::INT));
}

#[test]
fn ctrl_c_while_rustc_runs() {
    case("macros/src/lib.rs", |_, cargo| cargo.signal(Signal::INT));
}

#[test]
fn kill_9_of_the_wrapper_while_a_build_script_runs() {
    case("build.rs", |project, _| kill_wrappers(project));
}

#[test]
fn kill_9_of_the_wrapper_while_rustc_runs() {
    case("macros/src/lib.rs", |project, _| kill_wrappers(project));
}

#[test]
fn kill_9_of_everything() {
    case("build.rs", |_, cargo| cargo.signal(Signal::KILL));
}

fn kill_wrappers(project: &Project) {
    let pids = wrappers(project);
    assert!(!pids.is_empty(), "no wrapper runs");
    for pid in pids {
        let _it_may_have_ended = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

/// What happens to `cargo green` while the unit of `file` sleeps; it ends as cargo would, and then
/// it all works.
#[track_caller]
fn green_case(file: &str, signal: Signal, is_for_all: bool) {
    let (project, sleeper) = (planned::project("broken"), Sleeper::new());
    project.edit(file, "// HERE", &sleeper.code());
    let green = planned::start_green(&project, "build");
    sleeper.starts();
    if is_for_all {
        green.signal(signal);
    } else {
        green.signal_it(signal);
    }
    let ended = green.finish_within(SOON);
    assert_eq!(ended.status.signal(), Some(signal.as_raw()), "{ended}");
    sleeper.is_stopped();
    assert!(wait_until(SOON, || wrappers(&project).is_empty()), "a wrapper is left");
    project.edit(file, &sleeper.code(), "// HERE");
    project.same_in_the_end("run");
}

#[test]
fn ctrl_c_of_cargo_green() {
    green_case("build.rs", Signal::INT, true);
}

#[test]
fn kill_9_of_cargo_green_and_all() {
    green_case("macros/src/lib.rs", Signal::KILL, true);
}

#[test]
fn an_end_of_cargo_green_alone_ends_cargo() {
    green_case("build.rs", Signal::KILL, false);
    green_case("build.rs", Signal::TERM, false);
}

/// A program answers Ctrl-C itself, and its status is told to the number.
#[test]
fn a_program_under_cargo_green_ends_as_it_likes() {
    let project = planned::project("broken");
    for (ends, code, signal) in [
        ("std::process::exit(130)", Some(130), None),
        ("std::process::abort()", None, Some(Signal::ABORT)),
        (
            "std::process::Command::new(\"sh\").args([\"-c\", \"trap 'exit 7' INT; kill -INT 0; sleep 9\"]).status().unwrap()",
            None,
            Some(Signal::INT),
        ),
    ] {
        fs::write(project.root.join("src/main.rs"), format!("fn main() {{ {ends}; }}\n")).unwrap();
        let ended = planned::green(&project, "run");
        assert_eq!(
            (ended.status.code(), ended.status.signal()),
            (code, signal.map(Signal::as_raw)),
            "{ends}: {ended}"
        );
    }
}

/// Of the same sources at the same time, each into a target folder of its own.
#[test]
fn two_cargos_at_once() {
    let project = Project::new("broken");
    let other = project.dir().join("target-other");
    let mut second = project.cargo(By::Ours, "run");
    second.env("CARGO_TARGET_DIR", &other);
    let runs = [project.start(By::Ours, "run"), start(second, "cargo run # the second")];
    for run in runs {
        run.finish().succeeds().says("one is 1");
    }
    project.same_in_the_end("run");
}
