//! One process: started in a group of its own, waited for, its output made comparable.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// So long that only a process that hangs is ended by it.
const DEADLINE: Duration = Duration::from_secs(300);

/// A started process with what it started, its output going to files.
#[derive(Debug)]
pub struct Running {
    child: Child,
    dir: tempfile::TempDir,
    shown: String,
}

/// What a finished process left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// The command as a person would type it.
    pub shown: String,
}

/// Files rather than pipes: a grandchild that outlives its parent must not hold up the test. Files
/// to append to, for what ours says beside cargo to be seen.
pub fn start(mut command: Command, shown: &str) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let file = |name| {
        OpenOptions::new().create_new(true).append(true).open(dir.path().join(name)).unwrap()
    };
    command.stdout(file("stdout")).stderr(file("stderr")).process_group(0);
    let child = command.spawn().unwrap_or_else(|error| panic!("`{shown}`: {error}"));
    Running { child, dir, shown: shown.to_owned() }
}

impl Running {
    /// Signals the process and what it started, as a terminal does.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process_group(pid, signal).unwrap();
    }

    /// Signals the process alone.
    pub fn signal_it(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The process and all that it started, as far as they are in its group.
    pub fn ids(&self) -> Vec<i32> {
        let group = self.child.id().to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let is_in_group = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            rest.split(' ').nth(2) == Some(&group)
        };
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(is_in_group).collect()
    }

    pub fn is_finished(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn finish(self) -> Finished {
        self.finish_within(DEADLINE)
    }

    #[track_caller]
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        if !wait_until(limit, || self.is_finished()) {
            self.signal(Signal::KILL);
            let (stdout, stderr) = (self.read("stdout"), self.read("stderr"));
            panic!("`{}` still runs after {limit:?}:\n{stdout}{stderr}", self.shown);
        }
        Finished {
            status: self.child.wait().unwrap(),
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
            shown: self.shown,
        }
    }

    fn read(&self, stream: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.path().join(stream)).unwrap()).into_owned()
    }
}

/// Whether `done` becomes true before `limit` is over.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if done() {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Finished {
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "{self}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text) || self.stdout.contains(text), "no `{text}` in {self}");
        self
    }

    /// Cargo's JSON messages; what the built program printed is not among them.
    pub fn records(&self) -> Vec<Value> {
        let lines = self.stdout.lines().filter(|line| line.starts_with("{\"reason\":"));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many units cargo did not find fresh; needs `--message-format=json`.
    pub fn units_compiled(&self) -> usize {
        let stale = |record: &&Value| record["fresh"] == false;
        self.records().iter().filter(stale).count()
    }

    /// How many build scripts ran; true only where nothing was fresh.
    pub fn build_scripts(&self) -> usize {
        let ran = |record: &&Value| record["reason"] == "build-script-executed";
        self.records().iter().filter(ran).count()
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr, shown } = self;
        write!(f, "`{shown}`: {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// What must be equal whoever compiled: sorted lines, because units finish in any order.
pub fn comparable(text: &str, target: &Path) -> Vec<String> {
    let text = text
        .replace(&target.display().to_string(), "[TARGET]")
        .replace(&format!("{} ", crate::engine::WRAPPER), "");
    let mut lines: Vec<_> = text.lines().filter(|line| !is_chance(line)).map(stable).collect();
    lines.sort_unstable();
    lines
}

/// Printed or not depending on what else runs at that moment, or has run: whoever is first
/// downloads.
fn is_chance(line: &str) -> bool {
    let chances = [
        "waiting for file lock",
        " Downloading",
        " Downloaded",
        " Updating",
        "warning: build failed, waiting for other jobs to finish...",
    ];
    // Where there is no terminal, a slow build tells now and then how far it is.
    let is_progress = |line: &str| line.starts_with(|first: char| first.is_ascii_digit());
    chances.iter().any(|text| line.contains(text))
        || line.trim_start().strip_prefix("Building ").is_some_and(is_progress)
}

fn stable(line: &str) -> String {
    // Of two units with the same warning, the one that ends last is said to repeat it.
    if let Some((unit, count)) = line.split_once(") generated ") {
        let words = count.split(' ').take(2).collect::<Vec<_>>();
        return format!("{unit}) generated {}", words.join(" "));
    }
    let line = without_link_folder(line);
    let words = line.split(' ').filter(|word| !is_minutes(word));
    words.map(stable_word).collect::<Vec<_>>().join(" ")
}

/// The folder of a linker's temporary files: `…/rustcAbC123/symbols.o`.
fn without_link_folder(line: &str) -> String {
    let mut parts = line.split("/rustc");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("/rustc");
        let random = part.len() > 6 && part.is_char_boundary(6) && part[6..].starts_with('/');
        out.push_str(if random { &part[6..] } else { part });
    }
    out
}

/// Of a duration such as `1m 05s`.
fn is_minutes(word: &str) -> bool {
    let digits = word.strip_suffix('m').unwrap_or_default();
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// Durations (`0.52s`) and thread ids (`(1234)`).
fn stable_word(word: &str) -> &str {
    let bare = word.trim_end_matches([';', ')', '.', ',']);
    let number = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    if bare.strip_suffix('s').is_some_and(number) {
        return "[TIME]";
    }
    if word.strip_prefix('(').and_then(|word| word.strip_suffix(')')).is_some_and(number) {
        return "(ID)";
    }
    word
}

#[test]
fn only_what_varies_is_made_equal() {
    #[track_caller]
    fn case(line: &str, expected: &str) {
        assert_eq!(comparable(line, Path::new("/t")).concat(), expected);
    }
    case("    Finished `dev` profile in 0.52s", "    Finished `dev` profile in [TIME]");
    case("    Finished in 1m 02s", "    Finished in [TIME]");
    case("took 12.5s; rest", "took [TIME] rest");
    case("thread 'main' (4321) panicked", "thread 'main' (ID) panicked");
    case("     Running `/t/debug/app`", "     Running `[TARGET]/debug/app`");
    case("\"/t/deps/rustcAbC123/symbols.o\"", "\"[TARGET]/deps/rustc/symbols.o\"");
    case("15 core only", "15 core only");
    case("    Building 13/26: cc 1.11.3 (crate cc)", "");
    case("Building on sand", "Building on sand");
    case(
        "warning: `a` (lib) generated 1 warning (1 duplicate)",
        "warning: `a` (lib) generated 1 warning",
    );
    case("    Blocking waiting for file lock on package cache", "");
}
