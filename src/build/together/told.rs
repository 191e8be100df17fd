//! How the engine is told of steps: which of the stages below them it is to make, which it keeps,
//! and which it only was thought to keep.

use std::{collections::HashSet, time::Instant};

use anyhow::{Context, Result};

use super::{super::ANEW, Together, batch::Batch, calls::Loss};
use crate::{
    engine::kept,
    planning::schedule::State,
    step::{key::Key, spec::Step},
};

/// How many losses are taken one by one, before the engine is asked for all: each costs a call.
const FEW: usize = 4;

impl Together<'_> {
    /// A step as the engine is told of it.
    pub(super) fn told_step(&mut self, key: &str) -> Result<Step> {
        if !self.told.contains_key(key) {
            let number =
                self.schedule.find(key).with_context(|| format!("no unit has the key {key}"))?;
            let is_running =
                |key: &str| matches!(self.schedule.state_of(key), Some(State::InCall(_)));
            let kept = &self.session.kept;
            let is_there =
                |key: &str| if is_running(key) { kept.is_made(key) } else { kept.has(key) };
            let is_kept = |key: &str| is_there(key) && !self.is_distrusted(key);
            self.told.insert(
                key.to_owned(),
                self.known[&number].step.clone().with_engine_cache(is_kept, true),
            );
        }
        Ok(self.told[key].clone())
    }

    /// The stages that units are made from, stored before, which the engine does not keep.
    pub(super) fn lacking(&self, units: &[usize]) -> Vec<Key> {
        let stages: HashSet<&Key> =
            units.iter().flat_map(|number| &self.known[number].step.stages).collect();
        let is_stored = |key: &str| matches!(self.schedule.state_of(key), Some(State::Done(_)));
        let is_lacking =
            |key: &&Key| !self.session.kept.has(key) && !self.is_distrusted(key) && is_stored(key);
        stages.into_iter().filter(is_lacking).cloned().collect()
    }

    /// Whether a call failed for want of what the engine was thought to keep: it is taken note of.
    /// What is stored is given to the engine anew, the rest is made.
    pub(super) fn has_lost(&mut self, batch: &Batch, error: &anyhow::Error) -> bool {
        let (complaint, mut stages) = (format!("{error:#}"), kept::stages(&batch.kept));
        stages.sort();
        stages.dedup();
        if stages.is_empty() {
            return false;
        }
        // It may be there again by now.
        let mut lost = kept::named(&batch.kept, &complaint);
        let is_all = self.is_only_out_of_sight(&lost, batch);
        if !is_all {
            // The engine names one at a time.
            match self.session.lost(&stages) {
                Ok(more) => lost.extend(more),
                Err(error) => self.session.slow(ANEW, &error),
            }
        }
        if lost.is_empty() {
            return false;
        }
        if is_all {
            log::warn!("{complaint}: again without what was thought to be kept");
        } else {
            self.session.slow(ANEW, error);
        }
        let told = Instant::now();
        self.told
            .retain(|_, step| kept::stages(&step.run.mounts).iter().all(|key| !lost.contains(key)));
        for key in lost {
            if !self.is_told_since(&key, batch) {
                self.session.kept.remove(&key);
                let is_trusted = !is_all && !self.losses.contains_key(&key);
                self.losses.insert(key, Loss { told, is_trusted });
            }
        }
        true
    }

    /// Whether a call named all that it did not find: the engine has it all the same, and no less
    /// of the rest.
    ///
    /// To see the size of what was just made, as Docker does once a minute, BuildKit has it locked
    /// for a moment (`cache/manager.go`), and a step that is to mount it then gets a new and empty
    /// folder of the same name (`solver/llbsolver/mounts`), as all later ones may. But of a stage
    /// that was just made, all is in the engine's cache.
    fn is_only_out_of_sight(&self, named: &[Key], batch: &Batch) -> bool {
        let is_new = |key: &Key| self.session.kept.is_made(key) || self.is_told_since(key, batch);
        !named.is_empty() && named.iter().all(is_new) && self.losses.len() < FEW
    }

    /// Whether a call that ran at the same time told that this was lost.
    fn is_told_since(&self, key: &str, batch: &Batch) -> bool {
        self.losses.get(key).is_some_and(|loss| loss.told >= batch.begun)
    }

    /// What the engine loses though it has it, or was given it anew, it will lose again.
    pub(super) fn is_distrusted(&self, key: &str) -> bool {
        self.losses.get(key).is_some_and(|loss| !loss.is_trusted)
    }
}
