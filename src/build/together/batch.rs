//! A call of several units: what comes of it is looked at, and stored, while it comes.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::Seek,
    time::SystemTime,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    build::{
        Prepared, Session,
        call::Call,
        embedded_paths,
        outcome::{is_success, possibly_embedded, restore_output},
    },
    config::env::NOTICES,
    engine::client::Event,
    inputs::{baked, canonical_program, discovered::Discovered},
    report::timings::{Args, Phase},
    rustc::dep_info,
    step::{key::Key, spec::Step},
    store::{
        archive::{Archive, Outcome},
        local::{LocalStore, Store},
        provenance::ProvenanceRecords,
    },
    target::deferred,
    unit::work::Unit,
};

/// A unit whose key was found.
#[derive(Clone)]
pub(super) struct Resolved {
    pub(super) prepared: Prepared,
    pub(super) step: Step,
}

/// Units to be built in one call of the engine, and that call.
pub struct Batch {
    pub(super) units: HashMap<Key, Resolved>,
    pub(super) call: Call,
    /// The target folder of the real run.
    pub(super) target: Utf8PathBuf,
}

/// How a unit of a batch ended that is not simply stored.
#[derive(Debug, PartialEq)]
pub enum End {
    /// It reads more than it was given: it is to be made again.
    ReadsMore(Discovered),
    /// Stored, and more is known of it that what is made from it is to know.
    Bakes(Discovered),
    Failed,
}

/// A batch that was built.
pub struct Ended {
    pub(super) call: String,
    /// How units ended, or why the call failed.
    pub(super) ends: Result<Vec<(Key, End)>>,
}

impl Batch {
    /// Builds it and stores what ended well. `on_stored` gets the call's name and the keys of that.
    pub fn run(
        self,
        session: &Session<'_>,
        on_event: impl FnMut(Event),
        on_stored: impl Fn(&str, Key) + Sync,
    ) -> Ended {
        let call = self.call.id.clone();
        let ends = session.run(self, on_event, |key| on_stored(&call, key));
        Ended { call, ends }
    }
}

impl Session<'_> {
    fn run(
        &self,
        batch: Batch,
        mut on_event: impl FnMut(Event),
        on_stored: impl Fn(Key) + Sync,
    ) -> Result<Vec<(Key, End)>> {
        let Batch { units, call, target } = batch;
        let named = units.values().map(|unit| (Args::of(&unit.step), unit.prepared.unit.name()));
        let mut tasks = self.timings.tasks(call.jobs.number(self.processors()), named);
        let records = ProvenanceRecords::new(&self.cache, target);
        let mut ends = Vec::new();
        let on_event = |event: Event| {
            tasks.add(&event);
            on_event(event);
        };
        self.perform(call, &|key| records.step(key).ok(), on_event, |key, archive| {
            let Some(resolved) = units.get(key) else { return Ok(()) };
            let came = SystemTime::now();
            match self.end_of(key, resolved, archive)? {
                None => on_stored(key.to_owned()),
                Some(end) => ends.push((key.to_owned(), end)),
            }
            let name = resolved.prepared.unit.name();
            self.timings.add(&name, Phase::Transfer, came, SystemTime::now());
            Ok(())
        })?;
        self.sweep();
        Ok(ends)
    }

    /// How a unit ended whose outcome has come; a success is stored, and mostly that is all.
    fn end_of(
        &self,
        key: &str,
        Resolved { prepared, step }: &Resolved,
        mut archive: File,
    ) -> Result<Option<End>> {
        let unit = &prepared.unit;
        let (mut outcome, dep_info) = Archive::new(&mut archive).outcome_and_dep_info()?;
        if outcome.status == 0 {
            self.engine_cache.add(key)?;
        }
        let as_made = outcome.clone();
        restore_output(unit, &mut outcome);
        let has_succeeded = is_success(unit.is_build_script(), &outcome);
        let embedded = if has_succeeded {
            self.embedded(&mut archive, &outcome, unit, key)?
        } else {
            BTreeSet::new()
        };
        if !embedded.is_empty() && unit.makes_build_script() {
            self.note_about_program(unit, &prepared.discovered, step, &as_made);
        }
        if let Some(more) = self.read_beyond(prepared, step, &outcome, &dep_info, &embedded) {
            return Ok(Some(End::ReadsMore(more)));
        }
        if has_succeeded {
            self.note_trace(step, as_made.observed.as_deref());
            let name = if outcome.is_deferred { deferred::stored_as(key) } else { key.to_owned() };
            self.store().put(&name, &mut archive)?;
            if !outcome.is_deferred {
                self.note_about(unit, &prepared.discovered, step, &as_made);
            }
            let baked = baked::variables(unit, &dep_info, &self.homes.cargo);
            let is_known = unit.is_build_script() || baked.is_subset(&prepared.discovered.baked);
            let bakes = || End::Bakes(Discovered { baked, ..Discovered::default() });
            return Ok((!is_known).then(bakes));
        }
        let said = String::from_utf8_lossy(&outcome.stderr);
        log::info!("{} ended with {} in a plan: {said}", unit.name(), outcome.status);
        if let Some(plan) = self.env.get(NOTICES).filter(|_| is_final(unit, &outcome)) {
            // Whoever waits for it reads that, instead of compiling it once more.
            LocalStore::of_failures(&self.cache, plan).put(key, &mut archive)?;
        }
        Ok(Some(End::Failed))
    }

    /// The sentinels of paths that only the container of the step `key` had, and files name.
    fn embedded(
        &self,
        archive: &mut File,
        outcome: &Outcome,
        unit: &Unit,
        key: &str,
    ) -> Result<BTreeSet<String>> {
        let sentinels = possibly_embedded(unit, outcome);
        if sentinels.is_empty() {
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

/// Whether a unit that failed in a plan would fail by itself, too. A build script may miss what
/// only a unit in a call of its own has, and a process that was killed had others beside it.
fn is_final(unit: &Unit, outcome: &Outcome) -> bool {
    const ERRORS: i32 = 1;
    let said = String::from_utf8_lossy(&outcome.stderr);
    !unit.is_build_script() && outcome.status == ERRORS && dep_info::are_about_code(&said)
}
