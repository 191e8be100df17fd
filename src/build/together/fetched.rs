//! What remotes are asked for, and what comes of that.

use anyhow::Result;

use super::{Together, asked::Asked};
use crate::{
    build::{is_storable, memory::discovered},
    planning::schedule::State,
    step::key::Key,
};

impl Together<'_> {
    /// What a remote may have is asked for from now on. Returns under which names inputs of the
    /// units are remembered.
    pub fn with_remotes(&mut self) -> Vec<String> {
        self.remotes = Some(Asked::default());
        discovered::names(self.session, &self.units)
    }

    /// The keys of the outcomes to ask remotes for, each once.
    pub fn to_fetch(&mut self) -> Vec<Key> {
        self.remotes.as_mut().map(Asked::next).unwrap_or_default()
    }

    /// Takes note of what came of an outcome that remotes were asked for.
    pub fn add_fetched(&mut self, key: Key, is_stored: bool) -> Result<()> {
        let Some(number) = self.schedule.find(&key) else { return Ok(()) };
        if *self.schedule.state(number) != State::Fetching(key.clone()) {
            return Ok(());
        }
        match is_stored {
            true => self.note_stored(number, key),
            false => {
                self.schedule.set(number, State::Missing(key));
                Ok(())
            }
        }
    }

    /// Takes note that remotes answer no more.
    pub fn end_fetching(&mut self) {
        self.remotes = None;
        for number in self.schedule.fetching() {
            let key = self.schedule.state(number).key().cloned().unwrap_or_default();
            self.schedule.set(number, State::Missing(key));
        }
    }

    /// Whether a remote is asked for a unit with this key: once, and not for what the engine has or
    /// compiles incrementally.
    pub(super) fn may_be_fetched(&mut self, number: usize, key: &Key) -> bool {
        let Some(remotes) = &mut self.remotes else { return false };
        let is_at_hand = self.session.engine_cache.has(key);
        !is_at_hand && is_storable(&self.resolved[&number].step) && remotes.add(key)
    }
}
