//! Where the time of a build goes: what each unit waited for, in the file of `RUSTCBUILDX_TIMINGS`.
//!
//! The file is a Chrome trace, which `about:tracing` and Perfetto show; each process of a build
//! adds its own lines. `rustcbuildx timings` ([`crate::cli`]) makes a page of it.
//!
//! Source of the format: "Trace Event Format", the JSON array, whose last bracket may be missing.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    engine::client::Event,
    step::{key::Key, spec::Step},
};

/// What took the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The dry run.
    DryRun,
    /// Finding and digesting what a unit reads.
    Inputs,
    /// From the call of the engine to the worker's start.
    Call,
    /// A unit's task, or the call of the engine for it alone.
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
    #[serde(default, skip_serializing_if = "Args::is_empty")]
    pub args: Args,
}

/// What more is known of a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Args {
    /// Of a unit's task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The keys of what it is made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Key>,
    /// Of a call: how many tasks the engine runs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<usize>,
}

impl Args {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Of the task of a step.
    pub fn of(step: &Step) -> Self {
        let needs: BTreeSet<Key> = step.made_from().map(str::to_owned).collect();
        Self { key: Some(step.key.clone()), needs: needs.into_iter().collect(), processors: None }
    }
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
        self.add_with(Args::default(), 0, name, phase, [start, end]);
    }

    /// Adds the call of the engine that made a step by itself.
    pub fn add_made(&self, step: &Step, name: &str, start: SystemTime, end: SystemTime) {
        self.add_with(Args::of(step), 0, name, Phase::Engine, [start, end]);
    }

    fn add_with(
        &self,
        args: Args,
        tid: u64,
        name: &str,
        phase: Phase,
        [start, end]: [SystemTime; 2],
    ) {
        let Some(path) = &self.path else { return };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let ts = micros(start.duration_since(UNIX_EPOCH).unwrap_or_default());
        let dur = micros(end.duration_since(start).unwrap_or_default());
        let (name, pid) = (name.to_owned(), std::process::id());
        let span = Span { name, phase, ph: 'X', ts, dur, pid, tid, args };
        // The build is right without it.
        append(path, &span).unwrap_or_else(|error| log::warn!("failed to write `{path}`: {error}"));
    }

    /// For the tasks of a call of the engine that begins now and runs so many at once, each with
    /// the name of its unit.
    pub fn tasks(
        &self,
        processors: usize,
        tasks: impl Iterator<Item = (Args, String)>,
    ) -> Tasks<'_> {
        let rows = tasks
            .zip(1..)
            .filter_map(|((args, name), row)| Some((args.key.clone()?, Row { row, name, args })));
        // To find out what tasks need takes a while.
        let rows = if self.path.is_some() { rows.collect() } else { HashMap::new() };
        let begun = HashMap::new();
        Tasks { timings: self, processors, called: Some(SystemTime::now()), rows, begun }
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
    processors: usize,
    /// Until the worker has started.
    called: Option<SystemTime>,
    rows: HashMap<Key, Row>,
    begun: HashMap<Key, SystemTime>,
}

struct Row {
    row: u64,
    name: String,
    args: Args,
}

impl Tasks<'_> {
    pub fn add(&mut self, event: &Event) {
        let now = SystemTime::now();
        match event {
            Event::Started { key } => {
                self.begun.entry(key.clone()).or_insert(now);
            }
            Event::Ended { key, is_stored } => {
                let (Some(Row { row, name, args }), Some(start)) =
                    (self.rows.get(key), self.begun.remove(key))
                else {
                    return;
                };
                let phase = if *is_stored { Phase::Cached } else { Phase::Engine };
                self.timings.add_with(args.clone(), *row, name, phase, [start, now]);
            }
            Event::Ready { .. } => {
                let Some(called) = self.called.take() else { return };
                let args = Args { processors: Some(self.processors), ..Args::default() };
                let name = format!("call of {}", self.rows.len());
                self.timings.add_with(args, 0, &name, Phase::Call, [called, now]);
            }
            Event::Embeds { .. }
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
pub mod tests {
    use super::*;

    /// With times in microseconds.
    pub fn span(name: &str, phase: Phase, ts: u64, dur: u64) -> Span {
        let (name, args) = (name.to_owned(), Args::default());
        Span { name, phase, ph: 'X', ts, dur, pid: 1, tid: 0, args }
    }

    #[test]
    fn what_a_task_took() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("trace.json");
        let timings = Timings::to(Some(path.as_str()));
        let args = |key: &str| Args { key: Some(key.to_owned()), ..Args::default() };
        let named = [("u1", "a"), ("u2", "b")].map(|(key, name)| (args(key), name.to_owned()));
        let mut tasks = timings.tasks(4, named.into_iter());
        let ready = || Event::Ready { store: String::new() };
        let started = |key: &str| Event::Started { key: key.to_owned() };
        let ended = |key: &str, is_stored| Event::Ended { key: key.to_owned(), is_stored };
        for event in
            [ready(), started("u1"), started("u1"), ended("u1", false), ended("u2", true), ready()]
        {
            tasks.add(&event);
        }
        let spans = read(&path).unwrap();
        let found: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.phase)).collect();
        assert_eq!(found, [("call of 2", Phase::Call), ("a", Phase::Engine)]);
        assert_eq!(spans[0].args.processors, Some(4));
        assert_eq!(spans[1].args, args("u1"));
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = format!("{}]", text.trim_end().trim_end_matches(','));
        assert_eq!(
            serde_json::from_str::<Vec<serde_json::Value>>(&whole).unwrap().len(),
            2,
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
