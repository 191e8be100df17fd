//! Builds one unit: resolves its inputs, asks the store, runs it in the engine, and keeps the
//! outcome. An outcome that shows an undeclared input makes it run again.

mod attempts;
mod call;
mod deferred;
pub mod embedded_paths;
mod given;
mod lookup;
mod memory;
pub mod missing_tools;
mod outcome;
mod perform;
pub mod remotes;
mod run;
pub mod together;
mod untold;
mod withheld;
mod writes;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Error, Result, anyhow};
use camino::Utf8PathBuf;

use crate::{
    build::outcome::{dep_info_of, with_host_paths},
    config::{
        env::Env,
        files::registries::Registries,
        jobs::Jobs,
        secrets::{has_password, is_secret},
        settings::{Config, SetEnv},
    },
    engine::{
        Engine,
        cache::EngineCache,
        images::{self, Local},
        installed::Installed,
    },
    inputs::{
        self, Finder, Inputs, canonical_program,
        discovered::Discovered,
        observed::{Observed, is_named_input},
        sources::{Homes, Reader},
    },
    planning::{barrier::PlanRequest, reach},
    report::{
        notice,
        timings::{Phase, Timings},
    },
    rustc::toolchain::Version,
    step::{
        dockerfile::Style,
        image::{self, Image},
        key,
        spec::Step,
        task::{self, IncrementalState},
    },
    store::{
        archive::{Outcome, Received},
        local::{LocalStore, Store},
        provenance::ProvenanceRecords,
        retention,
        staging::Unpacked,
        statistics::{self, Came},
    },
    target::install,
    unit::{
        baked_paths::Baked,
        path_map::{PathMap, all_sentinels},
        target_dir,
        variables::{NUM_JOBS, may_be_given},
        work::Unit,
    },
    util::{digest::digest, state_dir::Cache},
};

/// How often a unit is built again with the inputs that it was seen to miss.
const ROUNDS: usize = 6;
/// From this round on, the whole folder of a missing file is added, because one module leads to the
/// next.
const WIDER: usize = 3;

/// What all units of one process share.
pub struct Session<'a> {
    env: &'a Env,
    config: &'a Config,
    pub cache: Cache,
    pub homes: Homes,
    engine: Box<dyn Engine>,
    engine_cache: EngineCache,
    image: Image,
    /// See [`Session::command`].
    command: OnceLock<String>,
    /// Where the packages of the workspace come from.
    registries: OnceLock<Registries>,
    pub timings: Timings,
}

/// A unit with its path map and its discovered inputs.
#[derive(Clone)]
struct Prepared {
    unit: Unit,
    discovered: Discovered,
}

/// A unit's outcome. Its files are still to be installed.
pub struct Built {
    pub outcome: Outcome,
    pub files: Unpacked,
    /// How it was made.
    pub step: Step,
    /// Whether its process has run just now.
    is_new: bool,
    /// The sentinels that its files embed: of paths that only its container had.
    embedded: BTreeSet<String>,
    /// A message of ours: why it failed in the container although it might work locally.
    pub complaint: Option<String>,
}

impl Built {
    /// Its files embed no path that only its container had.
    fn of(Received { outcome, files }: Received, step: Step) -> Self {
        let (is_new, embedded, complaint) = Default::default();
        Self { outcome, files, step, is_new, embedded, complaint }
    }
}

impl Built {
    /// Hands it to cargo as the unit's own process would have; returns the status to end with.
    pub fn install(self, unit: &Unit, records: ProvenanceRecords<'_>) -> Result<ExitCode> {
        install::install(
            &self.outcome,
            self.files,
            &self.step,
            self.complaint.as_deref(),
            unit,
            records,
        )
    }
}

