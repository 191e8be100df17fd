//! How a unit is made, as a step that can be kept and made again: what it mounts, what it runs, and
//! under which key.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{
    step::{
        dockerfile::{Mount, Run},
        key::Key,
        layout::{FILES, OUT},
        stage,
    },
    unit::{
        baked_paths::Baked,
        work::{Unit, Work},
    },
};

/// The process that makes a unit's outputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub key: Key,
    pub base: String,
    pub run: Run,
    /// The stages that it mounts from.
    pub stages: Vec<Key>,
    /// The names and folders of the contexts that it mounts from.
    pub contexts: BTreeMap<String, Utf8PathBuf>,
    /// Those of the contexts that are heavy: the engine is to keep them.
    pub heavy: BTreeSet<Key>,
    /// See [`Provenance::crates`](crate::store::provenance::Provenance::crates).
    pub crates: Vec<Key>,
    /// See [`Provenance::macros`](crate::store::provenance::Provenance::macros).
    pub macros: Option<Utf8PathBuf>,
    /// See [`Provenance::common`](crate::store::provenance::Provenance::common).
    #[serde(default)]
    pub common: Option<Key>,
    /// Known once it ran, as far as it is not remembered.
    #[serde(default)]
    pub baked: Baked,
}

/// A file or folder, as the host and as its stage or context name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    pub host: Utf8PathBuf,
    pub source: String,
}

impl Step {
    /// The same step under another key, which is also the name of its process. Only by that name
    /// does BuildKit tell two steps apart that have the same words and mount different crates: the
    /// id of a cache mount is no part of BuildKit's cache key.
    pub fn called(mut self, key: Key) -> Self {
        self.run.argv[stage::NAME].clone_from(&key);
        Self { key, ..self }
    }

    /// The same step with its inputs mounted from the engine's cache, those stages and heavy
    /// contexts for which `is_kept` says so. Crates are linked into their place if there
    /// `may_be_links`.
    pub fn with_engine_cache(mut self, is_kept: impl Fn(&str) -> bool, may_be_links: bool) -> Self {
        let stages = &self.stages;
        stage::take_kept(
            &mut self.run,
            |key| stages.iter().any(|stage| stage == key) && is_kept(key),
            may_be_links,
        );
        let heavy = &self.heavy;
        let is_kept = |name: &str| heavy.contains(name) && is_kept(name);
        stage::take_heavy(&mut self.run, is_kept);
        self.contexts.retain(|name, _| !is_kept(name));
        let mounts = &self.run.mounts;
        self.stages.retain(|key| {
            mounts.iter().any(|mount| matches!(mount, Mount::Bind { from, .. } if from == key))
        });
        self
    }

    /// The names and folders of its heavy contexts.
    pub fn heavy(&self) -> impl Iterator<Item = (&Key, &Utf8PathBuf)> {
        self.heavy.iter().filter_map(|name| self.contexts.get_key_value(name))
    }

    /// Whether it leaves a copy of its files in the engine.
    pub fn fills_engine_cache(&self) -> bool {
        self.run.mounts.iter().any(|mount| matches!(mount, Mount::Keep { .. }))
    }
}

/// What a unit wrote, as the host and its stage name it: its files by `names`, or its folder.
pub fn outputs(unit: &Unit, names: &[String]) -> Vec<Output> {
    let files = format!("{OUT}/{FILES}");
    match &unit.work {
        Work::Compile { out_dir, .. } => {
            let output = |name: &String| Output {
                host: out_dir.join(name),
                source: format!("{files}/{name}"),
            };
            names.iter().map(output).collect()
        }
        Work::BuildScript { out_dir, .. } => vec![Output { host: out_dir.clone(), source: files }],
    }
}
