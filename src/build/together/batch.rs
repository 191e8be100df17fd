//! A call of several units: what comes of it is looked at, and stored, while it comes.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, PipeReader, Seek},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::{
    build::{
        Prepared, Session, embedded_paths, millis_since,
        outcome::{is_success, restore_output},
    },
    engine::client::Event,
    inputs::{baked, canonical_program, discovered::Discovered},
    report::timings::Phase,
    step::{dockerfile::Mount, key::Key, layout::CRATES, spec::Step},
    store::{
        archive::{self, Archive},
        local::Store,
    },
    target::left,
    unit::work::Unit,
    util::process::{self, Cmd},
};

/// What is known of a unit as soon as its key is.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) prepared: Prepared,
    pub(super) step: Step,
}

/// Units to be built in one call of the engine, and that call.
pub struct Batch {
    pub(super) units: HashMap<Key, Known>,
    /// What it takes from what the engine kept.
    pub(super) kept: Vec<Mount>,
    pub(super) begun: Instant,
    /// Whether none of them is made: they are taken from what the engine keeps.
    pub(super) is_taken: bool,
    pub(super) cmd: Cmd,
}

/// How a unit of a batch ended.
#[derive(Debug, PartialEq)]
pub enum End {
    Stored,
    /// It reads more than it was given: it is to be made again.
    ReadsMore(Discovered),
    /// Stored, and more is known of it that what is made from it is to know.
    Bakes(Discovered),
    Failed,
}

/// A batch that was built: how its units ended, or why the call failed.
pub struct Ended {
    pub(super) batch: Batch,
    pub(super) ends: Result<Vec<(Key, End)>>,
}

impl Batch {
    /// Builds it and stores what ended well.
    pub fn run(self, session: &Session<'_>, on_event: impl FnMut(Event)) -> Ended {
        let ends = session.run(&self, on_event);
        Ended { batch: self, ends }
    }
}

impl Session<'_> {
    fn run(&self, batch: &Batch, mut on_event: impl FnMut(Event)) -> Result<Vec<(Key, End)>> {
        let Batch { units, is_taken, cmd, .. } = batch;
        let mut steps = self
            .timings
            .steps(units.iter().map(|(key, known)| (key.clone(), known.prepared.unit.name())));
        log::debug!("{} units together\n{cmd}", units.len());
        let (begun, mut watch) = (SystemTime::now(), self.engine.watch());
        let mut missed = Vec::new();
        let mut on_event = |event: Event| {
            if let Event::Done { stage, cached: false } = &event
                && units.get(stage).is_some_and(|known| known.step.fills_engine_cache())
            {
                self.kept.note_made(stage);
            }
            steps.add(&event);
            on_event(event);
        };
        let mut ends = Vec::new();
        let take = |mut archive: PipeReader| {
            let taken = archive::split(&mut archive, |key, archive| {
                let Some(known) = units.get(key) else { return Ok(()) };
                let came = SystemTime::now();
                ends.push((key.to_owned(), self.end_of(key, known, archive)?));
                self.timings.add(
                    &known.prepared.unit.name(),
                    Phase::Transfer,
                    came,
                    SystemTime::now(),
                );
                Ok(())
            });
            // The engine's client would complain of what is no longer read.
            let _ = io::copy(&mut archive, &mut io::sink());
            taken
        };
        let watch = |line: &str| {
            for event in watch(line) {
                match event {
                    Event::Missed { text } => missed.push(text),
                    event => on_event(event),
                }
            }
        };
        let finished = process::run_watched(cmd, watch, take)?;
        log::info!("the engine took {} ms for {} units", millis_since(begun), units.len());
        log::debug!("engine done\n{}", finished.stderr);
        let checked = self.engine.check(&finished, &format!("build {} units", units.len()));
        checked.map_err(|error| {
            if missed.is_empty() { error } else { error.context(missed.join("\n")) }
        })?;
        finished.stdout?;
        self.sweep();
        if *is_taken {
            ends.iter()
                .for_each(|(key, _)| on_event(Event::Done { stage: key.clone(), cached: true }));
        }
        Ok(ends)
    }

    /// How a unit ended whose outcome has come; a success is stored.
    fn end_of(
        &self,
        key: &str,
        Known { prepared, step }: &Known,
        mut archive: File,
    ) -> Result<End> {
        let unit = &prepared.unit;
        let (mut outcome, dep_info) = Archive::new(&mut archive).outcome_and_dep_info()?;
        if outcome.status == 0 && step.fills_engine_cache() {
            self.kept.add(key)?;
        }
        restore_output(unit, &mut outcome);
        let has_succeeded = is_success(unit.is_build_script(), &outcome);
        if outcome.names(CRATES) {
            // By itself, it is given all in its place.
            return Ok(End::Failed);
        }
        let embedded =
            if has_succeeded { self.embedded(&mut archive, unit, key)? } else { BTreeSet::new() };
        if let Some(more) = self.read_beyond(unit, &outcome, &dep_info, &embedded) {
            return Ok(End::ReadsMore(more));
        }
        if has_succeeded {
            let name = if outcome.is_left { left::stored_as(key) } else { key.to_owned() };
            self.store().put(&name, &mut archive)?;
            let baked = baked::variables(unit, &dep_info, &self.homes.cargo);
            let is_known = unit.is_build_script() || baked.is_subset(&prepared.discovered.baked);
            return Ok(if is_known {
                End::Stored
            } else {
                End::Bakes(Discovered { baked, ..Discovered::default() })
            });
        }
        let said = String::from_utf8_lossy(&outcome.stderr);
        log::info!("{} ended with {} in a plan: {said}", unit.name(), outcome.status);
        Ok(End::Failed)
    }

    /// The sentinels of paths that only the container of the step `key` had, and files name.
    fn embedded(&self, archive: &mut File, unit: &Unit, key: &str) -> Result<BTreeSet<String>> {
        let sentinels = unit.path_map.sentinels();
        archive.rewind()?;
        if !embedded_paths::is_possible(&mut *archive, &sentinels)? {
            return Ok(BTreeSet::new());
        }
        archive.rewind()?;
        let dir = self.cache.temp_dir()?;
        let dir =
            Utf8Path::from_path(dir.path()).context("the cache folder's name is not UTF-8")?;
        let received = Archive::new(archive).receive(&dir.join("outcome"))?;
        let embedded = embedded_paths::find(&received.files.root, &sentinels)?;
        if !embedded.is_empty() && unit.makes_build_script() {
            canonical_program::save(&self.cache, key, unit, &received.files.root)?;
        }
        Ok(embedded)
    }
}
