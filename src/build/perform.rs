//! Carries out a call of the engine: what turns out to be lacking is sent, and what comes back is
//! handed on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, PipeReader, Seek},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Result, anyhow, bail};

use super::{FALLBACK, Session, build_id, call::Call, given::Given, millis_since};
use crate::{
    config::jobs::Jobs,
    engine::{client::Event, result::each_file, worker},
    step::{
        key::Key,
        plan,
        protocol::{ALONE, APART, INVENTORY, LACKING, REPORT, STORE, on_one_line},
        spec::Step,
    },
    util::{
        disk::{self, OnDisk},
        process,
    },
};

/// How often a call is made again with what it lacks. What was sent may have been evicted since.
const ATTEMPTS: usize = 4;
/// How long to wait for the engine to mount the store that is expected. While Docker measures it,
/// that is some tenths of a second, BuildKit mounts another one instead.
const WAITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// What the worker answers, beside outcomes.
struct Answer {
    /// The number of the store that it has.
    store: String,
    /// The names of what it lacks.
    lacking: Vec<String>,
    /// A line for each name that it has, where it was asked for that.
    inventory: Vec<String>,
}

impl Session<'_> {
    /// Has the engine carry out a call, and sends what the engine turns out to lack. `each` gets
    /// the outcomes, by their keys. `resolve` returns the step of a key, to be made again if
    /// neither the store nor the engine has its outcome any more.
    pub(super) fn perform(
        &self,
        mut call: Call,
        resolve: &dyn Fn(&str) -> Option<Step>,
        mut on_event: impl FnMut(Event),
        mut each: impl FnMut(&str, File) -> Result<()> + Send,
    ) -> Result<()> {
        self.upload(&call)?;
        let mut may_mount = true;
        for _ in 0..ATTEMPTS {
            let mut given = self.given(&mut call, resolve)?;
            if !may_mount {
                given.mounted.clear();
            }
            let lacking = match self.perform_on_store(&call, &given, &mut on_event, &mut each) {
                // Of what the engine has evicted, nothing can be mounted.
                Err(error) if !given.mounted.is_empty() => {
                    log::info!("{error:#}");
                    may_mount = false;
                    continue;
                }
                lacking => lacking?,
            };
            if self.note(&given, &lacking)? {
                return Ok(());
            }
        }
        bail!(
            "failed to build with {}: it loses what it is sent (hint: is its disk full?)",
            self.engine.name()
        )
    }

    /// What build scripts printed whose outcomes the engine has, by their keys. It is only asked if
    /// nothing is known of it: on a new machine, or if it is new itself. From then on it is known
    /// to have what it lists.
    pub fn inventory(&self) -> Result<HashMap<Key, String>> {
        if self.engine_cache.store().is_some() {
            return Ok(HashMap::new());
        }
        let call = Call { is_inventory: true, ..Call::new("inventory", Jobs::All) };
        let given = Given::new(call.name, &self.cache)?;
        let answer = self.perform_once(&call, &given, None, &mut |_| (), &mut |_, _| Ok(()))?;
        self.engine_cache.expect(&answer.store)?;
        let (mut names, mut printed) = (HashSet::new(), HashMap::new());
        for line in answer.inventory {
            let (name, text) = line.split_once(' ').unwrap_or((&line, ""));
            printed.extend(on_one_line(text).map(|text| (name.to_owned(), text)));
            names.insert(name.to_owned());
        }
        log::info!("{} has {} outcomes and packs", self.engine.name(), names.len());
        self.engine_cache.list(names);
        Ok(printed)
    }

    /// Sends the engine the heavy packs that it lacks and could mount, in a call of their own, so
    /// that the call which needs them can mount them. Whatever is still lacking then, that call is
    /// told.
    fn upload(&self, call: &Call) -> Result<()> {
        let mountable = call.mountable(|name| !self.engine_cache.has(name));
        if mountable.is_empty() {
            return Ok(());
        }
        let upload = Call::new("sources", call.jobs);
        let mut given = Given::new(upload.name, &self.cache)?;
        let packs: BTreeSet<&str> = mountable.iter().map(|mounted| mounted.pack.as_str()).collect();
        let contexts = call.contexts();
        packs.into_iter().try_for_each(|name| self.add_pack(&mut given, name, contexts[name]))?;
        if given.sent.is_empty() {
            return Ok(());
        }
        let lacking = self.perform_on_store(&upload, &given, &mut |_| (), &mut |_, _| Ok(()))?;
        self.note(&given, &lacking).map(drop)
    }

    /// Takes note of what the engine has after a call that found these names lacking; returns
    /// whether there were none.
    fn note(&self, given: &Given, lacking: &[String]) -> Result<bool> {
        if lacking.is_empty() {
            given.sent.iter().try_for_each(|name| self.engine_cache.add(name))?;
            return Ok(true);
        }
        log::info!("{} lacks {}", self.engine.name(), lacking.join(" "));
        // What a pack is based on may be what is lacking.
        lacking.iter().chain(&given.bases).for_each(|name| self.engine_cache.remove(name));
        Ok(false)
    }

    /// Takes note of what the engine has while a call is still at work.
    fn note_ready(&self, given: &Given, expected: Option<&str>, store: &str) -> Result<()> {
        if expected.is_none_or(|expected| expected == store) {
            self.engine_cache.expect(store)?;
            self.note(given, &[])?;
        }
        Ok(())
    }

    /// Makes a call on the store that is expected, or, if the engine does not mount that for a
    /// while, on the one that it has. Returns the names of what the engine lacks for the call.
    fn perform_on_store(
        &self,
        call: &Call,
        given: &Given,
        on_event: &mut impl FnMut(Event),
        each: &mut (impl FnMut(&str, File) -> Result<()> + Send),
    ) -> Result<Vec<String>> {
        let (mut expected, mut waits) = (self.engine_cache.store(), WAITS.iter());
        loop {
            let answer = self.perform_once(call, given, expected.as_deref(), on_event, each)?;
            if expected.is_none_or(|expected| expected == answer.store) {
                self.engine_cache.expect(&answer.store)?;
                return Ok(answer.lacking);
            }
            log::info!("{} has mounted another store", self.engine.name());
            expected = match waits.next() {
                Some(wait) => {
                    thread::sleep(*wait);
                    self.engine_cache.store()
                }
                None => {
                    self.engine_cache.forget()?;
                    None
                }
            };
        }
    }

    /// Makes one call, which does nothing if it does not get the store that is expected.
    fn perform_once(
        &self,
        call: &Call,
        given: &Given,
        expected: Option<&str>,
        on_event: &mut impl FnMut(Event),
        each: &mut (impl FnMut(&str, File) -> Result<()> + Send),
    ) -> Result<Answer> {
        log::info!("{} is sent {}", self.engine.name(), given.sent.join(" "));
        let path = given.folder.join("batch");
        let limit = self.config.engine_store_size;
        let batch = call.batch(&build_id(), expected.unwrap_or_default(), limit, &given.mounted);
        fs::write(&path, batch.encode()).on_disk(&path, || format!("failed to write `{path}`"))?;
        let (source, style) = (worker::source(&self.cache)?, self.style());
        let Given { folder, mounted, .. } = given;
        let plan = plan::batch(&self.image, &source, folder, mounted, call.secrets(), style);
        let (cmd, purpose) = (self.engine.build(&plan, self.variables(call.jobs)), call.purpose());
        log::debug!("{purpose}\n{cmd}");
        let (begun, mut watch) = (SystemTime::now(), self.engine.watch());
        let (mut messages, mut report) = (Vec::new(), BTreeMap::<String, Vec<u8>>::new());
        let receive = |mut result: PipeReader| {
            let received = each_file(&mut result, |path, bytes| {
                if let Ok(name) = path.strip_prefix(REPORT) {
                    io::copy(bytes, report.entry(name.to_string()).or_default())?;
                    return Ok(());
                }
                let mut file = disk::temporary(tempfile::tempfile())?;
                disk::temporary(io::copy(bytes, &mut file))?;
                file.rewind()?;
                each(path.as_str(), file)
            });
            // The engine's client would complain of what is no longer read.
            let _ = io::copy(&mut result, &mut io::sink());
            received
        };
        let watch = |line: &str| {
            for event in watch(line) {
                match event {
                    Event::Message { text } => messages.push(text),
                    event => {
                        if let Event::Ready { store } = &event {
                            // What other calls are sent beside this one depends on it.
                            let noted = self.note_ready(given, expected, store);
                            noted.unwrap_or_else(|error| log::warn!("{error:#}"));
                        }
                        on_event(event);
                    }
                }
            }
        };
        let finished = process::run_watched(&cmd, watch, receive)?;
        log::info!("{} took {} ms to {purpose}", self.engine.name(), millis_since(begun));
        log::debug!("{}", finished.stderr);
        self.engine.check(&finished, &purpose).map_err(|error| match messages.is_empty() {
            true => error,
            false => error.context(messages.join("\n")),
        })?;
        finished.stdout?;
        let lines = |name: &str| -> Vec<String> {
            let text =
                report.get(name).map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        lines(APART).iter().for_each(|line| log::info!("apart: {line}"));
        for line in lines(ALONE) {
            let (_, why) = line.split_once(' ').unwrap_or(("", &line));
            self.slow(FALLBACK, &anyhow!("{why}"));
        }
        let (lacking, inventory) = (lines(LACKING), lines(INVENTORY));
        Ok(Answer { store: lines(STORE).concat(), lacking, inventory })
    }
}
