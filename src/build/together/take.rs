//! What the engine keeps of units that the store lacks, taken and not made again: another user may
//! have built all of it there, or this one, whose store is gone.
//!
//! The engine's own cache would answer for the same steps, but looks at each, and a plan tells it
//! the same unit otherwise from time to time: made from another one's stage, or from what is kept
//! of that.

use std::time::Instant;

use anyhow::Result;

use super::{
    super::ANEW,
    Together,
    batch::{Batch, End},
};
use crate::{
    build::{build_id, is_storable},
    planning::schedule::State,
    step::{key::Key, plan},
};

/// As many missing units are worth a first call that may bring none: the time of a few of them.
const WORTH: usize = 16;

impl Together<'_> {
    /// The units to be asked for, if it is worth a call.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let may_be_worth_it = self.taking.is_fruitful.unwrap_or(!self.taking.is_at_work());
        let numbers = if may_be_worth_it { self.next_to_take() } else { vec![] };
        if numbers.is_empty() {
            return None;
        }
        let session = self.session;
        let units = self.in_call(numbers.clone());
        let [wanted, left] = self.parted(&numbers);
        let plan = plan::take(&session.image.pinned, &wanted, &left, &build_id(), session.style());
        let cmd = session.engine.build_watched(
            &plan,
            session.route(),
            self.jobs.number(session.processors()),
        );
        self.taking.asked.extend(units.keys().cloned());
        self.taking.running += 1;
        Some(Batch { units, kept: vec![], begun: Instant::now(), is_taken: true, cmd })
    }

    /// The missing units that were not asked for: runs of build scripts first, and by themselves,
    /// for others wait for what they say. The first call is a short one, for it may be in vain.
    fn next_to_take(&self) -> Vec<usize> {
        let is_new = |key: &Key| !self.taking.asked.contains(key);
        let is_kept = |number: &usize| {
            matches!(self.schedule.state(*number), State::Missing(key) if is_new(key))
                && self.known[number].step.fills_engine_cache()
                && is_storable(&self.known[number].step)
        };
        let all: Vec<usize> = (0..self.units.len()).filter(is_kept).collect();
        let is_first = self.taking.asked.is_empty();
        if is_first && all.len() < WORTH {
            return vec![];
        }
        let is_script = |number: &usize| self.units[*number].is_build_script();
        let (scripts, others): (Vec<usize>, Vec<usize>) = all.into_iter().partition(is_script);
        let count = match scripts.len() {
            count if is_first => count.max(WORTH),
            0 => others.len(),
            count => count,
        };
        scripts.into_iter().chain(others).take(count).collect()
    }

    /// What did not come is to be made.
    pub(super) fn end_taking(&mut self, batch: &Batch, ends: &Result<Vec<(Key, End)>>) {
        let count = match ends {
            Ok(ends) => ends.len(),
            Err(error) => {
                self.session.slow(ANEW, error);
                0
            }
        };
        log::info!("{count} of {} units were taken from what the engine keeps", batch.units.len());
        self.taking.running -= 1;
        self.taking.is_fruitful = Some(count > 0 && self.taking.is_fruitful != Some(false));
        self.set_missing(batch);
    }
}
