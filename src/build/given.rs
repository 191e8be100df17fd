//! What is sent for a call of the engine: all that the engine is not known to have.

use std::{
    fs::{self, File},
    io,
};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use lz4_flex::frame::FrameEncoder;
use tempfile::TempDir;

use super::{Session, call::Call};
use crate::{
    snapshot::copy,
    step::{
        pack::Writer,
        plan::Mounted,
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
    /// The names of packs that those in there are based on.
    pub bases: Vec<String>,
    /// What the engine had before, and is to mount.
    pub mounted: Vec<Mounted>,
}

impl Given {
    /// Nothing yet, in a folder of this name.
    pub fn new(name: &str, cache: &Cache) -> Result<Self> {
        let temp = cache.temp_dir()?;
        let folder = Utf8PathBuf::from_path_buf(temp.path().to_owned()).ok();
        let folder = folder.context("the cache folder's name is not UTF-8")?.join(name);
        let given = Self { _temp: temp, folder, sent: vec![], bases: vec![], mounted: vec![] };
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
        while self.add_outcomes(&mut given, call, resolve)? {}
        given.mounted = call.mountable(|name| self.engine_cache.has(name));
        for (name, context) in call.contexts() {
            self.add_pack(&mut given, name, context)?;
        }
        Ok(given)
    }

    /// Adds the outcomes that a call needs. Returns whether it needs more now, because it makes
    /// one of them itself.
    fn add_outcomes(
        &self,
        given: &mut Given,
        call: &mut Call,
        resolve: &dyn Fn(&str) -> Option<Step>,
    ) -> Result<bool> {
        let lacks = |key: &&str| !self.engine_cache.has(key) && !given.has(key);
        let lacking: Vec<String> =
            call.needed_outcomes().into_iter().filter(lacks).map(str::to_owned).collect();
        let mut needs_more = false;
        for key in lacking {
            if self.store().write_archive(&key, &given.outcomes().join(&key)).is_some() {
                given.sent.push(key);
            } else if let Some(step) = resolve(&key) {
                call.steps.insert(0, step);
                needs_more = true;
            } else {
                // The engine may have it all the same.
                given.sent.push(key);
            }
        }
        Ok(needs_more)
    }

    /// Adds what the engine lacks of a context, as a pack without what the engine has of an earlier
    /// one. What is not on this machine any more the engine may have all the same.
    pub(super) fn add_pack(
        &self,
        given: &mut Given,
        name: &str,
        Context { folder, .. }: &Context,
    ) -> Result<()> {
        if self.engine_cache.has(name) || !folder.exists() {
            return Ok(());
        }
        let base = copy::base_of(name, &self.cache).filter(|base| self.engine_cache.has(base));
        let base_folder = base.as_ref().map(|base| copy::folder_of(base, &self.cache));
        let based_on = base.as_deref().zip(base_folder.as_deref());
        write_pack(folder, based_on, &given.packs().join(name))?;
        given.sent.push(name.to_owned());
        given.bases.extend(base);
        Ok(())
    }
}

/// Packs what is in a folder into a file, compressed, without what a pack of another name and
/// folder has.
fn write_pack(folder: &Utf8Path, base: Option<(&str, &Utf8Path)>, path: &Utf8Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut pack = Writer::new(FrameEncoder::new(File::create(path)?));
        let base = base.map(|(name, folder)| (name, folder.as_std_path()));
        pack.tree(folder.as_std_path(), base)?;
        Ok(pack.finish()?.finish().map(drop)?)
    };
    write().on_disk(path, || format!("failed to write `{path}`"))
}
