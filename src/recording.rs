//! A rehearsal of a cargo command: the wrapper compiles nothing, but writes down each unit and puts empty files
//! where its outputs belong, so that cargo goes on to the next. See [`crate::green`].
//!
//! It has a target folder of its own, which stands in for the real one, so units have the keys that they will
//! have in the real run. Where a build script's outcome is not in the store, cargo goes on without knowing what
//! it would say: what is downstream of it is [uncertain](Recorded::is_uncertain).

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    argv::Flag,
    artifacts::{Outcome, Unpacked},
    cache::Cache,
    env::Env,
    output_names,
    recipe::{Key, Step},
    unit::{Unit, Work},
};

/// The variable that tells the wrapper of a recording: the folder that holds it.
pub const VARIABLE: &str = "RUSTCBUILDX_RECORDING";

/// What is written down, in a cache of its own.
pub struct Recording {
    pub cache: Cache,
    /// The target folder of the real run.
    pub target: Utf8PathBuf,
}

/// One unit of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// For messages.
    pub name: String,
    /// Where what is learned of it belongs.
    pub learned: String,
    pub key: Key,
    /// The crates it is compiled against.
    pub crates: Vec<Key>,
    pub is_stored: bool,
    /// Whether something upstream is not known, so that this is not the unit that the real run will have.
    pub is_uncertain: bool,
    /// Of the run of a build script.
    pub script: Option<Script>,
    /// Of a compile: its package's folder.
    pub package: Option<Utf8PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    pub package: Utf8PathBuf,
    /// Whether it speaks to the build scripts of dependents.
    pub has_links: bool,
}

impl Recorded {
    /// Whether cargo had to go on without an answer.
    pub fn is_unanswered(&self) -> bool {
        self.script.is_some() && !self.is_stored
    }
}

impl Recording {
    /// The recording that this process is part of.
    pub fn current(env: &Env) -> Result<Option<Self>> {
        let Some(folder) = env.get(VARIABLE) else { return Ok(None) };
        let cache = Cache::open(folder.into())?;
        let target = cache.read("target").with_context(|| format!("failed to read the recording `{folder}`"))?;
        Ok(Some(Self { cache, target }))
    }

    /// A new one in an empty folder.
    pub fn begin(folder: &Utf8Path, target: &Utf8Path) -> Result<Self> {
        let cache = Cache::open(folder.to_owned())?;
        cache.write("target", &target)?;
        Ok(Self { cache, target: target.to_owned() })
    }

    /// The target folder of the rehearsal.
    pub fn stand_in(&self) -> Utf8PathBuf {
        self.cache.path("stand-in")
    }

    /// Writes a unit down.
    pub fn add(&self, unit: &Unit, learned: &str, step: &Step, is_stored: bool) -> Result<()> {
        let is_incremental = matches!(&unit.work, Work::Compile { args, .. } if args.codegen("incremental").is_some());
        let is_open = |key: &Key| self.get(key).is_none_or(|below| below.is_uncertain || below.is_unanswered());
        let has_links = unit.env.contains_key("CARGO_MANIFEST_LINKS");
        let (script, package) = match unit.work {
            Work::BuildScript { .. } => (Some(Script { package: unit.package.clone(), has_links }), None),
            Work::Compile { .. } => (None, Some(unit.package.clone())),
        };
        let is_uncertain = is_incremental || step.stages.iter().any(is_open);
        let (name, learned) = (unit.name(), learned.to_owned());
        let (key, crates) = (step.key.clone(), step.crates.clone());
        let recorded = Recorded { name, learned, key, crates, is_stored, is_uncertain, script, package };
        self.cache.write(&format!("units/{}", recorded.key), &recorded)
    }

    /// Writes down how many processes cargo runs at once.
    pub fn add_jobs(&self, jobs: &str) -> Result<()> {
        self.cache.write("jobs", &jobs)
    }

    /// How many processes cargo runs at once, if it told anyone.
    pub fn jobs(&self) -> Option<String> {
        self.cache.read("jobs")
    }

    pub fn get(&self, key: &str) -> Option<Recorded> {
        self.cache.read(&format!("units/{key}"))
    }

    pub fn all(&self) -> Result<Vec<Recorded>> {
        let Ok(entries) = self.cache.path("units").read_dir_utf8() else { return Ok(vec![]) };
        let read = |entry: std::io::Result<camino::Utf8DirEntry>| -> Result<Option<Recorded>> {
            Ok(self.get(entry?.file_name()))
        };
        let mut all: Vec<Recorded> = entries.filter_map(|entry| read(entry).transpose()).collect::<Result<_>>()?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(all)
    }
}

/// Empty files in the place of a unit's outputs, and the messages cargo waits for.
pub fn stand_ins(unit: &Unit) -> Result<(Unpacked, Outcome)> {
    let files = Unpacked::empty(unit.out_dir())?;
    let mut outcome = Outcome { status: 0, stdout: vec![], stderr: vec![], nonce: String::new() };
    if let Work::Compile { args, out_dir, .. } = &unit.work {
        for (name, kind) in output_names::of(args) {
            let path = out_dir.join(&name);
            let input = args.inputs().next().unwrap_or_default();
            let text = if kind == "dep-info" { format!("{path}: {input}\n\n{input}:\n") } else { String::new() };
            let file = files.root.join(&name);
            // Cargo starts those that stand in for build scripts.
            fs::write(&file, text)
                .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("failed to write `{path}`"))?;
            if args.values(Flag::Json).any(|kinds| kinds.split(',').any(|kind| kind == "artifacts")) {
                let message = serde_json::json!({"$message_type": "artifact", "artifact": path, "emit": kind});
                outcome.stderr.extend(format!("{message}\n").into_bytes());
            }
        }
    }
    Ok((files, outcome))
}
