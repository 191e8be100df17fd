//! Which outcomes remotes were asked for.

use std::collections::HashSet;

use crate::step::key::Key;

/// What remotes are asked for.
#[derive(Default)]
pub(super) struct Asked {
    /// What is still to be asked for.
    next: Vec<Key>,
    all: HashSet<Key>,
}

impl Asked {
    /// Has an outcome asked for, if it was not; returns whether that is so.
    pub fn add(&mut self, key: &Key) -> bool {
        let is_new = self.all.insert(key.clone());
        self.next.extend(is_new.then(|| key.clone()));
        is_new
    }

    /// What is to be asked for now.
    pub fn next(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.next)
    }
}
