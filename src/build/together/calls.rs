//! What is remembered of a batch's calls: what they took, what they lost, and how much one may say.

use std::{collections::HashSet, time::Instant};

use crate::step::{key::Key, plan::Plan};

/// What was taken from what the engine keeps.
#[derive(Default)]
pub(super) struct Taking {
    pub(super) asked: HashSet<Key>,
    /// How many calls run.
    pub(super) running: usize,
    /// Whether something came of each call that ended, if any did: else the engine is as new as
    /// these units are.
    pub(super) is_fruitful: Option<bool>,
}

impl Taking {
    pub(super) fn is_at_work(&self) -> bool {
        self.running > 0
    }
}

/// The longest Dockerfile of a call of several units, in bytes: BuildKit tells itself up to four
/// times as much (all but what is in variables), in one message of 16 MiB at most.
const MAX_DOCKERFILE: usize = 7 << 19;

/// What the engine was thought to keep of a step, and calls failed for want of.
pub(super) struct Loss {
    pub(super) told: Instant,
    /// Whether it is worth to be given anew; else it is made.
    pub(super) is_trusted: bool,
}

/// Whether a call has more to say than one message of BuildKit's holds.
pub(super) fn is_too_long(plan: &Plan) -> bool {
    plan.dockerfile.len() > MAX_DOCKERFILE
}
