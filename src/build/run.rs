//! Runs one unit in a call of the engine of its own.

use std::time::SystemTime;

use anyhow::{Context, Result};

use super::{Built, NOT_STORED, Prepared, Session, is_storable, lookup::Found, plan_request};
use crate::{
    build::{
        call::Call,
        embedded_paths,
        outcome::{is_success, possibly_embedded, with_host_paths},
    },
    config::env::BARRIER,
    inputs::{Finder, canonical_program, discovered::Discovered},
    planning::{
        background,
        barrier::{self, Answer},
    },
    report::timings::Phase,
    step::key::Key,
    store::{
        archive::{Archive, Received},
        local::{LocalStore, Store},
    },
    unit::work::Unit,
};

impl Session<'_> {
    /// Looks the unit up in the store, and has the engine build it if it is not there.
    pub(super) fn build_alone(&self, prepared: &mut Prepared) -> Result<Built> {
        let begun = SystemTime::now();
        let mut finder = self.finder(&prepared.unit);
        let missing = match self.look_up(&mut finder, prepared)? {
            Look::Hit(built) => return Ok(*built),
            Look::Miss(missing) => missing,
        };
        let (plan, answer) = self.pass_barrier(&missing).unzip();
        if answer == Some(Answer::Planned) {
            // The plan may have discovered what the unit reads.
            self.recall(prepared)?;
            finder = self.finder(&prepared.unit);
            // What the plan did not make, this does: to ask once more would get the same answer.
            if let Look::Hit(built) = self.look_up(&mut finder, prepared)? {
                return Ok(*built);
            }
        }
        // What is sent is copied first, and may have become something else.
        finder.reader.copies = true;
        let missing = match self.look_up(&mut finder, prepared)? {
            Look::Hit(built) => return Ok(*built),
            Look::Miss(missing) => missing,
        };
        let Missing { found: Found { unit, step, .. }, .. } = &*missing;
        if let Some(plan) = plan
            && let Some(failure) = self.failure(&plan, unit, &step.key)?
        {
            return Ok(Built::of(failure, step.clone()));
        }
        self.timings.add(&unit.name(), Phase::Inputs, begun, SystemTime::now());
        let built = self.build_missing(*missing, &prepared.discovered)?;
        self.sweep();
        if built.outcome.status == 0 {
            self.engine_cache.add(&built.step.key)?;
        }
        Ok(built)
    }

    /// How a unit failed in a plan for its cargo, which is told once.
    fn failure(&self, plan: &str, unit: &Unit, key: &str) -> Result<Option<Received>> {
        let failures = LocalStore::of_failures(&self.cache, plan);
        let failure = failures.get(key, unit.out_dir());
        failures.remove(key);
        failure.map(|failure| with_host_paths(unit, failure)).transpose()
    }

    /// Waits until a plan is carried out. Returns the planner's name and answer, if there may be
    /// one.
    fn pass_barrier(&self, missing: &Missing) -> Option<(String, Answer)> {
        let unit = &missing.found.unit;
        let request = || plan_request(unit, missing.is_incremental, self.env, &self.cache);
        match self.env.get(BARRIER) {
            Some(name) => Some((name.to_owned(), barrier::pass(name, &request()))),
            // Where no outcome is kept, a plan is of no use.
            None if self.config.store_size == 0 => None,
            None => background::pass(self.env, &self.cache, &request()),
        }
    }

    /// Has the engine build a unit, and stores its outcome if that is a success.
    fn build_missing(&self, missing: Missing, discovered: &Discovered) -> Result<Built> {
        let Missing { found: Found { unit, step, .. }, key, .. } = missing;
        let (called, records) = (SystemTime::now(), self.records(&unit));
        let mut came = None;
        self.perform(
            Call::of(step.clone()),
            &|key| records.step(key).ok(),
            |_| (),
            |made, mut archive| {
                if made == step.key {
                    let received = Archive::new(&mut archive).receive(unit.out_dir())?;
                    came = Some((received, archive));
                }
                Ok(())
            },
        )?;
        let (received, mut archive) =
            came.with_context(|| format!("the engine made nothing of {}", unit.name()))?;
        self.timings.add_made(&step, &unit.name(), called, SystemTime::now());
        let embedded = embedded_paths::find(
            &received.files.root,
            &possibly_embedded(&unit, &received.outcome),
        )?;
        if is_success(unit.is_build_script(), &received.outcome) {
            self.note_trace(&step, received.outcome.observed.as_deref());
        }
        let as_made = received.outcome.clone();
        let received = with_host_paths(&unit, received)?;
        log::info!("{} was made by {}", unit.name(), self.engine.name());
        if !embedded.is_empty() && unit.makes_build_script() && received.outcome.status == 0 {
            canonical_program::save(&self.cache, &key, &unit, &received.files.root)?;
            self.note_about_program(&unit, discovered, &step.clone().called(key.clone()), &as_made);
        }
        if is_success(unit.is_build_script(), &received.outcome)
            && is_storable(&step)
            && embedded.is_empty()
        {
            // The build is right without it.
            let stored = self.store().put(&step.key, &mut archive);
            stored.unwrap_or_else(|error| self.slow(NOT_STORED, &error));
            self.note_about(&unit, discovered, &step, &as_made);
        }
        let is_new = received.outcome.was_made_since(called);
        Ok(Built { embedded, is_new, ..Built::of(received, step) })
    }

    /// Resolves a unit and looks it up in the store.
    fn look_up(&self, finder: &mut Finder<'_>, prepared: &Prepared) -> Result<Look> {
        let mut found = self.find(finder, prepared)?;
        let key = found.step.key.clone();
        if let Some(received) = self.stored(&found.unit, &key)? {
            return Ok(Look::Hit(Box::new(Built::of(received, found.step))));
        }
        let is_incremental = found.go_on(self);
        if is_incremental && let Some(received) = self.stored(&found.unit, &found.step.key)? {
            // By a plan, for this command.
            self.store().remove(&found.step.key);
            return Ok(Look::Hit(Box::new(Built::of(received, found.step))));
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
