//! What engines keep of earlier builds: a step puts a copy of its files into a cache mount of its own
//! ([`Mount::Keep`](crate::dockerfile::Mount::Keep)), and a later call mounts them from there.
//!
//! Without it, each call would have to name all stages below a unit for the engine to find what they made, which
//! costs the engine some 10 ms a stage: the price of a build would grow with the square of its units. A copy
//! belongs to one key and is written by that key's step alone; all others mount it read-only. An engine may
//! drop it at any time. Then the call fails, and is made again with the files sent.

use std::fs;

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use crate::{
    cache::{Cache, digest},
    engine::Engine,
};

/// Marks of what one engine was seen to make: one empty file for each key.
pub struct Kept {
    dir: Utf8PathBuf,
}

impl Kept {
    pub fn by(engine: &Engine, cache: &Cache) -> Self {
        Self { dir: cache.path(&format!("kept/{}", digest([engine.name(), engine.address()]))) }
    }

    pub fn has(&self, key: &str) -> bool {
        self.dir.join(key).exists()
    }

    pub fn add(&self, key: &str) -> Result<()> {
        let path = self.dir.join(key);
        let write = || fs::create_dir_all(&self.dir).and_then(|()| fs::write(&path, ""));
        write().with_context(|| format!("failed to write `{path}` (hint: is the disk full?)"))
    }

    /// The engine does not have it any more, whether it ever had it or not.
    pub fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.dir.join(key));
    }
}