impl<'a> Session<'a> {
    /// Finds the engine and the image for units of the compiler `rustc`.
    pub fn open(env: &'a Env, config: &'a Config, rustc: &str) -> Result<Self> {
        let cache = Cache::open(env.cache_dir()?)?;
        let engine = Installed::choose(config, env, &cache)?;
        let local = Version::of(rustc, env, &cache)?;
        let image = images::resolve(config, &engine, &Local { rustc, version: &local }, &cache)?;
        // The build is right without it.
        cache.sweep().unwrap_or_else(|error| log::warn!("{error:#}"));
        let engine_cache = EngineCache::of(&engine, &cache);
        let timings = Timings::to(config.timings.as_deref());
        if engine.connects_often() {
            let why = anyhow!(
                "no ssh connection could be kept (hint: may ssh forward a socket to docker's \
                 there?)"
            );
            notice::say_slow(env, CONNECTS_OFTEN, &why);
        }
        Ok(Self {
            env,
            config,
            cache,
            homes: Homes::of(env)?,
            engine: Box::new(engine),
            engine_cache,
            image,
            command: OnceLock::new(),
            registries: OnceLock::new(),
            timings,
        })
    }

    /// Builds a unit. Fails only if the engine does; how the unit's own process ended is part of
    /// the outcome.
    pub fn build(&self, unit: Unit) -> Result<Built> {
        let begun = SystemTime::now();
        let mut prepared = self.prepare(unit)?;
        let mut built = self.build_alone(&mut prepared)?;
        let known = prepared.discovered.clone();
        let mut first = None;
        // A few rounds: what the first finds may lead to code that reads more.
        for round in 1..=ROUNDS {
            let dep_info = dep_info_of(&built.files)?;
            let Built { outcome, step, embedded, .. } = &built;
            let more = self.read_beyond(&prepared, step, outcome, &dep_info, embedded);
            let Some(more) = more else { break };
            if built.is_new && more == (Discovered { runs_always: true, ..Discovered::default() }) {
                // It was run for this command.
                prepared.discovered.extend(more);
                break;
            }
            prepared.discovered.extend(match round < WIDER {
                true => more,
                false => more.wider(&prepared.unit, &self.homes),
            });
            self.add_discovered(&mut prepared)?;
            let again = self.build_alone(&mut prepared)?;
            let last = std::mem::replace(&mut built, again);
            first = first.or(Some(last).filter(|last| last.outcome.status != 0));
        }
        if let Some(first) = first
            .filter(|first| !attempts::is_as_good(&built.outcome, &first.outcome, &prepared.unit))
        {
            built = first;
        }
        self.note_baked(&mut prepared, &mut built)?;
        let observed = Observed::of(&prepared.unit, &built.outcome);
        self.tell_of_withheld(&prepared.unit, &observed, &mut built)?;
        if built.outcome.status == 0 {
            self.tell_of_lacking(&prepared.unit, &observed, &built);
        }
        // A failure may have looked for what no unit needs.
        if built.outcome.status == 0 && prepared.discovered != known {
            self.remember(&prepared, &prepared.discovered)?;
        }
        let Prepared { unit, .. } = prepared;
        self.withhold_writes(&unit, &mut built.outcome);
        if built.outcome.status != 0 {
            built.complaint =
                missing_tools::complaint(&unit, &built.outcome, &observed, &self.image.name)
                    .or_else(|| self.why_refused(&unit, observed.refused.iter()));
        }
        log::info!(
            "{} ended with {} after {} ms",
            unit.name(),
            built.outcome.status,
            millis_since(begun)
        );
        Ok(built)
    }

    /// Decides a unit's path map and adds what was discovered of it before.
    fn prepare(&self, mut unit: Unit) -> Result<Prepared> {
        unit.is_observed = self.config.observe;
        unit.has_published_paths = self.config.published_paths;
        unit.path_map = PathMap::of(&unit, self.config.canonical_paths, &self.homes.cargo);
        let mut prepared = Prepared { unit, discovered: Discovered::default() };
        self.recall(&mut prepared)?;
        Ok(prepared)
    }

    /// Adds the inputs that were discovered by now.
    fn recall(&self, prepared: &mut Prepared) -> Result<()> {
        prepared.discovered = self.remembered(&prepared.unit);
        self.add_discovered(prepared)
    }

