//! `cargo green …`: any cargo command, its units built in few calls of the engine.
//!
//! Cargo alone knows what a command compiles, so it is asked: a rehearsal ([`crate::recording`]) tells all units,
//! those that the store lacks are built together and stored, and then the command itself runs on what is stored.
//! What a build script says is not known before it ran, so there is a rehearsal after each build of such, until none
//! brings up anything new. A unit that is not stored in the end is built by itself, as without all this.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::Config,
    env::{self, Env},
    jobs::Jobs,
    logging,
    progress::Progress,
    recipe::Key,
    recording::{Recorded, Recording},
    rehearsal::Rehearsal,
    runner,
    session::{self, Session, together::Batch},
    timings::Phase,
};

/// More rehearsals than build scripts that need one another usually ask for.
const ROUNDS: usize = 6;
const LOCK: &str = "no thread panics while it shows progress";

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
        && let Some(rehearsal) = Rehearsal::of(&words)
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
    ///
    /// Cargo cannot tell more before a build script was run, so those are built first, and the rest beside them and
    /// beside the rehearsals to come: the engine takes steps that two builds share for one.
    fn plan(&self, rehearsal: &Rehearsal) -> Result<()> {
        let Some(target) = rehearsal.target_folder(self.cargo)? else { return Ok(()) };
        let session = Session::open(self.env, self.config, self.env.get("RUSTC").unwrap_or("rustc"))?;
        let progress = Mutex::new(Progress::new(self.is_quiet()));
        let run = |batch: Batch| {
            progress.lock().expect(LOCK).expect(batch.names());
            session.run(batch, |event| progress.lock().expect(LOCK).add(event))
        };
        let number = session::nonce();
        let planned = thread::scope(|scope| {
            let (mut tried, mut beside) = (HashSet::<Key>::new(), Vec::new());
            for round in 1..=ROUNDS {
                let folder = session.cache.temp_dir()?;
                let folder = Utf8Path::from_path(folder.path()).context("the cache folder's name is not UTF-8")?;
                let recording = Recording::begin(folder, &target)?;
                let begun = SystemTime::now();
                rehearsal.run(self.cargo, self.wrapper, &recording, self.env)?;
                session.timings.add(&format!("rehearsal {round}"), Phase::Rehearsal, begun, SystemTime::now());
                let all = recording.all()?;
                let count = all.len();
                let missing = buildable(all, &tried);
                log::info!("rehearsal {round}: {count} units, {} to build", missing.len());
                tried.extend(missing.iter().map(|unit| unit.key.clone()));
                let is_urgent = |unit: &Recorded| unit.script.is_some() || !session.shares_steps();
                let (urgent, rest): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_urgent);
                let batch = |units| session.batch(&recording, units, &number, self.jobs(&recording));
                if !rest.is_empty() {
                    let batch = batch(rest)?;
                    beside.push(scope.spawn(|| run(batch)));
                }
                if !urgent.is_empty() {
                    run(batch(urgent)?)?;
                    continue;
                }
                let mut has_learned = false;
                for thread in beside.drain(..) {
                    has_learned |= thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                }
                if !has_learned {
                    break;
                }
            }
            Ok(())
        });
        progress.into_inner().expect(LOCK).finish();
        planned
    }

    fn is_quiet(&self) -> bool {
        let mut options = self.words.iter().take_while(|word| *word != "--");
        options.any(|word| ["-q", "--quiet"].contains(&word.as_str()))
    }

    fn jobs(&self, recording: &Recording) -> Jobs {
        let told = || recording.jobs().map(|number| Jobs::told(&number));
        Jobs::asked(self.words, self.env).or_else(told).unwrap_or(Jobs::All)
    }
}

/// The units to build: the store lacks them, and all that decides them is known.
fn buildable(all: Vec<Recorded>, tried: &HashSet<Key>) -> Vec<Recorded> {
    let waiting: HashSet<Utf8PathBuf> = waiting(&all).into_iter().map(Utf8Path::to_owned).collect();
    let is_told = |unit: &Recorded| unit.script.as_ref().is_none_or(|script| !waiting.contains(&script.package));
    let is_ready = |unit: &Recorded| !unit.is_stored && !unit.is_uncertain && is_told(unit);
    all.into_iter().filter(|unit| is_ready(unit) && !tried.contains(&unit.key)).collect()
}

/// The packages whose build scripts are yet to be told something: a script learns in `DEP_*` variables what those
/// of its dependencies say that have a `links` value.
fn waiting(all: &[Recorded]) -> HashSet<&Utf8Path> {
    let silent = all.iter().filter(|unit| unit.is_unanswered()).filter_map(|unit| unit.script.as_ref());
    let silent: HashSet<&Utf8Path> = silent.filter(|script| script.has_links).map(|script| &*script.package).collect();
    let package_of: HashMap<&str, &Utf8Path> =
        all.iter().filter_map(|unit| Some((unit.key.as_str(), unit.package.as_deref()?))).collect();
    let is_silent = |key: &Key| package_of.get(key.as_str()).is_some_and(|package| silent.contains(package));
    let dependents = all.iter().filter(|unit| unit.crates.iter().any(is_silent));
    dependents.filter_map(|unit| unit.package.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Script;

    fn recorded(key: &str, crates: &[&str], package: &str, script: Option<bool>) -> Recorded {
        let crates = crates.iter().map(|key| key.to_string()).collect();
        Recorded {
            name: key.to_owned(),
            learned: String::new(),
            key: key.to_owned(),
            crates,
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
            buildable(all.to_vec(), &HashSet::new()).into_iter().map(|unit| unit.key).collect()
        };
        assert_eq!(keys(&all), ["a-run"]);
        all[0].is_stored = true;
        assert_eq!(keys(&all), ["b-run"]);
    }
}
