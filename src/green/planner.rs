//! The planner: makes a dry run of a cargo command, and builds what the store lacks together.
//!
//! It is a process beside cargo: a child of `cargo green`, or one that the wrapper started in the
//! background ([`crate::planning::background`]) and that ends with cargo.

use std::{
    collections::HashMap,
    os::fd::AsFd,
    panic,
    process::ExitCode,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, ScopedJoinHandle},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use tempfile::TempDir;

use crate::{
    build::{
        Session,
        remotes::{Answer, Remotes, Request},
        together::{Ended, Together},
    },
    config::{
        env::{Env, NOTICES},
        files::{location::Location, resolved::with_files},
        jobs::Jobs,
        settings::Config,
    },
    engine::client::Event,
    green::{
        progress::Progress,
        remotes::{self, AskedRemotes},
    },
    planning::{
        barrier::{Barrier, PlanRequest, Waiting},
        caller::Caller,
        dry_run::{Cargo, DryRun, cargos_own},
        reach::{self, MANY},
        recorder::Recorder,
    },
    report::{notice, timings::Phase},
    step::key::Key,
    target::deferred,
    util::{ancestors::Process, logging},
};

/// How often a planner in the background looks whether its cargo still runs.
const INTERVAL: Duration = Duration::from_millis(100);

pub struct Planner<'a> {
    pub env: &'a Env,
    pub config: &'a Config,
    pub cargo: Cargo<'a>,
    /// Cargo's arguments.
    pub words: &'a [String],
    pub dry_run: &'a DryRun,
    /// Whether nobody is to see how far it is.
    pub is_quiet: bool,
    /// The process of the command.
    pub process: u32,
}

/// Serves `rustcbuildx --plan-in-background PROCESS`.
pub fn run_in_background(process: &str) -> Result<ExitCode> {
    let process = process.parse().ok().and_then(Process::of).context(NOT_FOR_PEOPLE)?;
    let env = with_files(Env::current(), Location::of_process(&process).as_ref())?;
    end_with(process.clone());
    let caller = Caller::of(process).context(NOT_FOR_PEOPLE)?;
    if env.get(NOTICES) != Some(caller.barrier().as_str()) {
        bail!(NOT_FOR_PEOPLE);
    }
    let config = Config::load(&env)?;
    logging::start(&config.log)?;
    let planner = Planner {
        env: &env,
        config: &config,
        cargo: Cargo {
            program: caller.program.as_str(),
            wrapper: None,
            environment: Some(&caller.environment),
        },
        words: &caller.words,
        dry_run: &DryRun::of(&caller.words).context(NOT_FOR_PEOPLE)?,
        is_quiet: true,
        process: caller.process.id,
    };
    // Whoever started it has let the first go that may be alone.
    planner.serve(1)?;
    Ok(ExitCode::SUCCESS)
}

const NOT_FOR_PEOPLE: &str =
    "failed to plan: only rustcbuildx starts a planner (hint: `cargo green build` plans)";

/// Ends this process when cargo has ended, or has become the program that it runs. What the engine
/// is at ends with this process.
fn end_with(cargo: Process) {
    thread::spawn(move || {
        while cargo.is_cargo_still() {
            thread::sleep(INTERVAL);
        }
        std::process::exit(1);
    });
}

/// A finished dry run.
struct Recorded<'a> {
    session: Session<'a>,
    recorder: Recorder,
    asked: Option<AskedRemotes>,
    inventory: HashMap<Key, String>,
    /// Where that is.
    _folder: TempDir,
}