    /// Discovers what a unit looked for and was not given, and adds the sentinels that its output
    /// embeds (`embedded`). `None` if there is nothing new.
    fn read_beyond(
        &self,
        Prepared { unit, discovered, .. }: &Prepared,
        step: &Step,
        outcome: &Outcome,
        dep_info: &str,
        embedded: &BTreeSet<String>,
    ) -> Option<Discovered> {
        let mut own_sentinels = embedded.clone();
        if !outcome.written.is_empty() && unit.path_map.are_common() {
            // What it wrote for others to read may name any path.
            own_sentinels.extend(all_sentinels());
        }
        let observed = Observed::of(unit, outcome);
        let mut opened = self.folders_to_open(unit, step, &observed);
        opened.retain(|folder| !unit.opened.contains(folder));
        let mut more = Discovered {
            own_sentinels,
            opened,
            ..Discovered::from(unit, outcome, &observed, dep_info, self.env, &self.homes)
        };
        more.runs_always &= !discovered.runs_always;
        more.paths.retain(|path| !is_named_input(unit, &step.task.inputs, path));
        if more.is_empty() {
            return None;
        }
        log::info!("{} reads more than cargo declares: again with {more:?}", unit.name());
        Some(more)
    }

    /// How many processes the engine can run at once.
    pub fn processors(&self) -> usize {
        self.engine.processors()
    }

    /// What the store has of a unit with this key.
    fn stored(&self, unit: &Unit, key: &str) -> Result<Option<Received>> {
        let begun = SystemTime::now();
        let whole = self.store().get(key, unit.out_dir());
        let Some(received) =
            whole.map_or_else(|| self.deferred(unit, key), |whole| Ok(Some(whole)))?
        else {
            return Ok(None);
        };
        statistics::note(&self.cache, Came::Stored, key);
        let received = with_host_paths(unit, received)?;
        log::info!("{} was taken from the store in {} ms", unit.name(), millis_since(begun));
        self.timings.add(&unit.name(), Phase::Restore, begun, SystemTime::now());
        Ok(Some(received))
    }

    /// Tells the user once in a build of a failure that makes it slower. The log gets it each time.
    fn slow(&self, kind: &str, why: &Error) {
        log::warn!("{why:#}");
        notice::say_slow(self.env, kind, why);
    }

    /// The provenance records of the target folder that a unit writes to.
    pub fn records(&self, unit: &Unit) -> ProvenanceRecords<'_> {
        ProvenanceRecords::new(&self.cache, target_folder(unit))
    }

    fn finder(&self, unit: &Unit) -> Finder<'_> {
        Finder { cache: &self.cache, records: self.records(unit), reader: self.reader() }
    }

    /// Reads sources for the engine.
    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.cache, self.homes.clone())
    }

    /// The variables for the engine's command: how many processes a build script may run at once,
    /// and how to reach the engine.
    fn variables(&self, jobs: Jobs) -> Vec<(String, String)> {
        let jobs = jobs.number(self.processors()).to_string();
        [(NUM_JOBS.to_owned(), jobs)].into_iter().chain(self.route()).collect()
    }

    /// The variable by which a command reaches the engine, if it needs one.
    fn route(&self) -> Option<(String, String)> {
        let route = self.engine.route(&self.cache);
        route.inspect_err(|error| self.slow(CONNECTS_OFTEN, error)).ok().flatten()
    }

    /// How Dockerfiles are written.
    fn style(&self) -> Style<'_> {
        Style { syntax: self.config.syntax.as_deref() }
    }

    /// Keeps the cache folder within its limit.
    fn sweep(&self) {
        // The build is right without it.
        retention::sweep(&self.cache, self.config.store_size)
            .unwrap_or_else(|error| log::warn!("{error:#}"));
    }

    fn store(&self) -> LocalStore<'_> {
        LocalStore::new(&self.cache, self.config.store_size)
    }

    /// The step that makes a unit of these inputs, and of the incremental state of its last
    /// compile.
    fn step(&self, unit: &Unit, inputs: &Inputs, state: Option<IncrementalState>) -> Step {
        let state = state.or_else(|| IncrementalState::empty(unit));
        let task = task::task(unit, &self.image, umask(), &inputs.inputs, state);
        let base = self.image.pinned.clone();
        let key = key::of(&base, &canonical_program::as_made(&task));
        let crates = if unit.is_proc_macro() { vec![] } else { inputs.crates.clone() };
        let (contexts, macros) = (inputs.contexts.clone(), inputs.macros.clone());
        let baked = Baked::of_macro(if unit.is_proc_macro() {
            inputs.baked.clone()
        } else {
            BTreeSet::new()
        });
        let step =
            Step { key: String::new(), base, task, contexts, crates, macros, common: None, baked };
        step.called(key)
    }

    /// A folder in the engine for rustc's incremental state, where cargo asks for it and the engine
    /// may store it. What is made with it depends on earlier compiles, so it is stored for the rest
    /// of a command at most.
    fn incremental_state(&self, unit: &Unit) -> Option<IncrementalState> {
        let state = IncrementalState::empty(unit).filter(|_| self.config.incremental)?;
        let path = unit.path_map.real_path(&unit.cwd.join(&state.folder));
        // A library and its tests have the same name, and may be compiled at the same time.
        let mut own = vec![path.into_string(), unit.name()];
        own.extend(unit.output_files());
        let own = own.iter().map(String::as_str);
        Some(IncrementalState { name: format!("i{}", digest(own)), ..state })
    }

    /// Gives the unit the variables of the settings, and its discovered inputs.
    fn add_discovered(&self, Prepared { unit, discovered, .. }: &mut Prepared) -> Result<()> {
        for name in discovered.variables.iter().filter(|name| may_be_given(name, &unit.work)) {
            let value = self.env.get(name).filter(|value| !has_password(value));
            unit.env.extend(value.map(|value| (name.clone(), value.to_owned())));
        }
        let package = unit.package_name().to_owned();
        let is_meant =
            |asked: &&SetEnv| asked.package.as_ref().is_none_or(|meant| *meant == package);
        for SetEnv { name, .. } in self.config.set_envs.iter().filter(is_meant) {
            let Some(value) = self.env.get(name) else { continue };
            if is_secret(name) || has_password(value) {
                unit.env.remove(name);
                unit.hidden.insert(name.clone(), Some(self.cache.keyed_digest(value)?));
            } else {
                unit.env.insert(name.clone(), value.to_owned());
            }
        }
        unit.opened = discovered.opened.iter().cloned().collect();
        unit.keeps_writes = inputs::writes::is_of_member(unit, &self.homes)
            && (unit.is_build_script() || !unit.opened.is_empty());
        unit.paths = discovered.paths.iter().filter(|path| path.exists()).cloned().collect();
        Ok(())
    }
}

