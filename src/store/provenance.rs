//! Provenance: how each known artifact of a target folder was made, so that a later unit finds it
//! in the engine's own cache, and need not send it there.
//!
//! A provenance is stored under its key. A record named by the artifact's path leads to the key, as
//! long as the artifact is the one that was written then. The step behind a provenance is stored
//! separately: a unit reads the provenance of all crates below it, but none of their steps, which
//! are much longer.

use std::collections::{HashMap, HashSet, VecDeque};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    snapshot::{
        content::{file_checksum, stamp},
        digests::folder_digest,
    },
    step::{
        key::Key,
        spec::{Output, Step},
    },
    unit::baked_paths::Baked,
    util::{digest::digest, path::normalised, state_dir::Cache},
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Provenance {
    pub key: Key,
    pub origin: Origin,
    pub outputs: Vec<Output>,
    /// The crates it was compiled against: whoever uses it needs them too.
    pub crates: Vec<Key>,
    /// The package of a library with macros: where another crate expands one, rustc looks at its
    /// source again.
    pub macros: Option<Utf8PathBuf>,
    /// Of a build script's program that holds a path of the host: the step that made the canonical
    /// one, which has common paths. See [`crate::inputs::canonical_program`].
    #[serde(default)]
    pub common: Option<Key>,
    #[serde(default)]
    pub baked: Baked,
}

/// Where a task gets the outputs from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// The [`Step`] of the same key.
    Step,
    /// A copy of something this tool did not make, in a folder of the cache.
    Copy { context: Utf8PathBuf },
}

/// What the processes of a step were seen to do, with paths as the host has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// The folder of the step's package.
    pub package: Utf8PathBuf,
    /// As [`touches`](crate::step::touched::touches) reads it; `None` if nobody could look.
    pub touched: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Link {
    key: Key,
    stamp: String,
    /// The key of what was there before, if that was made in another way.
    #[serde(default)]
    before: Option<Key>,
    /// A check sum of the bytes, for when only the times changed: cargo sets those of `*.rmeta`
    /// back.
    content: String,
}

/// The provenance of the artifacts of one target folder, each read from disk once.
///
/// Another folder may contain the outcome of the same step, with its inputs and outputs elsewhere.
pub struct ProvenanceRecords<'a> {
    cache: &'a Cache,
    target_root: Utf8PathBuf,
    loaded: HashMap<Key, Option<Provenance>>,
    /// Those of a dry run lack what was made before it.
    earlier: Option<Box<Self>>,
}

impl<'a> ProvenanceRecords<'a> {
    pub fn new(cache: &'a Cache, target_root: Utf8PathBuf) -> Self {
        let target_root = normalised(&target_root);
        Self { cache, target_root, loaded: HashMap::new(), earlier: None }
    }

    /// These, and where they lack something, those.
    pub fn after(self, earlier: Self) -> Self {
        Self { earlier: Some(Box::new(earlier)), ..self }
    }

    pub fn get(&mut self, key: &str) -> Option<&Provenance> {
        if !self.loaded.contains_key(key) {
            let own = self.cache.read(&self.name("recipes", key)).filter(Provenance::is_usable);
            let provenance = own.or_else(|| self.earlier.as_mut()?.get(key).cloned());
            self.loaded.insert(key.to_owned(), provenance);
        }
        self.loaded[key].as_ref()
    }

    /// The provenance of a file or folder of the host, if that is still what the step made.
    pub fn of_path(&mut self, path: &Utf8Path) -> Option<&Provenance> {
        let Some(mut link) = self.cache.read::<Link>(&link_name(path)) else {
            return self.earlier.as_mut()?.of_path(path);
        };
        let stamp = stamp(path).ok()?;
        if stamp != link.stamp {
            if content(path).ok()? != link.content {
                log::debug!("`{path}` is no longer what {} made", link.key);
                return None;
            }
            link.stamp = stamp;
            self.cache.write(&link_name(path), &link).ok()?;
        }
        self.get(&link.key)
    }

    fn name(&self, kind: &str, key: &str) -> String {
        format!("{kind}/{}", digest([self.target_root.as_str(), key]))
    }

    /// The step of this key.
    pub fn step(&self, key: &str) -> Result<Step> {
        match (self.cache.read(&self.name("steps", key)), &self.earlier) {
            (Some(step), _) => Ok(step),
            (None, Some(earlier)) => earlier.step(key),
            (None, None) => {
                bail!("failed to find the step {key} in the cache (hint: `cargo clean`)")
            }
        }
    }

