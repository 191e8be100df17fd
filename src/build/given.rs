//! What is sent for a call of the engine: all that the engine is not known to have.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use super::{Session, call::Call};
use crate::{
    engine::worker::pack::Writer,
    snapshot::copy,
    step::{
        plan::Mounted,
        protocol::FILES,
        spec::{Context, Step},
    },
    store::local::Store,
    util::{disk::OnDisk, state_dir::Cache},
};

/// What the engine is sent.
pub(super) struct Given {
    _temp: TempDir,
    pub folder: Utf8PathBuf,
    /// The names of what is in there, and of what the engine may have all the same.
    pub sent: Vec<String>,
    /// What the engine had before, and is to mount.
    pub mounted: Vec<Mounted>,
}

impl Given {
    /// Nothing yet, in a folder of this name.
    pub fn new(name: &str, cache: &Cache) -> Result<Self> {
        let temp = cache.temp_dir()?;
        let folder = Utf8PathBuf::from_path_buf(temp.path().to_owned()).ok();
        let folder = folder.context("the cache folder's name is not UTF-8")?.join(name);
        let given = Self { _temp: temp, folder, sent: vec![], mounted: vec![] };
        for folder in [&given.folder, &given.packs(), &given.outcomes()] {
            fs::create_dir(folder).on_disk(folder, || format!("failed to make `{folder}`"))?;
        }
        Ok(given)
    }

    fn has(&self, name: &str) -> bool {
        self.sent.iter().any(|sent| sent == name)
    }

    fn packs(&self) -> Utf8PathBuf {
        self.folder.join("packs")
    }

    fn outcomes(&self) -> Utf8PathBuf {
        self.folder.join("outcomes")
    }

    /// Adds what is in a folder as a pack, without what the pack `base` has.
    pub fn add_pack(
        &mut self,
        name: &str,
        folder: &Utf8Path,
        base: Option<&str>,
        cache: &Cache,
    ) -> Result<()> {
        let base = base.map(|base| (base, copy::folder_of(base, cache)));
        let base = base.as_ref().map(|(name, folder)| (*name, folder.as_path()));
        write_pack(folder, base, &self.packs().join(name))?;
        self.sent.push(name.to_owned());
        Ok(())
    }
}

impl Session<'_> {
    /// A folder with all that the engine is not known to have. A step whose outcome is nowhere is
    /// added to the call.
    pub(super) fn given(
        &self,
        call: &mut Call,
        resolve: &dyn Fn(&str) -> Option<Step>,
    ) -> Result<Given> {
        let mut given = Given::new(call.name, &self.cache)?;
        loop {
            let missing = call
                .needed_outcomes()
                .into_iter()
                .find(|key| !self.engine_cache.has(key) && !given.has(key));
            let Some(key) = missing.map(str::to_owned) else { break };
            if self.send_outcome(&key, &given.outcomes())? {
                given.sent.push(key);
            } else if let Some(step) = resolve(&key) {
                call.steps.insert(0, step);
            } else {
                // The engine may have it all the same.
                given.sent.push(key);
            }
        }
        given.mounted = call.mounted(|name| self.engine_cache.has(name));
        for (name, Context { folder, .. }) in call.contexts() {
            if self.engine_cache.has(name) || !folder.exists() {
                continue;
            }
            given.add_pack(name, folder, None, &self.cache)?;
        }
        Ok(given)
    }

    /// Sends an outcome, as a pack in a folder; returns whether the store has it.
    fn send_outcome(&self, key: &str, outcomes: &Utf8Path) -> Result<bool> {
        let folder = outcomes.join(format!("{key}-files"));
        let Some(received) = self.store().get(key, &folder) else { return Ok(false) };
        received.outcome.write(&folder)?;
        received.files.replace_folder(&folder.join(FILES))?;
        write_pack(&folder, None, &outcomes.join(key))?;
        // Its folder is temporary, and beside the one that is removed.
        drop(received);
        fs::remove_dir_all(&folder).on_disk(&folder, || format!("failed to remove `{folder}`"))?;
        Ok(true)
    }
}

/// Packs what is in a folder into a file, without what a pack of another name and folder has.
fn write_pack(folder: &Utf8Path, base: Option<(&str, &Utf8Path)>, path: &Utf8Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut pack = Writer::new(BufWriter::new(File::create(path)?));
        let base = base.map(|(name, folder)| (name, folder.as_std_path()));
        pack.tree(folder.as_std_path(), base)?;
        pack.finish().map(drop)
    };
    write().on_disk(path, || format!("failed to write `{path}`"))
}