impl Planner<'_> {
    /// Plans once a unit asks for it at the barrier, which is this process's standard input. What
    /// may be alone after an edit waits for nothing until it is known what there is to plan. That
    /// is found out beside the second such unit, of which some (`edited`) went on already.
    pub fn serve(&self, mut edited: usize) -> Result<()> {
        let barrier: Barrier = std::io::stdin().as_fd().try_clone_to_owned()?.into();
        thread::scope(|scope| {
            let mut dry_run = None;
            let first = barrier.asked(|unit| {
                if !unit.may_be_alone {
                    return false;
                }
                edited += 1;
                if edited == 2 {
                    dry_run = Some(scope.spawn(|| self.run_dry()));
                }
                !dry_run.as_ref().is_some_and(ScopedJoinHandle::is_finished)
            })?;
            let recorded = match dry_run {
                Some(dry_run) => dry_run.join().unwrap_or_else(|panic| panic::resume_unwind(panic)),
                None => self.run_dry(),
            };
            let (sender, news) = mpsc::channel();
            let asked = sender.clone();
            barrier.hand_on(move |unit| drop(asked.send(News::Asked(unit))));
            // They wait until what is said here is there.
            let mut waiting = vec![first];
            let plan = |recorded| self.plan(recorded, &mut waiting, (sender, news));
            // The command is right without it.
            recorded.and_then(plan).unwrap_or_else(|error| {
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
        let asked = AskedRemotes::start(self.env, self.config);
        let has_remotes = asked.is_some();
        let (ran, inventory) = thread::scope(|scope| {
            // What remotes have, nobody needs to know of an engine, which takes a while to tell.
            let inventory = scope.spawn(|| match has_remotes {
                true => Ok(HashMap::new()),
                false => session.inventory(),
            });
            let ran = self.dry_run.run(&self.cargo, &recorder);
            (ran, inventory.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
        });
        if let Some(why) = ran? {
            log::warn!("{why:#}");
            notice::say_slow(self.env, "some units may not have been planned", &why);
        }
        // The first batch fails for the same reason, and says so.
        let inventory = inventory.inspect_err(|error| log::warn!("{error:#}")).unwrap_or_default();
        session.timings.add("dry run", Phase::DryRun, begun, SystemTime::now());
        Ok(Recorded { session, recorder, asked, inventory, _folder: folder })
    }

    /// Fills the store with what the command will ask for, whose units wait: there is one that
    /// asked for the plan.
    fn plan(
        &self,
        recorded: Recorded<'_>,
        waiting: &mut Vec<Waiting>,
        news: (Sender<News>, Receiver<News>),
    ) -> Result<()> {
        let Recorded { session, recorder, asked, inventory, _folder } = recorded;
        // This process ends with the command, whatever it is at then.
        remotes::push_after(self.env, self.config, self.process)
            .unwrap_or_else(|error| log::warn!("{error:#}"));
        let jobs = self.jobs(&recorder);
        let PlanRequest { target, output, may_be_alone, .. } = &waiting[0].request;
        if deferred::is_build_folder(target, self.env) {
            // As with the rest of the cache, the build is right without it.
            deferred::sweep(&session.cache, target).unwrap_or_else(|error| log::warn!("{error:#}"));
        }
        let mut together = Together::new(&session, &recorder, target.clone(), jobs, inventory)?;
        let asked = asked.and_then(|asked| asked.bring_records(self.env, &mut together));
        let missing = together.resolve();
        let is_of_use = together.is_of_use(output);
        // After the next edit, nobody is to wait for what is of no use.
        let reach = if is_of_use { together.reach() } else { [(output.clone(), 0)].into() };
        // Every build is right without it.
        reach::note(&session.cache, target, reach).unwrap_or_else(|error| log::warn!("{error:#}"));
        if !is_of_use {
            log::info!("not planned: cargo takes for fresh what a plan would make anew");
            return Ok(());
        }
        if *may_be_alone && missing.len() < MANY {
            log::info!("not planned: only {} are missing after an edit", missing.len());
            return Ok(());
        }
        let mut progress = Progress::new(self.is_quiet);
        progress.expect(missing);
        let asked = asked.map(|asked| {
            let sender = news.0.clone();
            asked.hand_on(move |answer| sender.send(News::Remotes(answer)).is_ok())
        });
        let planned =
            self.build_all(&session, &mut together, &mut progress, (waiting, asked), news);
        progress.finish();
        planned
    }

    fn jobs(&self, recorder: &Recorder) -> Jobs {
        let told = || recorder.jobs().map(|number| Jobs::from_num_jobs(&number));
        Jobs::asked(cargos_own(self.words), self.env).or_else(told).unwrap_or(Jobs::All)
    }
}

/// What happens while a plan is carried out.
enum News {
    /// `None` if remotes answer no more.
    Remotes(Option<Answer>),
    Asked(Waiting),
    Event(Event),
    /// A call, by its name, has brought an outcome of this key.
    Stored(String, Key),
    Ended(Ended),
}

impl Planner<'_> {
    /// Builds all units that are missing, batch after batch, and fetches what remotes have. A unit
    /// waits until its outcome is there, or nothing will bring it.
    fn build_all(
        &self,
        session: &Session<'_>,
        together: &mut Together<'_>,
        progress: &mut Progress,
        (waiting, mut asked): (&mut Vec<Waiting>, Option<Remotes>),
        (sender, news): (Sender<News>, Receiver<News>),
    ) -> Result<()> {
        let mut goes_on = true;
        thread::scope(|scope| {
            loop {
                let keys = together.to_fetch();
                if !keys.is_empty()
                    && asked.as_mut().is_none_or(|it| it.ask(&Request::Fetch { keys }).is_err())
                {
                    together.end_fetching();
                }
                while goes_on && let Some(batch) = together.next_batch() {
                    let (sender, stored) = (sender.clone(), sender.clone());
                    scope.spawn(move || {
                        // Whoever no longer listens has failed.
                        let ended = batch.run(
                            session,
                            |event| drop(sender.send(News::Event(event))),
                            |call, key| drop(stored.send(News::Stored(call.to_owned(), key))),
                        );
                        drop(sender.send(News::Ended(ended)));
                    });
                }
                waiting.retain(|unit| together.is_awaited(&unit.request.output));
                if !together.is_at_work() {
                    return Ok(());
                }
                match news.recv()? {
                    News::Asked(unit) => waiting.push(unit),
                    News::Remotes(Some(Answer::Fetched { key, is_stored })) => {
                        if is_stored {
                            progress.add(Event::Ended { key: key.clone(), is_stored });
                        }
                        together.add_fetched(key, is_stored)?;
                    }
                    News::Remotes(Some(answer)) => remotes::say_of_remote(self.env, &answer),
                    News::Remotes(None) => together.end_fetching(),
                    News::Event(event) => {
                        together.add(&event)?;
                        progress.add(event);
                    }
                    News::Stored(call, key) => together.add_stored(&call, key)?,
                    News::Ended(ended) => goes_on &= together.end(ended)?,
                }
                progress.expect(together.resolve());
            }
        })
    }
}