/// What makes a build slower, for [`notice::say_slow`].
const CONNECTS_OFTEN: &str = "the engine's command opens many ssh connections";
const FALLBACK: &str = "some units were built by themselves";
const NOT_STORED: &str = "outcomes were not stored";

/// The target folder that a unit writes to. An empty path if cargo wrote none of its notes there.
fn target_folder(unit: &Unit) -> Utf8PathBuf {
    target_dir::target_folder(unit).unwrap_or_default()
}

/// What to ask the planner for a unit that the store lacks. Cargo compiled everything below a
/// program before, so a program may well be the only unit that is missing; but the engine may lack
/// artifacts that were deferred. What another program than cargo asks for has no target folder, and
/// no plan contains it.
fn plan_request(unit: &Unit, is_incremental: bool, env: &Env, cache: &Cache) -> PlanRequest {
    let target = target_folder(unit);
    let is_worth_a_plan = !target.as_str().is_empty()
        && (unit.serves_units()
            || unit.is_test()
            || crate::target::deferred::may_be_in(&target, env));
    let output = unit.output_paths().into_iter().next().unwrap_or_default();
    let may_be_alone = is_incremental && !reach::is_far(cache, &target, &output);
    PlanRequest { target, output, is_worth_a_plan, may_be_alone }
}

/// Whether a step's image is the same for good; otherwise, that may change under its name.
fn is_of_one_image(step: &Step) -> bool {
    image::is_for_good(&step.base)
}

/// Whether a step contains all that its outcome depends on: it is of one image, and does not go on
/// from the incremental state of an earlier compile.
fn is_storable(step: &Step) -> bool {
    is_of_one_image(step) && step.task.state.as_ref().is_none_or(|(name, _)| name.is_empty())
}

fn millis_since(time: SystemTime) -> u128 {
    time.elapsed().unwrap_or_default().as_millis()
}

/// A number that no other build has.
pub fn build_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", now.as_nanos(), std::process::id())
}

/// The mode bits that this process removes from new files.
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}
