//! What engines keep of earlier builds: a step puts a copy of its files into a cache mount of its
//! own ([`Mount::Keep`]), and a later call mounts them from
//! there.
//!
//! Without it, each call would have to name all stages below a unit for the engine to find what
//! they made, which costs the engine some 10 ms a stage: the price of a build would grow with the
//! square of its units. A copy belongs to one key and is written by that key's step alone; all
//! others mount it read-only. An engine may drop it at any time, or not find it for a moment. Then
//! the call fails, and is made again: with the stage that was just made told again, once the engine
//! was given anew what is stored of it, or with those files sent.

use std::{collections::HashSet, fs, sync::Mutex};

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::{
    engine::Engine,
    step::{dockerfile::Mount, key::Key},
    util::{digest::digest, disk::OnDisk, state_dir::Cache},
};

/// Marks of what one engine was seen to make: one empty file for each key.
pub struct Kept {
    dir: Utf8PathBuf,
    /// What steps of calls that may still run have left by now.
    made: Mutex<HashSet<Key>>,
}

impl Kept {
    pub fn by(engine: &Engine, cache: &Cache) -> Self {
        let dir = cache.path(&format!("kept/{}", digest([engine.name(), engine.address()])));
        Self { dir, made: Mutex::default() }
    }

    pub fn has(&self, key: &str) -> bool {
        self.dir.join(key).exists()
    }

    pub fn add(&self, key: &str) -> Result<()> {
        let path = self.dir.join(key);
        let write = || fs::create_dir_all(&self.dir).and_then(|()| fs::write(&path, ""));
        write().on_disk(&path, || format!("failed to write `{path}`"))
    }

    /// Takes note of a step that ran to its end in a call that goes on, and leaves a copy of a
    /// success.
    pub fn note_made(&self, key: &str) {
        self.made.lock().expect(LOCK).insert(key.to_owned());
    }

    /// Whether a step ran to its end in a call: if it was a success, the engine keeps what it made.
    pub fn is_made(&self, key: &str) -> bool {
        self.made.lock().expect(LOCK).contains(key)
    }

    /// The engine does not have it any more, whether it ever had it or not.
    pub fn remove(&self, key: &str) {
        self.made.lock().expect(LOCK).remove(key);
        let _ = fs::remove_file(self.dir.join(key));
    }
}

const LOCK: &str = "no thread panics while it has this lock";

/// The stages that mounts take from what the engine kept of them.
pub fn stages(mounts: &[Mount]) -> Vec<Key> {
    mounts
        .iter()
        .filter_map(Mount::as_from_engine_cache)
        .map(|(stage, _)| stage.to_owned())
        .collect()
}

/// Those of which a failed call's complaint names a file, as in `open /files/liba.rlib: no such
/// file or directory`; if their folder is mounted whole, a file in it by a path with the stage's
/// name.
pub fn named(mounts: &[Mount], complaint: &str) -> Vec<Key> {
    let kept = mounts.iter().filter_map(Mount::as_from_engine_cache);
    let is_named = |stage: &str, source: &str| match source {
        "/" => complaint.contains(&format!("/{stage}/files/")),
        file => complaint.contains(&format!(" {file}: no such file")),
    };
    let named = kept.filter(|(stage, source)| is_named(stage, source));
    named.map(|(stage, _)| stage.to_owned()).collect()
}

/// The same; all, if it names none.
pub fn blamed(mounts: &[Mount], complaint: &str) -> Vec<Key> {
    let named = named(mounts, complaint);
    if named.is_empty() { stages(mounts) } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_blamed() {
        let slots = Mount::Cache {
            id: "rustcbuildx-slots".into(),
            source: "/".into(),
            target: "/s".into(),
            writable: true,
        };
        let mounts = [
            Mount::from_engine_cache("u1", "/files/liba.rlib", "/t/liba.rlib"),
            slots,
            Mount::from_engine_cache("u2", "/files", "/t/out"),
            Mount::from_engine_cache("u3", "/", "/crates/u3"),
        ];
        assert_eq!(
            blamed(&mounts, "process failed: open /files/liba.rlib: no such file or directory"),
            ["u1"]
        );
        assert_eq!(blamed(&mounts, "open /files: no such file or directory"), ["u2"]);
        assert_eq!(named(&mounts, "message too large"), [""; 0]);
        assert_eq!(
            named(&mounts, "open /crates/u3/files/libb.rlib: no such file or directory"),
            ["u3"]
        );
        assert_eq!(blamed(&mounts, "message too large"), ["u1", "u2", "u3"]);
    }
}
