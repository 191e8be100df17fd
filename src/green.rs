//! `cargo green …`: any cargo command, its units built in few calls of the engine.
//!
//! Cargo alone knows what a command compiles, so it is asked: a rehearsal ([`crate::recording`]) tells all units,
//! those that the store lacks are built together and stored, and then the command itself runs on what is stored.
//! What a build script says is not known before it ran, so there is a rehearsal after each build, until none
//! brings up anything new. A unit that is not stored in the end is built by itself, as without all this.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::{
    config::Config,
    env::{self, Env},
    jobs::Jobs,
    logging,
    progress::Progress,
    recipe::Key,
    recording::{Recorded, Recording, VARIABLE},
    runner::{self, Cmd},
    session::Session,
};

/// More rehearsals than build scripts that need one another usually ask for.
const ROUNDS: usize = 6;

/// Serves `cargo-green green ARGUMENTS…`, as cargo starts it, or `cargo-green ARGUMENTS…`.
pub fn run(mut args: Vec<OsString>) -> Result<ExitCode> {
    if args.first().is_some_and(|first| first == "green") {
        args.remove(0);
    }
    let env = Env::current();
    let config = Config::load(&env)?;
    let cargo = env.get("CARGO").unwrap_or("cargo").to_owned();
    if config.is_local() {
        match runner::exec(cargo.as_ref(), args)? {}
    }
    logging::start(&config.log)?;
    let wrapper = wrapper()?;
    let words: Option<Vec<String>> = args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    if let Some(words) = words
        && let Some(rehearsal) = rehearsal(&words)
    {
        let green = Green { env: &env, config: &config, cargo: &cargo, wrapper: &wrapper, words: &words };
        // The command is right without it.
        green.plan(&rehearsal).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            eprintln!(
                "rustcbuildx: not planned, so each unit is built by itself (hint: RUSTCBUILDX_LOG=warn says why)"
            );
        });
    }
    match runner::exec_with(cargo.as_ref(), args, &[("RUSTC_WRAPPER", wrapper.as_str())])? {}
}

/// This package's other program.
fn wrapper() -> Result<Utf8PathBuf> {
    let own = env::current_exe()?;
    let beside = own.with_file_name("rustcbuildx");
    match beside.exists() {
        true => Ok(beside),
        false => bail!("failed to find `{beside}` (hint: `cargo install` puts both programs into one folder)"),
    }
}

/// The command that compiles what a command compiles and runs nothing; `None` for one that is not rehearsed.
fn rehearsal(words: &[String]) -> Option<Vec<String>> {
    let at = words.iter().position(|word| !word.starts_with(['-', '+']))?;
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (command, more): (_, &[&str]) = match words[at].as_str() {
        "build" | "b" | "check" | "c" | "clippy" => (words[at].as_str(), &[]),
        "run" | "r" => ("build", &[]),
        "test" | "t" | "bench" => (words[at].as_str(), &["--no-run"]),
        _ => return None,
    };
    let options = words[at + 1..end].iter().map(String::as_str);
    let asks = |option: &str| ["--help", "-h", "--target-dir"].iter().any(|word| option.starts_with(word));
    if options.clone().any(asks) {
        return None;
    }
    let options = options.filter(|option| *option != "--no-run" && !option.starts_with("--message-format"));
    let before = words[..at].iter().map(String::as_str);
    let all = before.chain([command]).chain(more.iter().copied()).chain(options);
    Some(all.map(str::to_owned).collect())
}

struct Green<'a> {
    env: &'a Env,
    config: &'a Config,
    cargo: &'a str,
    wrapper: &'a Utf8Path,
    /// Cargo's arguments.
    words: &'a [String],
}

