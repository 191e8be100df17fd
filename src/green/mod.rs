//! `cargo green …`: any cargo command, its units built in a few calls of the engine.
//!
//! The command itself starts at once. Its first unit that the store lacks asks for a plan and waits
//! at the [barrier](crate::planning::barrier), as do all later ones, until the plan is carried out.
//! The planner is a process of its own. This process waits for cargo, tells the user what made the
//! build slow ([`notice`]), and ends as cargo did; the planner ends with it.
//!
//! Only cargo knows what a command compiles. So the planner makes a dry run of the command, in
//! which the wrapper records all units ([`crate::planning::recorder`]). Those that the store lacks
//! are built together as soon as what decides them is known ([`crate::planning::schedule`]), and
//! are stored, so that the waiting units find them there. A unit that the plan does not contain is
//! built by itself, as it would be without `cargo green`.

mod progress;

use std::{
    ffi::OsString,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic,
    process::ExitCode,
    thread::{self, ScopedJoinHandle},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use crate::{
    build::{Session, build_id, together::Together},
    config::{
        env::{self, BARRIER, Env, NOTICES},
        help,
        jobs::Jobs,
        settings::Config,
    },
    green::progress::Progress,
    planning::{
        barrier::{Barrier, PlanRequest},
        dry_run::{BUILD_DIR, DryRun, cargos_own, command},
        recorder::Recorder,
    },
    report::{misspelt, notice, timings::Phase},
    target::deferred,
    util::{logging, process},
};

/// So many units are missing after an edit at least for a call of them all to take less time than
/// one for each.
const FEW: usize = 3;
/// Commands of which compilers alone read the libraries in cargo's build folder (`test` and `doc`
/// run rustdoc), and the one that removes it.
const LEAVING: &[&str] = &["bench", "build", "check", "clean", "clippy", "run", "rustc"];
/// The first argument of the planner, whose standard input is the barrier.
const PLANNER: &str = "--planner";

/// Serves `cargo-green green ARGUMENTS…`, as cargo starts it, or `cargo-green ARGUMENTS…`.
pub fn run(mut args: Vec<OsString>) -> Result<ExitCode> {
    let first = args.first().and_then(|first| first.to_str());
    let is_planner = first == Some(PLANNER);
    if is_planner || first == Some("green") {
        args.remove(0);
    }
    if let Some(answer) = answer(&args) {
        print!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let env = Env::current();
    let config = Config::load(&env)?;
    let cargo = env.get("CARGO").unwrap_or("cargo").to_owned();
    if config.is_local() {
        match process::exec(cargo.as_ref(), args)? {}
    }
    logging::start(&config.log)?;
    let wrapper = wrapper()?;
    let words: Option<Vec<String>> =
        args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    // Where no outcome is kept, a plan is of no use.
    let plannable = words.as_ref().filter(|_| config.store_size > 0);
    let dry_run = plannable.and_then(|words| DryRun::of(words));
    let build_folder = words.as_ref().and_then(|words| build_folder(words, &env, &config));
    let mut variables = vec![("RUSTC_WRAPPER", wrapper.as_str())];
    variables.extend(build_folder.as_ref().map(|folder| (BUILD_DIR, folder.as_str())));
    let (Some(words), Some(dry_run)) = (&words, &dry_run) else {
        misspelt::complain_for(&env, None);
        match process::exec_with(cargo.as_ref(), args, &variables)? {}
    };
    if is_planner {
        let planner = Planner {
            env: &env,
            config: &config,
            cargo: &cargo,
            wrapper: &wrapper,
            words,
            dry_run,
        };
        planner.serve(std::io::stdin().as_fd().try_clone_to_owned()?.into())?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = build_id();
    let barrier = Barrier::new(&name)?;
    misspelt::complain_for(&env, Some(&name));
    let planner = [PLANNER.into()].into_iter().chain(args.iter().cloned());
    let build = (NOTICES, name.as_str());
    process::start_dependent(
        env::current_exe()?.as_ref(),
        planner,
        &[build],
        OwnedFd::from(barrier),
    )?;
    variables.extend([(BARRIER, name.as_str()), build]);
    let status = process::run_in_place(cargo.as_ref(), args, &variables)?;
    notice::say_at_end(&env, &name);
    Ok(process::end_as(status))
}

/// The answer to a question about this program. About its own commands, cargo answers.
fn answer(args: &[OsString]) -> Option<String> {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
    let mut help = help::green(help::width());
    match words[..] {
        [] | ["help" | "--help" | "-h"] => Some(help.render_help().to_string()),
        ["--version" | "-V"] => Some(help.render_version()),
        _ => None,
    }
}

/// The build folder for a command, if it is one of the cache's.
fn build_folder(words: &[String], env: &Env, config: &Config) -> Option<Utf8PathBuf> {
    let leaves = config.leave && command(words).is_some_and(|command| LEAVING.contains(&command));
    let has_own = env.get(BUILD_DIR).is_some_and(|folder| !folder.is_empty());
    if leaves && !has_own { deferred::build_folder(env) } else { None }
}

/// This package's other program.
fn wrapper() -> Result<Utf8PathBuf> {
    let own = env::current_exe()?;
    let beside = own.with_file_name("rustcbuildx");
    match beside.exists() {
        true => Ok(beside),
        false => bail!(
            "failed to find `{beside}`, which cargo is to call (hint: `cargo install` puts both \
             programs into one folder; they need these names)"
        ),
    }
}

struct Planner<'a> {
    env: &'a Env,
    config: &'a Config,
    cargo: &'a str,
    wrapper: &'a Utf8Path,
    /// Cargo's arguments.
    words: &'a [String],
    dry_run: &'a DryRun,
}

/// A finished dry run.
struct Recorded<'a> {
    session: Session<'a>,
    recorder: Recorder,
    /// Where that is.
    _folder: TempDir,
}

impl Planner<'_> {
    /// Plans once a unit asks for it. What is compiled incrementally, as after an edit, is mostly
    /// alone or one of few, and waits for nothing until it is known what there is to plan: that is
    /// found out beside the second of them.
    fn serve(&self, barrier: Barrier) -> Result<()> {
        thread::scope(|scope| {
            let (mut edited, mut dry_run) = (0, None);
            let (asked, first) = barrier.asked(|unit| {
                if !unit.is_incremental {
                    return false;
                }
                edited += 1;
                if edited == 2 {
                    dry_run = Some(scope.spawn(|| self.run_dry()));
                }
                !dry_run.as_ref().is_some_and(ScopedJoinHandle::is_finished)
            })?;
            if first.target.as_str().is_empty() {
                return Ok(());
            }
            let recorded = match dry_run {
                Some(dry_run) => dry_run.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
                None => self.run_dry(),
            };
            // The command is right without it.
            recorded
                .and_then(|recorded| self.plan(recorded, first, (barrier, asked)))
                .unwrap_or_else(|error| {
                    log::warn!("{error:#}");
                    notice::say_slow(
                        self.env,
                        "the rest was not planned, and each unit built by itself",
                        &error,
                    );
                });
            Ok(())
        })
    }

    /// Has cargo tell all units.
    fn run_dry(&self) -> Result<Recorded<'_>> {
        let session =
            Session::open(self.env, self.config, self.env.get("RUSTC").unwrap_or("rustc"))?;
        let folder = session.cache.temp_dir()?;
        let path =
            Utf8Path::from_path(folder.path()).context("the cache folder's name is not UTF-8")?;
        let recorder = Recorder::begin(path.to_owned())?;
        let begun = SystemTime::now();
        if let Some(why) = self.dry_run.run(self.cargo, self.wrapper, &recorder)? {
            log::warn!("{why:#}");
            notice::say_slow(self.env, "some units may not have been planned", &why);
        }
        session.timings.add("rehearsal", Phase::DryRun, begun, SystemTime::now());
        Ok(Recorded { session, recorder, _folder: folder })
    }

    /// Fills the store with what the command will ask for, whose units, the `first` of them and all
    /// later ones, wait as long as there is a barrier.
    fn plan(
        &self,
        recorded: Recorded<'_>,
        first: PlanRequest,
        _barrier: (Barrier, UnixStream),
    ) -> Result<()> {
        let Recorded { session, recorder, _folder } = recorded;
        let jobs = self.jobs(&recorder);
        if deferred::is_build_folder(&first.target, self.env) {
            // As with the rest of the cache, the build is right without it.
            deferred::sweep(&session.cache, &first.target)
                .unwrap_or_else(|error| log::warn!("{error:#}"));
        }
        let mut together = Together::new(&session, &recorder, first.target, jobs)?;
        let missing = together.resolve();
        if !together.is_of_use(&first.output) {
            log::info!("not planned: cargo takes for fresh what a plan would make anew");
            return Ok(());
        }
        if first.is_incremental && missing.len() < FEW {
            log::info!("not planned: only {} are missing after an edit", missing.len());
            return Ok(());
        }
        let mut progress = Progress::new(self.is_quiet());
        progress.expect(missing);
        let planned = build_all(&session, &mut together, &mut progress);
        progress.finish();
        planned
    }

    fn is_quiet(&self) -> bool {
        cargos_own(self.words).iter().any(|word| ["-q", "--quiet"].contains(&word.as_str()))
    }

    fn jobs(&self, recorder: &Recorder) -> Jobs {
        let told = || recorder.jobs().map(|number| Jobs::from_num_jobs(&number));
        Jobs::asked(cargos_own(self.words), self.env).or_else(told).unwrap_or(Jobs::All)
    }
}

/// Builds all units that are missing, batch after batch.
fn build_all(
    session: &Session<'_>,
    together: &mut Together<'_>,
    progress: &mut Progress,
) -> Result<()> {
    while let Some(batch) = together.next_batch() {
        let ended = batch.run(session, |event| progress.add(event));
        if !together.end(ended)? {
            break;
        }
        progress.expect(together.resolve());
    }
    Ok(())
}
