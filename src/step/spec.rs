//! How a unit is made, as a step that can be stored and made again: its task, what is sent for it,
//! and under which key.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{
    step::{
        key::Key,
        protocol::{FILES, Source, Task},
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
    /// The image that it runs in.
    pub base: String,
    #[serde(with = "as_text")]
    pub task: Task,
    /// The names of what is sent for it, and where that is.
    pub contexts: BTreeMap<String, Context>,
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

/// What is sent for a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Context {
    pub folder: Utf8PathBuf,
    /// Whether it is so large that the engine is to mount it, not to copy it.
    pub is_heavy: bool,
}

/// A file or folder, as the host and as its outcome or context name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    pub host: Utf8PathBuf,
    pub source: String,
}

impl Step {
    /// The same step under another key.
    pub fn called(mut self, key: Key) -> Self {
        self.task.key.clone_from(&key);
        Self { key, ..self }
    }

    /// The keys of the steps that it is made from.
    pub fn made_from(&self) -> impl Iterator<Item = &str> {
        self.task.inputs.iter().filter_map(|input| match &input.from {
            Source::Outcome(key) => Some(key.as_str()),
            Source::Pack(_) => None,
        })
    }
}

/// What a unit wrote, as the host and its outcome name it: its files by `names`, or its folder.
pub fn outputs(unit: &Unit, names: &[String]) -> Vec<Output> {
    match &unit.work {
        Work::Compile { out_dir, .. } => {
            let output = |name: &String| Output {
                host: out_dir.join(name),
                source: format!("{FILES}/{name}"),
            };
            names.iter().map(output).collect()
        }
        Work::BuildScript { out_dir, .. } => {
            vec![Output { host: out_dir.clone(), source: FILES.to_owned() }]
        }
    }
}

/// A task in a record, as the text that the worker reads.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::step::protocol::{Batch, Task};

    pub fn serialize<S: Serializer>(task: &Task, serializer: S) -> Result<S::Ok, S::Error> {
        let batch = Batch { tasks: vec![task.clone()], ..Batch::default() };
        serializer.serialize_str(&batch.encode())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Task, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut batch = Batch::decode(&text).map_err(D::Error::custom)?;
        batch.tasks.pop().ok_or_else(|| D::Error::custom("there is no task"))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::step::protocol::{Input, Kind};

    /// A step that reads what is in a folder.
    pub fn step(key: &str, pack: &str, folder: Utf8PathBuf) -> Step {
        let target = "/p".to_owned();
        let from = Source::Pack(pack.to_owned());
        let inputs = vec![Input { target, from, path: "p".to_owned(), is_writable: false }];
        let task = Task {
            key: key.to_owned(),
            name: key.to_owned(),
            kind: Kind::Compile,
            words: vec![],
            env: vec![],
            secrets: vec![],
            folder: "/p".to_owned(),
            out: "/o".to_owned(),
            umask: 0o22,
            links: vec![],
            inputs,
            opened: vec![],
            passed: vec![],
            is_kept: false,
            is_observed: true,
            state: None,
        };
        let context = Context { folder, is_heavy: false };
        Step {
            key: key.to_owned(),
            base: "image".to_owned(),
            task,
            contexts: BTreeMap::from([(pack.to_owned(), context)]),
            crates: vec![],
            macros: None,
            common: None,
            baked: Baked::default(),
        }
    }
}
