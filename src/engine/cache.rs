//! What an engine was seen to have: outcomes and sources, which it stores from one call to the
//! next.
//!
//! The engine may evict them at any time. A call that needs something which the engine turns out
//! to lack says so, and is made again with that sent. An engine may even have two stores, since
//! BuildKit makes another one while the first is measured.

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{
    engine::Engine,
    util::{digest::digest, disk::OnDisk, state_dir::Cache},
};

/// A record of what one engine has: one empty file for each name.
pub struct EngineCache {
    folder: Utf8PathBuf,
    /// What it listed itself, beside that.
    listed: Mutex<HashSet<String>>,
}

impl EngineCache {
    pub fn of(engine: &dyn Engine, cache: &Cache) -> Self {
        let name = digest([engine.name(), engine.address()]);
        Self { folder: cache.path(&format!("engine-cache/{name}")), listed: Mutex::default() }
    }

    pub fn has(&self, name: &str) -> bool {
        // Other processes are to know of what is of use to this one.
        self.folder.join(name).exists() || self.listed().contains(name) && self.add(name).is_ok()
    }

    /// Takes note of all names that the engine lists.
    pub fn list(&self, names: HashSet<String>) {
        *self.listed() = names;
    }

    fn listed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        let write = || fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, ""));
        write().on_disk(&path, || format!("failed to write `{path}`"))
    }

    /// The number of the store that all this is in, and that is expected from now on, once a call
    /// told it.
    pub fn store(&self) -> Option<String> {
        fs::read_to_string(self.number()).ok()
    }

    /// Takes note of the store that all this is in.
    pub fn expect(&self, store: &str) -> Result<()> {
        if self.store().is_some_and(|number| number == store) {
            return Ok(());
        }
        let path = self.number();
        let write = || fs::create_dir_all(&self.folder).and_then(|()| fs::write(&path, store));
        write().on_disk(&path, || format!("failed to write `{path}`"))
    }

    /// Forgets all that was seen in the store: the engine has another one.
    pub fn forget(&self) -> Result<()> {
        self.listed().clear();
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
        .on_disk(&self.folder, || format!("failed to remove `{}`", self.folder))
    }

    fn number(&self) -> Utf8PathBuf {
        self.folder.join("number")
    }

    pub fn remove(&self, name: &str) {
        self.listed().remove(name);
        let _ = fs::remove_file(self.folder.join(name));
    }
}