impl Green<'_> {
    /// Fills the store with what a command will ask for.
    fn plan(&self, rehearsal: &[String]) -> Result<()> {
        let Some(target) = self.target_folder()? else { return Ok(()) };
        let session = Session::open(self.env, self.config, self.env.get("RUSTC").unwrap_or("rustc"))?;
        let mut tried: HashSet<Key> = HashSet::new();
        for round in 1..=ROUNDS {
            let folder = session.cache.temp_dir()?;
            let folder = Utf8Path::from_path(folder.path()).context("the cache folder's name is not UTF-8")?;
            let recording = Recording::begin(folder, &target)?;
            self.rehearse(rehearsal, &recording)?;
            let all = recording.all()?;
            let missing = buildable(&all, &tried);
            log::info!("rehearsal {round}: {} units, {} to build", all.len(), missing.len());
            if missing.is_empty() {
                break;
            }
            let names = missing.iter().map(|unit| (unit.recipe.key.clone(), unit.name.clone())).collect();
            let mut progress = Progress::new(names, self.is_quiet());
            let jobs = self.jobs(&recording);
            session.build_together(&recording, &missing, jobs, |event| progress.add(event))?;
            progress.finish();
            tried.extend(missing.iter().map(|unit| unit.recipe.key.clone()));
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let mut options = self.words.iter().take_while(|word| *word != "--");
        options.any(|word| ["-q", "--quiet"].contains(&word.as_str()))
    }

    fn jobs(&self, recording: &Recording) -> Jobs {
        let told = || recording.jobs().map(|number| Jobs::told(&number));
        Jobs::asked(self.words, self.env).or_else(told).unwrap_or(Jobs::All)
    }

    /// Where cargo will put what it builds; `None` if intermediate files belong elsewhere.
    fn target_folder(&self) -> Result<Option<Utf8PathBuf>> {
        #[derive(Deserialize)]
        struct Metadata {
            target_directory: Utf8PathBuf,
            build_directory: Option<Utf8PathBuf>,
        }
        let cmd = Cmd::new(self.cargo, ["metadata", "--format-version=1", "--no-deps", "--offline"]);
        let finished = runner::run(&cmd)?;
        if !finished.status.success() {
            // Cargo says what is wrong when it runs for good.
            return Ok(None);
        }
        let metadata: Metadata = serde_json::from_reader(finished.stdout).context("failed to read cargo's metadata")?;
        let is_one = metadata.build_directory.is_none_or(|build| build == metadata.target_directory);
        Ok(is_one.then_some(metadata.target_directory))
    }

    fn rehearse(&self, rehearsal: &[String], recording: &Recording) -> Result<()> {
        let mut cmd = Cmd::new(self.cargo, rehearsal);
        let stand_in = recording.stand_in();
        let env = [(VARIABLE, recording.cache.path("")), ("CARGO_TARGET_DIR", stand_in.clone())];
        cmd.env = env.map(|(name, value)| (name.to_owned(), value.into_string())).to_vec();
        cmd.env.push(("RUSTC_WRAPPER".to_owned(), self.wrapper.to_string()));
        let finished = runner::run(&cmd)?;
        log::debug!("{cmd}: {}\n{}", finished.status, finished.stderr);
        if !finished.status.success() {
            log::warn!("a rehearsal ended with {}: some units may not be planned", finished.status);
        }
        Ok(())
    }
}

/// The units to build: the store lacks them, and all that decides them is known.
fn buildable<'a>(all: &'a [Recorded], tried: &HashSet<Key>) -> Vec<&'a Recorded> {
    let waiting = waiting(all);
    let is_told = |unit: &Recorded| unit.script.as_ref().is_none_or(|script| !waiting.contains(&*script.package));
    let is_ready = |unit: &&Recorded| !unit.is_stored && !unit.is_uncertain && is_told(unit);
    all.iter().filter(is_ready).filter(|unit| !tried.contains(&unit.recipe.key)).collect()
}

/// The packages whose build scripts are yet to be told something: a script learns in `DEP_*` variables what those
/// of its dependencies say that have a `links` value.
fn waiting(all: &[Recorded]) -> HashSet<&Utf8Path> {
    let silent = all.iter().filter(|unit| unit.is_unanswered()).filter_map(|unit| unit.script.as_ref());
    let silent: HashSet<&Utf8Path> = silent.filter(|script| script.has_links).map(|script| &*script.package).collect();
    let package_of: HashMap<&str, &Utf8Path> =
        all.iter().filter_map(|unit| Some((unit.recipe.key.as_str(), unit.package.as_deref()?))).collect();
    let is_silent = |key: &Key| package_of.get(key.as_str()).is_some_and(|package| silent.contains(package));
    let dependents = all.iter().filter(|unit| unit.recipe.crates.iter().any(is_silent));
    dependents.filter_map(|unit| unit.package.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        recipe::{Origin, Recipe},
        recording::Script,
    };

    #[track_caller]
    fn case(line: &str, expected: Option<&str>) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(rehearsal(&words).map(|words| words.join(" ")).as_deref(), expected);
    }

    fn recorded(key: &str, crates: &[&str], package: &str, script: Option<bool>) -> Recorded {
        let origin = Origin::Copy { context: "/c".into() };
        let crates = crates.iter().map(|key| key.to_string()).collect();
        Recorded {
            name: key.to_owned(),
            learned: String::new(),
            recipe: Recipe { key: key.to_owned(), origin, outputs: vec![], crates },
            is_stored: false,
            is_uncertain: false,
            package: script.is_none().then(|| package.into()),
            script: script.map(|has_links| Script { package: package.into(), has_links }),
        }
    }

    /// `b` depends on `a`, whose build script has something to say to that of `b`.
    #[test]
    fn a_script_waits_for_those_it_hears_of() {
        let mut all = [
            recorded("a-run", &[], "/a", Some(true)),
            recorded("a", &[], "/a", None),
            recorded("b-run", &[], "/b", Some(false)),
            recorded("b", &["a"], "/b", None),
        ];
        (all[1].is_uncertain, all[3].is_uncertain) = (true, true);
        let keys = |all: &[Recorded]| -> Vec<String> {
            buildable(all, &HashSet::new()).iter().map(|unit| unit.recipe.key.clone()).collect()
        };
        assert_eq!(keys(&all), ["a-run"]);
        all[0].is_stored = true;
        assert_eq!(keys(&all), ["b-run"]);
    }

    #[test]
    fn a_rehearsal_runs_nothing() {
        case("build --release", Some("build --release"));
        case("+nightly run --bin x -- --flag", Some("+nightly build --bin x"));
        case("test --no-run -p a --message-format=json", Some("test --no-run -p a"));
        case("bench x", Some("bench --no-run x"));
        case("build --target-dir=/x", None);
        case("build --help", None);
        case("install ripgrep", None);
        case("--version", None);
    }
}
