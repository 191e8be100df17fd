//! The dry run of a cargo command: a command line that compiles the same units, in folders of its
//! own, and does nothing else.

use anyhow::{Error, Result, anyhow};
use camino::Utf8Path;

use crate::{
    config::env::RECORDER,
    planning::recorder::Recorder,
    util::process::{self, Cmd, Environment},
};

/// A cargo command line whose outcome nobody wants.
#[derive(Debug, PartialEq)]
pub struct DryRun {
    words: Vec<String>,
    /// The command of `words`.
    command: String,
}

/// How a dry run starts cargo.
pub struct Cargo<'a> {
    pub program: &'a str,
    /// What it is to call; `None` if that follows from its variables and its configuration.
    pub wrapper: Option<&'a Utf8Path>,
    /// Its variables, if they are not those of this process.
    pub environment: Option<&'a Environment>,
}

/// Cargo's variable for its build folder.
pub const BUILD_DIR: &str = "CARGO_BUILD_BUILD_DIR";
/// How the wrapper fails in a dry run where only the local compiler can compile a unit.
pub const LOCAL: &str = "failed to record a local compile";
/// Options before the command that have the next word for their value.
///
/// Source: `cargo --help`, and `-C` of the cargo book, "Unstable features".
const WITH_VALUE: &[&str] = &["--color", "--config", "-C", "-Z"];
/// Options that a dry run does without, and whether each has a value, which may be the next word.
const DROPPED: &[(&str, bool)] = &[
    ("--artifact-dir", true),
    ("--message-format", true),
    ("--no-run", false),
    ("--open", false),
    ("--out-dir", true),
    ("--root", true),
    ("--target-dir", true),
];

/// The words that are cargo's own: what follows `--` is for the program that it runs.
pub fn cargos_own(words: &[String]) -> &[String] {
    words.split(|word| word == "--").next().unwrap_or_default()
}

/// The name of cargo's command, whole where cargo lets it be a letter.
pub fn command(words: &[String]) -> Option<&str> {
    command_at(words).map(|at| match words[at].as_str() {
        "b" => "build",
        "c" => "check",
        "d" => "doc",
        "r" => "run",
        "t" => "test",
        name => name,
    })
}

fn command_at(words: &[String]) -> Option<usize> {
    let is_value = |at: usize| at > 0 && WITH_VALUE.contains(&words[at - 1].as_str());
    (0..words.len()).find(|at| !words[*at].starts_with(['-', '+']) && !is_value(*at))
}

/// Whether cargo goes to another folder before it does anything.
pub fn changes_folder(words: &[String]) -> bool {
    let end = command_at(words).unwrap_or(words.len());
    words[..end].iter().any(|word| word.starts_with("-C"))
}

impl DryRun {
    /// That of the command line `words`, which follow cargo's name; `None` for one that has no dry
    /// run.
    pub fn of(words: &[String]) -> Option<Self> {
        let at = command_at(words)?;
        let end = cargos_own(words).len();
        let command = match command(words)? {
            "build" | "run" => "build",
            same @ ("bench" | "check" | "clippy" | "doc" | "install" | "rustc" | "test") => same,
            _ => return None,
        };
        let options = without_dropped(&words[at + 1..end]);
        let is_beyond_us = |option: &String| {
            ["--help", "-h", "--list"].iter().any(|word| option.starts_with(word))
        };
        if options.iter().any(is_beyond_us) {
            return None;
        }
        let mut dry_run = words[..at].to_vec();
        dry_run.push(command.to_owned());
        if ["test", "bench"].contains(&command) {
            dry_run.push("--no-run".to_owned());
        }
        dry_run.extend(options);
        if command == "rustc" {
            dry_run.extend_from_slice(&words[end..]);
        }
        Some(Self { words: dry_run, command: command.to_owned() })
    }

    /// The words that have cargo use a target folder. Of its configuration, options count more than
    /// variables, and the last of them most. Where some follow the command, those before it are
    /// ignored.
    ///
    /// Source: the cargo book, "Command-line overrides"; measured with cargo 1.95.
    fn words_for(&self, target: &Utf8Path) -> Vec<String> {
        let mut words = self.words.clone();
        let is_config = |word: &String| word.starts_with("--config");
        if let Some(last) = cargos_own(&words).iter().rposition(is_config) {
            let value = serde_json::Value::from(target.as_str());
            let command = command_at(&words).unwrap_or_default();
            let end = if last < command { command } else { cargos_own(&words).len() };
            let options = ["build.build-dir", "build.target-dir"]
                .into_iter()
                .flat_map(|name| ["--config".to_owned(), format!("{name}={value}")]);
            words.splice(end..end, options);
        }
        words
    }