    /// Stores a step, that these outputs, which are installed now, came from it, and what its
    /// processes were seen to do.
    pub fn save_step(
        &mut self,
        step: &Step,
        outputs: Vec<Output>,
        observation: &Observation,
    ) -> Result<()> {
        self.cache.write(&self.name("steps", &step.key), step)?;
        self.cache.write(&self.name("observed", &step.key), observation)?;
        self.save(Provenance::of_step(step, outputs))
    }

    /// The key of what a file or folder was before, if that was made in another way.
    pub fn before(&self, path: &Utf8Path) -> Option<Key> {
        self.cache.read::<Link>(&link_name(path))?.before
    }

    /// What the processes of a step were seen to do.
    pub fn observation(&self, key: &str) -> Option<Observation> {
        self.cache.read(&self.name("observed", key))
    }

    /// Adds a provenance for this process only.
    pub fn add(&mut self, provenance: Provenance) {
        self.loaded.insert(provenance.key.clone(), Some(provenance));
    }

    /// Stores a provenance, and that its outputs, which are installed now, came from it.
    pub fn save(&mut self, provenance: Provenance) -> Result<()> {
        self.cache.write(&self.name("recipes", &provenance.key), &provenance)?;
        for output in &provenance.outputs {
            let (stamp, content) = (stamp(&output.host)?, content(&output.host)?);
            let (name, key) = (link_name(&output.host), provenance.key.clone());
            let before = self.cache.read::<Link>(&name);
            let before =
                before.and_then(|link| if link.key == key { link.before } else { Some(link.key) });
            self.cache.write(&name, &Link { key, before, stamp, content })?;
        }
        self.add(provenance);
        Ok(())
    }

    /// The crates a unit sees that is compiled against `direct`: those, and what they were compiled
    /// against. Each once, dependents first.
    pub fn crate_closure(&mut self, direct: &[Key]) -> Result<Vec<Provenance>> {
        let mut closure: Vec<Provenance> = Vec::new();
        let mut seen: HashSet<Key> = direct.iter().cloned().collect();
        let mut queue: VecDeque<Key> = direct.to_vec().into();
        while let Some(key) = queue.pop_front() {
            let provenance = self.require(&key)?.clone();
            queue.extend(
                provenance.crates.iter().filter(|key| seen.insert((*key).clone())).cloned(),
            );
            closure.push(provenance);
        }
        Ok(closure)
    }

    fn require(&mut self, key: &str) -> Result<&Provenance> {
        self.get(key).with_context(|| {
            format!("failed to find the recipe {key} in the cache (hint: `cargo clean`)")
        })
    }
}

impl Provenance {
    /// Of what this tool did not make, or not as it is, in a folder of the cache.
    pub fn of_copy(key: Key, context: Utf8PathBuf, outputs: Vec<Output>) -> Self {
        let origin = Origin::Copy { context };
        Self {
            key,
            origin,
            outputs,
            crates: vec![],
            macros: None,
            common: None,
            baked: Baked::default(),
        }
    }

    /// Of what a step made.
    pub fn of_step(step: &Step, outputs: Vec<Output>) -> Self {
        let (key, origin) = (step.key.clone(), Origin::Step);
        let (crates, macros, common) =
            (step.crates.clone(), step.macros.clone(), step.common.clone());
        Self { key, origin, outputs, crates, macros, common, baked: step.baked.clone() }
    }

    /// Whether the folder it needs on this machine is still there.
    fn is_usable(&self) -> bool {
        match &self.origin {
            Origin::Step => true,
            Origin::Copy { context } => context.exists(),
        }
    }
}

fn link_name(path: &Utf8Path) -> String {
    format!("links/{}", digest([normalised(path).as_str()]))
}

fn content(path: &Utf8Path) -> Result<String> {
    match path.is_dir() {
        true => folder_digest(path),
        false => {
            file_checksum(path.as_std_path()).with_context(|| format!("failed to read `{path}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_artifact_is_known_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let cache = Cache::open(dir.join("cache")).unwrap();
        let host = dir.join("liba.rmeta");
        fs::write(&host, "1").unwrap();
        let outputs = vec![Output { host: host.clone(), source: "a".into() }];
        let records = || ProvenanceRecords::new(&cache, dir.to_owned());
        records().save(Provenance::of_copy("k".into(), dir.to_owned(), outputs)).unwrap();
        let is_known = || records().of_path(&host).is_some();
        assert!(is_known());
        let file = fs::File::options().write(true).open(&host).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(is_known(), "cargo set its time");
        fs::write(&host, "2").unwrap();
        assert!(!is_known(), "somebody wrote to it");
    }
}
