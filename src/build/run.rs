//! Runs one unit in a call of the engine, as often as it takes to get an answer that can be
//! trusted.

use std::time::SystemTime;

use anyhow::{Result, anyhow};

use super::{
    ANEW, Built, NOT_STORED, Prepared, Session, build_id, is_storable, lookup::Found, millis_since,
    plan_request,
};
use crate::{
    build::{
        embedded_paths, missing_tools,
        outcome::{is_success, with_host_paths},
    },
    engine::kept,
    inputs::{Finder, canonical_program},
    planning::barrier,
    report::timings::Phase,
    step::{key::Key, layout::CRATES, plan},
    store::{archive::Archive, local::Store},
    util::process,
};

impl Session<'_> {
    /// Builds, and builds again if the engine remembered a failure, which may not happen now.
    pub(super) fn build_trusted(&self, prepared: &mut Prepared) -> Result<Built> {
        let built = self.build_somehow(prepared, None)?;
        if is_success(prepared.unit.is_build_script(), &built.outcome) || built.is_fresh {
            return Ok(built);
        }
        log::info!("{} failed in an earlier build: again", prepared.unit.name());
        self.build_somehow(prepared, Some(&build_id()))
    }

    /// Builds, and retries if the engine's cache is in the way. BuildKit may evict a cache mount at
    /// any time. The first retries upload what was lost, then all of it, so that the step stays the
    /// same. If that does not help, the files are sent with the call.
    fn build_somehow(&self, prepared: &mut Prepared, cache_buster: Option<&str>) -> Result<Built> {
        let (mut given, mut failures) = (Given { lost: vec![], may_be_links: true }, 0);
        loop {
            match self.build_once(prepared, cache_buster, &given) {
                Ok(built) if given.may_be_links && built.outcome.names(CRATES) => {
                    log::info!(
                        "{} speaks of links: again with all in its place",
                        prepared.unit.name()
                    );
                    given.may_be_links = false;
                }
                Ok(built)
                    if !built.heavy.is_empty() && missing_tools::is_of_writing(&built.outcome) =>
                {
                    log::info!(
                        "{} writes into its package: again with all of it sent",
                        prepared.unit.name()
                    );
                    self.distrust(built.heavy, &mut given);
                }
                Ok(built)
                    if built.stages.is_empty() || !missing_tools::is_of_crates(&built.outcome) =>
                {
                    return Ok(built);
                }
                Ok(built) => {
                    let why = anyhow!("{} found crates that do not fit", prepared.unit.name());
                    self.slow(ANEW, &why);
                    self.distrust(built.stages, &mut given);
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::WithKept { error, stages, blamed }) => {
                    failures += 1;
                    // The engine loses one thing or another for a moment, which costs little.
                    if failures > 1 {
                        self.slow(ANEW, &error);
                    } else {
                        log::warn!("{error:#}: again without what was thought to be kept");
                    }
                    match failures {
                        1 => self.supply_anew(&blamed),
                        2 => self.supply_anew(&stages),
                        _ => self.distrust(stages, &mut given),
                    }
                }
            }
        }
    }

    /// Makes the next attempt send these files instead of mounting them from the engine's cache.
    fn distrust(&self, keys: Vec<Key>, given: &mut Given) {
        keys.iter().for_each(|key| self.kept.remove(key));
        given.lost.extend(keys);
    }

    /// Looks the unit up in the store, and calls the engine once if it is not there. A
    /// `cache_buster` makes its step one that no cache holds.
    fn build_once(
        &self,
        prepared: &mut Prepared,
        cache_buster: Option<&str>,
        given: &Given,
    ) -> Result<Built, Failure> {
        let begun = SystemTime::now();
        let mut finder = self.finder(&prepared.unit);
        let missing = match self.look_up(&mut finder, prepared, cache_buster)? {
            Look::Hit(built) => return Ok(*built),
            Look::Miss(missing) => missing,
        };
        if barrier::pass(self.env, || {
            plan_request(&missing.found.unit, missing.is_incremental, self.env)
        }) {
            // The plan may have discovered what the unit reads.
            self.recall(prepared)?;
            return self.build_once(prepared, cache_buster, given);
        }
        // What is sent is copied first, and may have become something else.
        finder.reader.copies = true;
        let missing = match self.look_up(&mut finder, prepared, cache_buster)? {
            Look::Hit(built) => return Ok(*built),
            Look::Miss(missing) => missing,
        };
        let Missing { found: Found { unit, inputs, step }, key, .. } = *missing;
        let unit = &unit;
        let is_trusted = |key: &&Key| !given.lost.contains(key);
        let stages = self.supplied(inputs.stages.iter().filter(is_trusted));
        let heavy = self.given(inputs.heavy().filter(|(name, _)| is_trusted(name)));
        if stages.len() < inputs.stages.len() {
            self.fetch_for(unit, |key| inputs.stages.contains(key) && !stages.contains(key))?;
        }
        let alone = finder.without_stages(&inputs, &stages)?;
        // All stages that it still names are kept.
        let is_kept = |key: &str| stages.iter().chain(&heavy).any(|kept| kept == key);
        let alone = self
            .step(unit, &alone, cache_buster)
            .called(step.key.clone())
            .with_engine_cache(is_kept, given.may_be_links);
        let plan = plan::unit(&alone, self.style());
        let build_id = build_id();
        let cmd = self.engine.build(&plan, self.variables(&build_id, None));
        log::debug!("{}: inputs found in {} ms\n{cmd}", unit.name(), millis_since(begun));

        let called = SystemTime::now();
        self.timings.add(&unit.name(), Phase::Inputs, begun, called);
        let mut finished = process::run(&cmd)?;
        log::debug!(
            "{}: engine done in {} ms\n{}",
            unit.name(),
            millis_since(called),
            finished.stderr
        );
        if let Err(error) = self.engine.check(&finished, &format!("build {}", unit.name())) {
            let stages = [stages, heavy].concat();
            return Err(match stages.is_empty() {
                true => Failure::Final(error),
                false => Failure::WithKept {
                    error,
                    stages,
                    blamed: kept::blamed(&alone.run.mounts, &finished.stderr),
                },
            });
        }
        let came = SystemTime::now();
        let received = Archive::new(&mut finished.stdout).receive(unit.out_dir())?;
        let embedded = embedded_paths::find(&received.files.root, &unit.path_map.sentinels())?;
        let received = with_host_paths(unit, received)?;
        log::debug!(
            "{}: {} received in {} ms",
            unit.name(),
            received.outcome.status,
            millis_since(came)
        );
        let is_fresh = received.outcome.build_id == build_id;
        let from = if is_fresh { "run now" } else { "taken from the engine's cache" };
        log::info!("{} was {from} by {}", unit.name(), self.engine.name());
        self.timings.add(
            &unit.name(),
            if is_fresh { Phase::Engine } else { Phase::Cached },
            called,
            came,
        );
        self.timings.add(&unit.name(), Phase::Transfer, came, SystemTime::now());
        if !embedded.is_empty() && unit.makes_build_script() && received.outcome.status == 0 {
            canonical_program::save(&self.cache, &key, unit, &received.files.root)?;
        }
        if is_success(unit.is_build_script(), &received.outcome)
            && is_storable(&step)
            && embedded.is_empty()
            && !received.outcome.names(CRATES)
        {
            // The build is right without it.
            let kept = self.store().put(&step.key, &mut finished.stdout);
            kept.unwrap_or_else(|error| self.slow(NOT_STORED, &error));
        }
        self.sweep();
        if received.outcome.status == 0 && step.fills_engine_cache() {
            self.kept.add(&step.key)?;
        }
        Ok(Built { is_fresh, embedded, stages, heavy, ..Built::from_store(received, step) })
    }

    /// Resolves a unit and looks it up in the store.
    fn look_up(
        &self,
        finder: &mut Finder<'_>,
        prepared: &Prepared,
        cache_buster: Option<&str>,
    ) -> Result<Look> {
        let mut found = self.find(finder, prepared, cache_buster)?;
        let key = found.step.key.clone();
        if let Some(received) = self.stored(&found.unit, &key)? {
            return Ok(Look::Hit(Box::new(Built::from_store(received, found.step))));
        }
        let is_incremental = found.go_on(self, cache_buster);
        if is_incremental && let Some(received) = self.stored(&found.unit, &found.step.key)? {
            // By a plan, for this command.
            self.store().remove(&found.step.key);
            return Ok(Look::Hit(Box::new(Built::from_store(received, found.step))));
        }
        Ok(Look::Miss(Box::new(Missing { found, key, is_incremental })))
    }
}

/// What the store has of a unit.
enum Look {
    Hit(Box<Built>),
    Miss(Box<Missing>),
}

/// A unit that is to be built.
struct Missing {
    found: Found,
    /// Its key without incremental state.
    key: Key,
    is_incremental: bool,
}

/// How an attempt gets its inputs.
struct Given {
    /// These are sent, and not mounted from the engine's cache.
    lost: Vec<Key>,
    may_be_links: bool,
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt would fail, too.
    Final(anyhow::Error),
    /// The engine failed, perhaps because its cache lacks some of the stages that were mounted from
    /// it.
    WithKept { error: anyhow::Error, stages: Vec<Key>, blamed: Vec<Key> },
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error)
    }
}