    /// Has cargo name all units to `recorder`. Returns why some may be missing, if so.
    pub fn run(&self, cargo: &Cargo<'_>, recorder: &Recorder) -> Result<Option<Error>> {
        let mut cmd = Cmd::new(cargo.program, self.words_for(&recorder.target()));
        cmd.environment = cargo.environment.cloned();
        cmd.env = vec![
            (RECORDER.to_owned(), recorder.cache.path("").into_string()),
            ("CARGO_TARGET_DIR".to_owned(), recorder.target().into_string()),
            (BUILD_DIR.to_owned(), recorder.target().into_string()),
        ];
        let wrapper =
            cargo.wrapper.map(|wrapper| ("RUSTC_WRAPPER".to_owned(), wrapper.to_string()));
        cmd.env.extend(wrapper);
        match self.command.as_str() {
            "doc" => cmd.env.push(("RUSTDOC".to_owned(), "true".to_owned())),
            "install" => {
                cmd.env.push((
                    "CARGO_INSTALL_ROOT".to_owned(),
                    recorder.cache.path("root").into_string(),
                ));
            }
            _ => {}
        }
        let finished = process::run(&cmd)?;
        log::debug!("{cmd}: {}\n{}", finished.status, finished.stderr);
        // That something is compiled locally is said where it is.
        if finished.status.success() || finished.stderr.contains(LOCAL) {
            return Ok(None);
        }
        Ok(Some(anyhow!("cargo, which tells of them, ended with {}", finished.status)))
    }
}

/// What is left of options.
fn without_dropped(options: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let (name, is_whole) =
            option.split_once('=').map_or((option.as_str(), false), |(name, _)| (name, true));
        match DROPPED.iter().find(|(dropped, _)| *dropped == name) {
            None => left.push(option.clone()),
            Some((_, has_value)) => {
                if *has_value && !is_whole {
                    options.next();
                }
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(line: &str, expected: Option<&str>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(DryRun::of(&words).map(|dry_run| dry_run.words.join(" ")).as_deref(), expected);
    }

    #[test]
    fn what_a_program_gets_is_not_cargos() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cargos_own(&words("run -q -- -j 3 -- x")), words("run -q"));
        assert_eq!(cargos_own(&words("run -q")), words("run -q"));
    }

    #[test]
    fn a_folder_is_changed_before_the_command() {
        let changes =
            |line: &str| changes_folder(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(changes("-C x build") && changes("-Zunstable-options -Cx build"));
        assert!(!changes("rustc -- -C opt-level=1") && !changes("build -C"));
    }

    #[test]
    fn no_option_leads_a_dry_run_into_a_folder_in_use() {
        let words = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            DryRun::of(&words).unwrap().words_for("/c/t".into()).join(" ")
        };
        assert_eq!(words("build -r"), "build -r");
        assert_eq!(
            words("--config build.build-dir=\"x\" rustc -r -- --cfg a"),
            "--config build.build-dir=\"x\" --config build.build-dir=\"/c/t\" \
             --config build.target-dir=\"/c/t\" rustc -r -- --cfg a"
        );
        assert_eq!(
            words("build --config=a.toml -r"),
            "build --config=a.toml -r --config build.build-dir=\"/c/t\" \
             --config build.target-dir=\"/c/t\""
        );
        assert_eq!(words("rustc -- --config x"), "rustc -- --config x");
    }

    #[test]
    fn a_dry_run_runs_nothing() {
        case("build --release", Some("build --release"));
        case("+nightly run --bin x -- --flag", Some("+nightly build --bin x"));
        case("test --no-run -p a --message-format=json", Some("test --no-run -p a"));
        case("test --message-format json x", Some("test --no-run x"));
        case("bench x", Some("bench --no-run x"));
        case("doc --open --no-deps", Some("doc --no-deps"));
        case("rustc --lib -- --emit asm", Some("rustc --lib -- --emit asm"));
        case("install ripgrep --root /r --locked", Some("install ripgrep --locked"));
        case("build --target-dir=/x", Some("build"));
        case("build --artifact-dir /x --out-dir=/y -r", Some("build -r"));
        case(
            "--config a.toml -Z x -Zy --color never b -r",
            Some("--config a.toml -Z x -Zy --color never build -r"),
        );
        case("--config build", None);
        case("/bin/rustc --crate-name a", None);
        case("xtask build", None);
        case("build --help", None);
        case("install --list", None);
        case("--version", None);
    }
}
