//! The command that compiles what a cargo command compiles, in folders of its own, and does nothing else.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::{
    env::Env,
    recording::{Recording, VARIABLE},
    runner::{self, Cmd},
};

/// A cargo command line whose outcome nobody wants.
#[derive(Debug, PartialEq)]
pub struct Rehearsal {
    words: Vec<String>,
    /// The command of `words`.
    command: String,
    /// The folder that the real command installs to, if its words say so.
    root: Option<String>,
}

/// Options that a rehearsal does without, and whether each has a value, which may be the next word.
const DROPPED: &[(&str, bool)] =
    &[("--message-format", true), ("--no-run", false), ("--open", false), ("--root", true)];

impl Rehearsal {
    /// That of the command line `words`, which follow cargo's name; `None` for one that is not rehearsed.
    pub fn of(words: &[String]) -> Option<Self> {
        let at = words.iter().position(|word| !word.starts_with(['-', '+']))?;
        let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let command = match words[at].as_str() {
            "build" | "b" | "run" | "r" => "build",
            "check" | "c" => "check",
            "test" | "t" => "test",
            "doc" | "d" => "doc",
            same @ ("bench" | "clippy" | "install" | "rustc") => same,
            _ => return None,
        };
        let (options, root) = without_dropped(&words[at + 1..end]);
        let is_beyond_us =
            |option: &String| ["--help", "-h", "--list", "--target-dir"].iter().any(|word| option.starts_with(word));
        if options.iter().any(is_beyond_us) {
            return None;
        }
        let mut rehearsal = words[..at].to_vec();
        rehearsal.push(command.to_owned());
        if ["test", "bench"].contains(&command) {
            rehearsal.push("--no-run".to_owned());
        }
        rehearsal.extend(options);
        if command == "rustc" {
            rehearsal.extend_from_slice(&words[end..]);
        }
        Some(Self { words: rehearsal, command: command.to_owned(), root })
    }

    /// The folder where the real command will put what it compiles; `None` if that is not one folder.
    pub fn target_folder(&self, cargo: &str) -> Result<Option<Utf8PathBuf>> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: Utf8PathBuf,
            build_directory: Option<Utf8PathBuf>,
        }
        if self.installs_published() {
            // A temporary one. What is installed is no member of a workspace, and so does not see its name.
            return Ok(Some("/nowhere".into()));
        }
        let finished = runner::run(&Cmd::new(cargo, ["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
        if !finished.status.success() {
            // Cargo says what is wrong when it runs for good.
            return Ok(None);
        }
        let metadata: Metadata = serde_json::from_reader(finished.stdout).context("failed to read cargo's metadata")?;
        let is_one = metadata.build_directory.is_none_or(|build| build == metadata.target_directory);
        Ok(is_one.then_some(metadata.target_directory))
    }

    fn installs_published(&self) -> bool {
        self.command == "install" && !self.words.iter().any(|word| word.starts_with("--path"))
    }

    /// Has cargo tell `recording` all units.
    pub fn run(&self, cargo: &str, wrapper: &Utf8Path, recording: &Recording, env: &Env) -> Result<()> {
        let mut cmd = Cmd::new(cargo, &self.words);
        cmd.env = vec![
            (VARIABLE.to_owned(), recording.cache.path("").into_string()),
            ("CARGO_TARGET_DIR".to_owned(), recording.stand_in().into_string()),
            ("RUSTC_WRAPPER".to_owned(), wrapper.to_string()),
        ];
        match self.command.as_str() {
            "doc" => cmd.env.push(("RUSTDOC".to_owned(), "true".to_owned())),
            "install" => {
                let root = recording.cache.path("root");
                self.pretend_installed(&root, env)?;
                cmd.env.push(("CARGO_INSTALL_ROOT".to_owned(), root.into_string()));
            }
            _ => {}
        }
        let finished = runner::run(&cmd)?;
        log::debug!("{cmd}: {}\n{}", finished.status, finished.stderr);
        if !finished.status.success() {
            log::warn!("a rehearsal ended with {}: some units may not be planned", finished.status);
        }
        Ok(())
    }

    /// Makes `root` look like the folder that the real command installs to: cargo does nothing where it finds what
    /// it is to install.
    ///
    /// Source: the cargo book, `cargo install`, for where that is and what tells cargo.
    fn pretend_installed(&self, root: &Utf8Path, env: &Env) -> Result<()> {
        let real = match self.root.as_deref().or(env.get("CARGO_INSTALL_ROOT")) {
            Some(folder) => Utf8PathBuf::from(folder),
            None => env.cargo_home()?,
        };
        let pretend = || -> std::io::Result<()> {
            fs::create_dir_all(root.join("bin"))?;
            for name in [".crates.toml", ".crates2.json"] {
                if real.join(name).exists() {
                    fs::copy(real.join(name), root.join(name))?;
                }
            }
            for entry in real.join("bin").read_dir().into_iter().flatten() {
                fs::write(Path::new(&root.join("bin")).join(entry?.file_name()), "")?;
            }
            Ok(())
        };
        pretend().with_context(|| format!("failed to write to `{root}` (hint: is the disk full?)"))
    }
}

/// What is left of options, and the value of `--root`.
fn without_dropped(options: &[String]) -> (Vec<String>, Option<String>) {
    let (mut left, mut root) = (Vec::new(), None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option.as_str(), None),
        };
        match DROPPED.iter().find(|(dropped, _)| *dropped == name) {
            None => left.push(option.clone()),
            Some((_, false)) => {}
            Some((_, true)) => {
                let value = value.or_else(|| options.next().cloned());
                root = value.filter(|_| name == "--root").or(root);
            }
        }
    }
    (left, root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(line: &str, expected: Option<&str>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(Rehearsal::of(&words).map(|rehearsal| rehearsal.words.join(" ")).as_deref(), expected);
    }

    #[test]
    fn a_rehearsal_runs_nothing() {
        case("build --release", Some("build --release"));
        case("+nightly run --bin x -- --flag", Some("+nightly build --bin x"));
        case("test --no-run -p a --message-format=json", Some("test --no-run -p a"));
        case("test --message-format json x", Some("test --no-run x"));
        case("bench x", Some("bench --no-run x"));
        case("doc --open --no-deps", Some("doc --no-deps"));
        case("rustc --lib -- --emit asm", Some("rustc --lib -- --emit asm"));
        case("install ripgrep --root /r --locked", Some("install ripgrep --locked"));
        case("build --target-dir=/x", None);
        case("build --help", None);
        case("install --list", None);
        case("--version", None);
    }

    #[test]
    fn where_the_real_command_installs() {
        let root = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Rehearsal::of(&words).unwrap().root
        };
        assert_eq!(root("install x --root /r").as_deref(), Some("/r"));
        assert_eq!(root("install --root=/r x").as_deref(), Some("/r"));
        assert_eq!(root("install x"), None);
    }

    #[test]
    fn what_is_installed_looks_so() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        fs::create_dir_all(dir.join("real/bin")).unwrap();
        fs::write(dir.join("real/bin/rg"), "program").unwrap();
        fs::write(dir.join("real/.crates.toml"), "[v1]").unwrap();
        let words = ["install", "x", "--root", dir.join("real").as_str()].map(str::to_owned);
        let rehearsal = Rehearsal::of(&words).unwrap();
        rehearsal.pretend_installed(&dir.join("root"), &Env::with(&[])).unwrap();
        assert_eq!(fs::read(dir.join("root/bin/rg")).unwrap(), b"");
        assert_eq!(fs::read(dir.join("root/.crates.toml")).unwrap(), b"[v1]");
    }
}
