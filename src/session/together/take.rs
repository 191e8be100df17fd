//! What the engine keeps of units that the store lacks, taken in one call: another user may have built all of it there, or
//! this one, whose store is gone.
//!
//! The engine's own cache would answer for the same steps, but looks at each, and a plan tells it the same unit otherwise
//! from time to time: made from another one's stage, or from what is kept of that.

use std::{collections::HashSet, time::Instant};

use anyhow::Result;

use super::{
    Together,
    batch::{Batch, End},
};
use crate::{plan, recipe::Key, schedule::State, session::nonce};

/// As many missing units are worth a first call that may bring none: the time of a few of them.
const WORTH: usize = 16;

#[derive(Default)]
pub(super) struct Taking {
    asked: HashSet<Key>,
    is_at_work: bool,
    /// Nothing came of the last call: the engine is as new as these units are.
    is_vain: bool,
}

impl Taking {
    pub(super) fn is_at_work(&self) -> bool {
        self.is_at_work
    }
}

impl Together<'_> {
    /// The units to be asked for, if it is worth a call.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.taking.is_vain {
            return None;
        }
        let is_new = |key: &Key| !self.taking.asked.contains(key);
        let is_kept = |number: &usize| {
            matches!(self.schedule.state(*number), State::Missing(key) if is_new(key))
                && self.known[number].step.keeps()
        };
        let numbers: Vec<usize> = (0..self.units.len()).filter(is_kept).collect();
        let worth = if self.taking.asked.is_empty() { WORTH } else { 1 };
        if numbers.len() < worth {
            return None;
        }
        let session = self.session;
        let units = self.in_call(numbers.clone());
        let (left, wanted): (Vec<usize>, Vec<usize>) =
            numbers.into_iter().partition(|number| session.may_leave(&self.units[*number], &self.target));
        let [left, wanted] = [&left, &wanted]
            .map(|numbers| numbers.iter().map(|number| self.known[number].step.key.as_str()).collect::<Vec<_>>());
        let plan = plan::take(&session.image.pinned, &wanted, &left, &nonce(), session.style());
        let cmd = session.engine.build_watched(&plan, session.route(), self.jobs.number(session.processors()));
        self.taking.asked.extend(units.keys().cloned());
        self.taking.is_at_work = true;
        Some(Batch { units, kept: vec![], begun: Instant::now(), is_taken: true, cmd })
    }

    /// What did not come is to be made.
    pub(super) fn end_taking(&mut self, batch: &Batch, ends: &Result<Vec<(Key, End)>>) {
        let count = match ends {
            Ok(ends) => ends.len(),
            Err(error) => {
                log::warn!("{error:#}");
                0
            }
        };
        log::info!("{count} of {} units were taken from what the engine keeps", batch.units.len());
        self.taking.is_at_work = false;
        self.taking.is_vain = count == 0;
        self.set_missing(batch);
    }
}
