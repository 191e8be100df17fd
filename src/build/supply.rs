//! Uploads to the engine what the store has and the engine lacks, in one call, so that later calls
//! can mount it.

use std::fs::File;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{CONNECTS_OFTEN, SENT, Session};
use crate::{
    build::build_id,
    step::{
        key::Key,
        layout::FILES,
        plan::{self, Plan},
    },
    store::{archive, local::Store},
    util::process,
};

/// How many stored outcomes are sent with a call that needs them, rather than given to the engine
/// before: each costs the call some 30 ms.
const FEW: usize = 4;

impl Session<'_> {
    /// Those of the stages whose outcomes the engine keeps; if it lacks many, it is given them
    /// before.
    pub(super) fn supplied<'k>(&self, stages: impl Iterator<Item = &'k Key>) -> Vec<Key> {
        let (mut kept, lacking): (Vec<Key>, Vec<Key>) =
            stages.cloned().partition(|key| self.kept.has(key));
        // What it is not given now is sent with the call.
        if lacking.len() > FEW {
            self.supply(&lacking).unwrap_or_else(|error| self.slow(SENT, &error));
        }
        kept.extend(lacking.into_iter().filter(|key| self.kept.has(key)));
        kept
    }

    /// The same of stages that it lost, though it was thought to have them.
    pub(super) fn supply_anew(&self, lost: &[Key]) {
        lost.iter().for_each(|key| self.kept.remove(key));
        self.supply(lost).unwrap_or_else(|error| self.slow(SENT, &error));
    }

    /// Those of the stages of which the engine keeps no files.
    pub(super) fn lost(&self, stages: &[Key]) -> Result<Vec<Key>> {
        let keys: Vec<&str> = stages.iter().map(String::as_str).collect();
        let plan = plan::ask(&self.image.pinned, &keys, &build_id(), self.style());
        let answer = self.call(&plan, self.route(), &format!("ask for {} outcomes", keys.len()))?;
        let mut lost = stages.to_vec();
        archive::split(answer, |kept, _| {
            lost.retain(|key| key != kept);
            Ok(())
        })?;
        Ok(lost)
    }

    /// Has the engine keep the outcomes of those stages, as far as the store has them.
    pub(super) fn supply(&self, stages: &[Key]) -> Result<()> {
        // Units that are built at the same time lack the same.
        let _lock = self.cache.lock("supply.lock")?;
        let folder = self.cache.temp_dir()?;
        let folder =
            Utf8Path::from_path(folder.path()).context("the cache folder's name is not UTF-8")?;
        let mut found = Vec::new();
        for key in stages.iter().filter(|key| !self.kept.has(key)) {
            let place = folder.join(key);
            if let Some(received) = self.store().get(key, &place) {
                received.outcome.write(&place)?;
                received.files.replace_folder(&place.join(FILES))?;
                found.push(key.as_str());
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let plan = plan::supply(&self.image.pinned, folder, &found, &build_id(), self.style());
        self.call(&plan, self.route(), &format!("share {} stored outcomes", found.len()))?;
        log::info!("{} outcomes of the store were given to {}", found.len(), self.engine.name());
        found.into_iter().try_for_each(|key| self.kept.add(key))
    }

    /// Those of heavy contexts that the engine keeps; what it lacks, it is given before.
    pub(super) fn given<'k>(
        &self,
        heavy: impl Iterator<Item = (&'k Key, &'k Utf8PathBuf)>,
    ) -> Vec<Key> {
        let heavy: Vec<_> = heavy.collect();
        // What it is not given now is sent with the call.
        self.give(&heavy).unwrap_or_else(|error| log::warn!("{error:#}"));
        heavy.into_iter().map(|(name, _)| name.clone()).filter(|name| self.kept.has(name)).collect()
    }

    fn give(&self, heavy: &[(&Key, &Utf8PathBuf)]) -> Result<()> {
        if heavy.iter().all(|(name, _)| self.kept.has(name)) {
            return Ok(());
        }
        // Units that are built at the same time lack the same.
        let _lock = self.cache.lock("supply.lock")?;
        let lacking = heavy.iter().filter(|(name, folder)| !self.kept.has(name) && folder.exists());
        let lacking: Vec<(&str, &Utf8Path)> =
            lacking.map(|(name, folder)| (name.as_str(), folder.as_path())).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let plan = plan::give(&self.image.pinned, &lacking, &build_id(), self.style());
        self.call(&plan, self.route(), &format!("share {} large folders", lacking.len()))?;
        log::info!("{} large folders were given to {}", lacking.len(), self.engine.name());
        lacking.into_iter().try_for_each(|(name, _)| self.kept.add(name))
    }

    /// One call of the engine that is to do `task`; returns its result.
    pub(super) fn call(
        &self,
        plan: &Plan,
        variables: Vec<(String, String)>,
        task: &str,
    ) -> Result<File> {
        let cmd = self.engine.build(plan, variables);
        log::debug!("{task}\n{cmd}");
        let finished = process::run(&cmd)?;
        self.engine.check(&finished, task)?;
        Ok(finished.stdout)
    }

    /// For a command of the engine that is given no secret: how it gets there.
    pub(super) fn route(&self) -> Vec<(String, String)> {
        let route = self.engine.route(&self.cache);
        route
            .inspect_err(|error| self.slow(CONNECTS_OFTEN, error))
            .ok()
            .flatten()
            .into_iter()
            .collect()
    }
}
