//! Where the time of a build goes: what each unit waited for, in the file of `RUSTCBUILDX_TIMINGS`.
//!
//! The file is a Chrome trace, which `about:tracing` and Perfetto show; each process of a build
//! adds its own lines. `rustcbuildx timings` ([`crate::cli`]) makes a page of it.
//!
//! Source of the format: "Trace Event Format", the JSON array, whose last bracket may be missing.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{engine::client::Event, step::key::Key};

/// What took the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The dry run.
    #[serde(rename = "rehearsal")]
    DryRun,
    /// Finding and digesting what a unit reads.
    Inputs,
    /// A unit's task, or the call of the engine for it.
    Engine,
    /// A task of which the engine had the outcome.
    Cached,
    /// Outcomes, from the engine to here.
    Transfer,
    /// An outcome, from the store to the target folder.
    Restore,
}

/// One stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Whose.
    pub name: String,
    #[serde(rename = "cat")]
    pub phase: Phase,
    ph: char,
    /// In microseconds, since 1970.
    pub ts: u64,
    /// In microseconds.
    pub dur: u64,
    pid: u32,
    /// Rows of one process: each holds what does not overlap.
    tid: u64,
}

/// Where spans are written to.
pub struct Timings {
    path: Option<Utf8PathBuf>,
}

impl Timings {
    /// Those of a file, made where it is missing; without one, nothing is written.
    pub fn to(path: Option<&str>) -> Self {
        Self { path: path.map(Utf8PathBuf::from) }
    }

    /// Adds what took from `start` to `end`.
    pub fn add(&self, name: &str, phase: Phase, start: SystemTime, end: SystemTime) {
        self.add_to_row(0, name, phase, start, end);
    }

    fn add_to_row(&self, tid: u64, name: &str, phase: Phase, start: SystemTime, end: SystemTime) {
        let Some(path) = &self.path else { return };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let ts = micros(start.duration_since(UNIX_EPOCH).unwrap_or_default());
        let dur = micros(end.duration_since(start).unwrap_or_default());
        let span =
            Span { name: name.to_owned(), phase, ph: 'X', ts, dur, pid: std::process::id(), tid };
        // The build is right without it.
        append(path, &span).unwrap_or_else(|error| log::warn!("failed to write `{path}`: {error}"));
    }

    /// For the tasks of one call of the engine, each with the name of its unit.
    pub fn tasks(&self, names: impl Iterator<Item = (Key, String)>) -> Tasks<'_> {
        let rows = names.zip(1..).map(|((key, name), row)| (key, (row, name))).collect();
        Tasks { timings: self, rows, begun: HashMap::new() }
    }
}

/// One line by one write, which the system keeps whole, for others write as well.
fn append(path: &Utf8Path, span: &Span) -> std::io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    if file.metadata()?.len() == 0 {
        // Should two do so: a bracket more is a line that nobody reads.
        file.write_all(b"[\n")?;
    }
    file.write_all(format!("{},\n", serde_json::to_string(span)?).as_bytes())
}

/// The tasks that an engine is at.
pub struct Tasks<'a> {
    timings: &'a Timings,
    rows: HashMap<Key, (u64, String)>,
    begun: HashMap<Key, SystemTime>,
}

impl Tasks<'_> {
    pub fn add(&mut self, event: &Event) {
        let now = SystemTime::now();
        match event {
            Event::Started { key } => {
                self.begun.entry(key.clone()).or_insert(now);
            }
            Event::Ended { key, is_stored } => {
                let (Some((row, name)), Some(start)) = (self.rows.get(key), self.begun.remove(key))
                else {
                    return;
                };
                let phase = if *is_stored { Phase::Cached } else { Phase::Engine };
                self.timings.add_to_row(*row, name, phase, start, now);
            }
            Event::Ready { .. }
            | Event::Embeds { .. }
            | Event::Apart { .. }
            | Event::Printed { .. }
            | Event::Message { .. } => {}
        }
    }
}

/// All spans of a file; lines that are none are passed over.
pub fn read(path: &Utf8Path) -> Result<Vec<Span>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the timings `{path}`"))?;
    let mut spans: Vec<Span> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line.trim_end_matches(',')).ok())
        .collect();
    spans.sort_by_key(|span| span.ts);
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_took() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("trace.json");
        let timings = Timings::to(Some(path.as_str()));
        let names = [("u1", "a"), ("u2", "b")].map(|(key, name)| (key.into(), name.into()));
        let mut tasks = timings.tasks(names.into_iter());
        let started = |key: &str| Event::Started { key: key.to_owned() };
        let ended = |key: &str, is_stored| Event::Ended { key: key.to_owned(), is_stored };
        for event in
            [started("u1"), started("u1"), ended("u1", false), ended("u2", true), started("u9")]
        {
            tasks.add(&event);
        }
        let found: Vec<_> =
            read(&path).unwrap().into_iter().map(|span| (span.name, span.phase)).collect();
        assert_eq!(found, [("a".to_owned(), Phase::Engine)]);
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = format!("{}]", text.trim_end().trim_end_matches(','));
        assert_eq!(
            serde_json::from_str::<Vec<serde_json::Value>>(&whole).unwrap().len(),
            1,
            "{whole}"
        );
    }

    #[test]
    fn no_file_is_no_trouble() {
        Timings::to(None).add("a", Phase::Inputs, SystemTime::now(), SystemTime::now());
        Timings::to(Some("/nonexistent/trace")).add(
            "a",
            Phase::Inputs,
            SystemTime::now(),
            SystemTime::now(),
        );
        assert!(read(Utf8Path::new("/nonexistent/trace")).is_err());
    }
}
