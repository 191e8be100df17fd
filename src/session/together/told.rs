//! How the engine is told of steps: which of the stages below them it is to make, which it keeps, and which it only was
//! thought to keep.

use std::{collections::HashSet, time::Instant};

use anyhow::{Context, Result};

use super::{Together, batch::Batch};
use crate::{
    kept,
    plan::Plan,
    recipe::{Key, Step},
    schedule::State,
};

/// The longest Dockerfile of a call of several units, in bytes: BuildKit tells itself up to four times as much (all but what is
/// in variables), in one message of 16 MiB at most.
const MAX_DOCKERFILE: usize = 7 << 19;

/// How often calls failed for want of what the engine was thought to keep of a step.
pub(super) struct Loss {
    count: usize,
    last: Instant,
}

/// Whether a call has more to say than one message of BuildKit's holds.
pub(super) fn is_too_long(plan: &Plan) -> bool {
    plan.dockerfile.len() > MAX_DOCKERFILE
}

impl Together<'_> {
    /// A step as the engine is told of it.
    pub(super) fn told_step(&mut self, key: &str) -> Result<Step> {
        if !self.told.contains_key(key) {
            let number = self.schedule.find(key).with_context(|| format!("no unit has the key {key}"))?;
            let is_running = |key: &str| matches!(self.schedule.state_of(key), Some(State::InCall(_)));
            let kept = &self.session.kept;
            let is_there = |key: &str| if is_running(key) { kept.is_made(key) } else { kept.has(key) };
            let is_kept = |key: &str| is_there(key) && !self.is_distrusted(key);
            self.told.insert(key.to_owned(), self.known[&number].step.clone().with_kept(is_kept, true));
        }
        Ok(self.told[key].clone())
    }

    /// The stages that units are made from, stored before, which the engine does not keep.
    pub(super) fn lacking(&self, units: &[usize]) -> Vec<Key> {
        let stages: HashSet<&Key> = units.iter().flat_map(|number| &self.known[number].step.stages).collect();
        let is_stored = |key: &str| matches!(self.schedule.state_of(key), Some(State::Done(_)));
        let is_lacking = |key: &&Key| !self.session.kept.has(key) && !self.is_distrusted(key) && is_stored(key);
        stages.into_iter().filter(is_lacking).cloned().collect()
    }

    /// Whether a call failed for want of what the engine was thought to keep: it is taken note of. What is stored is given to
    /// the engine anew, the rest is made.
    pub(super) fn has_lost(&mut self, batch: &Batch, error: &anyhow::Error) -> bool {
        let (complaint, mut stages) = (format!("{error:#}"), kept::stages(&batch.kept));
        stages.sort();
        stages.dedup();
        if stages.is_empty() {
            return false;
        }
        // It may be there again by now.
        let mut lost = kept::named(&batch.kept, &complaint);
        // The engine names one at a time.
        match self.session.lost(&stages) {
            Ok(more) => lost.extend(more),
            Err(error) => log::warn!("{error:#}"),
        }
        if lost.is_empty() {
            return false;
        }
        log::warn!("{complaint}: again without what was thought to be kept");
        self.told.retain(|_, step| kept::stages(&step.run.mounts).iter().all(|key| !lost.contains(key)));
        for key in lost {
            // Of calls that ran at the same time, the first one tells.
            if self.losses.get(&key).is_none_or(|loss| loss.last < batch.begun) {
                self.session.kept.remove(&key);
                let count = self.losses.get(&key).map_or(0, |loss| loss.count) + 1;
                self.losses.insert(key, Loss { count, last: Instant::now() });
            }
        }
        true
    }

    /// What the engine lost twice it will lose again.
    fn is_distrusted(&self, key: &str) -> bool {
        self.losses.get(key).is_some_and(|loss| loss.count > 1)
    }
}
