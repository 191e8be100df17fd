//! Artifacts that stayed in the engine: stubs in their place, and how they are fetched.

use std::fs::{self, File};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use super::{Session, target_folder};
use crate::{
    build::call::Call,
    config::jobs::Jobs,
    step::{key::Key, protocol::Wanted},
    store::{
        archive::{Archive, Received},
        local::Store,
        provenance::ProvenanceRecords,
    },
    target::{
        deferred,
        shim::{self, Shim},
    },
    unit::{target_dir, work::Unit},
};

impl Session<'_> {
    /// Whether what a unit makes for a target or build folder may stay in the engine. From a build
    /// folder, cargo links what the user asked for, or may ask for, to the target folder.
    pub(super) fn may_defer(&self, unit: &Unit, target: &Utf8Path) -> bool {
        let is_asked_for = unit.env.contains_key("CARGO_PRIMARY_PACKAGE");
        let is_dependency = !is_asked_for && target_dir::is_dependency(unit, &self.homes.cargo);
        let may_defer = deferred::is_passing(target, self.env)
            || deferred::is_build_folder(target, self.env) && is_dependency;
        deferred::may_be(unit) && may_defer
    }

    /// Whether the engine has the artifacts of such a unit, and the store has the rest.
    pub(super) fn has_deferred(&self, unit: &Unit, target: &Utf8Path, key: &str) -> bool {
        self.may_defer(unit, target)
            && self.engine_cache.has(key)
            && self.store().has(&deferred::stored_as(key))
    }

    /// What the store has of a unit with this key whose artifacts the engine has, with stubs for
    /// them.
    pub(super) fn deferred(&self, unit: &Unit, key: &str) -> Result<Option<Received>> {
        let is_deferred = self.has_deferred(unit, &target_folder(unit), key);
        let received = is_deferred
            .then(|| self.store().get(&deferred::stored_as(key), unit.out_dir()))
            .flatten();
        if let Some(received) = &received {
            deferred::put_stubs(unit, key, &received.files.root)?;
        }
        Ok(received)
    }

    /// Fetches the program of the build script that a unit runs. `compiled` is where rustc wrote
    /// it, and `key` is that of the step which made it.
    pub fn fetch_program(&self, unit: &Unit, compiled: &Utf8Path, key: &Key) -> Result<()> {
        let folder: Vec<Utf8PathBuf> = compiled.parent().map(Into::into).into_iter().collect();
        self.fetch(target_folder(unit), &folder, |maker| maker == key)
    }

    /// Fetches the artifacts of the steps that are wanted and have stubs in these folders of a
    /// target folder.
    pub fn fetch(
        &self,
        target: Utf8PathBuf,
        folders: &[Utf8PathBuf],
        is_wanted: impl Fn(&Key) -> bool,
    ) -> Result<()> {
        if !deferred::may_be_in(&target, self.env) {
            return Ok(());
        }
        // Units that are built at the same time need the same.
        let _lock = self.cache.lock("fetch.lock")?;
        let mut wanted: Vec<(Key, &Utf8Path)> = Vec::new();
        for folder in folders {
            let entries =
                folder.read_dir_utf8().with_context(|| format!("failed to read `{folder}`"))?;
            let paths = entries.flatten().map(camino::Utf8DirEntry::into_path);
            let makers = paths.filter_map(|path| deferred::maker(&path)).filter(&is_wanted);
            wanted.extend(makers.map(|key| (key, folder.as_path())));
        }
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        let known = ProvenanceRecords::new(&self.cache, target.clone());
        // A step is made again if the engine evicted its outcome.
        let whole = |(key, _): &(Key, &Utf8Path)| Wanted { key: key.clone(), is_deferred: false };
        let call =
            Call { wanted: wanted.iter().map(whole).collect(), ..Call::new("fetch", Jobs::All) };
        let mut fetched = Vec::new();
        let collect = |key: &str, archive: File| {
            fetched.push((key.to_owned(), archive));
            Ok(())
        };
        self.perform(call, &|key| known.step(key).ok(), |_| (), collect)?;
        let mut records = ProvenanceRecords::new(&self.cache, target);
        fetched
            .into_iter()
            .try_for_each(|(key, archive)| replace_stubs(&key, archive, &wanted, &mut records))
    }
}

/// Puts what was fetched in the place of its stubs, in the folder of the unit that is wanted.
fn replace_stubs(
    key: &str,
    mut archive: File,
    wanted: &[(Key, &Utf8Path)],
    records: &mut ProvenanceRecords<'_>,
) -> Result<()> {
    let Some((_, folder)) = wanted.iter().find(|(wanted, _)| wanted == key) else {
        return Ok(());
    };
    let received = Archive::new(&mut archive).receive(folder)?;
    if received.outcome.status != 0 {
        bail!("failed to fetch {key}: made anew, it ended with {}", received.outcome.status);
    }
    for name in received.files.names()? {
        let (from, to) = (received.files.root.join(&name), folder.join(&name));
        if deferred::maker(&to).is_some() {
            if Shim::open(&to)?.is_some() {
                shim::wrap_program(&from, &to)?;
            }
            fs::rename(from, &to).with_context(|| format!("failed to write `{to}`"))?;
        }
    }
    let provenance = records.get(key).cloned();
    provenance.map_or(Ok(()), |provenance| records.save(provenance))
}
