//! What an engine was seen to have: outcomes and sources, which it stores from one call to the
//! next.
//!
//! The engine may evict them at any time. A call that needs something which the engine turns out
//! to lack says so, and is made again with that sent. An engine may even have two stores, since
//! BuildKit makes another one while the first is measured.

use std::{fs, io::ErrorKind};

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{
    engine::Engine,
    util::{digest::digest, disk::OnDisk, state_dir::Cache},
};

/// A record of what one engine has: one empty file for each name.
pub struct EngineCache {
    folder: Utf8PathBuf,
}

impl EngineCache {
    pub fn of(engine: &Engine, cache: &Cache) -> Self {
        let name = digest([engine.name(), engine.address()]);
        Self { folder: cache.path(&format!("engine-cache/{name}")) }
    }

    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
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
        let _ = fs::remove_file(self.folder.join(name));
    }
}
