//! How the engine is told of steps: which of the stages below them it is to make, which it keeps, and which it only was
//! thought to keep.

use std::collections::HashSet;

use anyhow::{Context, Result};

use super::{Batch, Together};
use crate::{
    kept,
    recipe::{Key, Step},
    schedule::State,
};

impl Together<'_> {
    /// A step as the engine is told of it.
    pub(super) fn told_step(&mut self, key: &str) -> Result<Step> {
        if !self.told.contains_key(key) {
            let number = self.schedule.find(key).with_context(|| format!("no unit has the key {key}"))?;
            let is_running = |key: &str| matches!(self.schedule.state_of(key), Some(State::InCall(_)));
            let is_kept = |key: &str| self.session.kept.has(key) && !self.lost.contains(key) && !is_running(key);
            self.told.insert(key.to_owned(), self.known[&number].step.clone().with_kept(is_kept));
        }
        Ok(self.told[key].clone())
    }

    /// The stages that units are made from, stored before, which the engine does not keep.
    pub(super) fn lacking(&self, units: &[usize]) -> Vec<Key> {
        let stages: HashSet<&Key> = units.iter().flat_map(|number| &self.known[number].step.stages).collect();
        let is_stored = |key: &str| matches!(self.schedule.state_of(key), Some(State::Done(_)));
        let is_lacking = |key: &&Key| !self.session.kept.has(key) && !self.lost.contains(*key) && is_stored(key);
        stages.into_iter().filter(is_lacking).cloned().collect()
    }

    /// Whether a call failed for want of what the engine was thought to keep: it is taken note of. Where the failure names
    /// nothing, it may be all that the call takes from there, but that is believed once.
    pub(super) fn has_lost(&mut self, batch: &Batch, error: &anyhow::Error) -> bool {
        let complaint = format!("{error:#}");
        let mut lost = kept::named(&batch.kept, &complaint);
        if lost.is_empty() && self.lost.is_empty() {
            lost = kept::stages(&batch.kept);
        }
        if lost.is_empty() {
            return false;
        }
        log::warn!("{complaint}: again without what was thought to be kept");
        lost.iter().for_each(|key| self.session.kept.remove(key));
        self.lost.extend(lost);
        self.told.retain(|_, step| kept::stages(&step.run.mounts).iter().all(|key| !self.lost.contains(key)));
        true
    }
}
