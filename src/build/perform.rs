//! Carries out a call of the engine: what turns out to be lacking is sent, and what comes back is
//! handed on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, PipeReader},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Result, anyhow, bail};

use super::{FALLBACK, Session, build_id, call::Call, given::Given, millis_since};
use crate::{
    engine::{client::Event, worker},
    snapshot::copy,
    step::{
        plan,
        protocol::{ALONE, APART, LACKING, REPORT, STORE},
        spec::{Context, Step},
    },
    store::archive::{self, Archive},
    util::{disk::OnDisk, process},
};

/// How often a call is made again with what it lacks. What was sent may have been evicted since.
const ATTEMPTS: usize = 4;
/// How long to wait for the engine to mount the store that is counted on. While Docker measures it,
/// that is some tenths of a second, BuildKit mounts another one instead.
const WAITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// What the worker answers, beside outcomes.
struct Answer {
    /// The number of the store that it has.
    store: String,
    /// The names of what it lacks.
    lacking: Vec<String>,
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
        let (mut may_mount, mut failures) = (true, 0);
        let (mut counted_on, mut waits) = (self.engine_cache.store(), WAITS.iter());
        while failures < ATTEMPTS {
            let mut given = self.given(&mut call, resolve)?;
            if !may_mount {
                given.mounted.clear();
            }
            let store = counted_on.as_deref();
            let answer = match self.perform_once(&call, &given, store, &mut on_event, &mut each) {
                // Of what the engine has evicted, nothing can be mounted.
                Err(error) if !given.mounted.is_empty() => {
                    log::info!("{error:#}");
                    (may_mount, failures) = (false, failures + 1);
                    continue;
                }
                answer => answer?,
            };
            if store.is_some_and(|store| store != answer.store) {
                log::info!("{} has mounted another store", self.engine.name());
                match waits.next() {
                    Some(wait) => thread::sleep(*wait),
                    None => {
                        counted_on = None;
                        self.engine_cache.forget()?;
                    }
                }
                continue;
            }
            self.engine_cache.count_on(&answer.store)?;
            if answer.lacking.is_empty() {
                return given.sent.iter().try_for_each(|name| self.engine_cache.add(name));
            }
            log::info!("{} lacks {}", self.engine.name(), answer.lacking.join(" "));
            answer.lacking.iter().for_each(|name| self.engine_cache.remove(name));
            failures += 1;
        }
        bail!(
            "failed to build with {}: it loses what it is sent (hint: is its disk full?)",
            self.engine.name()
        )
    }

    /// Sends the engine the heavy packs that it lacks, in a call of their own: the call that needs
    /// them can mount them then.
    fn upload(&self, call: &Call) -> Result<()> {
        let lacks = |(name, context): &(&str, &Context)| {
            context.is_heavy && !self.engine_cache.has(name) && context.folder.exists()
        };
        let heavy: Vec<(&str, &Context)> = call.contexts().into_iter().filter(lacks).collect();
        if heavy.is_empty() {
            return Ok(());
        }
        let upload = Call { name: "sources", steps: vec![], wanted: vec![], jobs: call.jobs };
        // The engine may have lost what they are based on.
        for with_base in [true, false] {
            let mut given = Given::new(upload.name, &self.cache)?;
            for (name, Context { folder, .. }) in &heavy {
                let base = copy::base_of(name, &self.cache);
                let base = base.filter(|base| with_base && self.engine_cache.has(base));
                given.add_pack(name, folder, base.as_deref(), &self.cache)?;
            }
            let store = self.engine_cache.store();
            let answer =
                self.perform_once(&upload, &given, store.as_deref(), &mut |_| (), &mut |_, _| {
                    Ok(())
                })?;
            // Otherwise the call itself finds out what is lacking.
            if answer.lacking.is_empty() && store.is_none_or(|store| store == answer.store) {
                self.engine_cache.count_on(&answer.store)?;
                return given.sent.iter().try_for_each(|name| self.engine_cache.add(name));
            }
        }
        Ok(())
    }

    /// Makes one call, which does nothing if it does not get the store that is counted on.
    fn perform_once(
        &self,
        call: &Call,
        given: &Given,
        store: Option<&str>,
        on_event: &mut impl FnMut(Event),
        each: &mut (impl FnMut(&str, File) -> Result<()> + Send),
    ) -> Result<Answer> {
        log::info!("{} is sent {}", self.engine.name(), given.sent.join(" "));
        let path = given.folder.join("batch");
        let limit = self.config.engine_store_size;
        let batch = call.batch(&build_id(), store.unwrap_or_default(), limit, &given.mounted);
        fs::write(&path, batch.encode()).on_disk(&path, || format!("failed to write `{path}`"))?;
        let (source, style) = (worker::source(&self.cache)?, self.style());
        let Given { folder, mounted, .. } = given;
        let plan = plan::batch(&self.image, &source, folder, mounted, call.secrets(), style);
        let (cmd, purpose) = (self.engine.build(&plan, self.variables(call.jobs)), call.purpose());
        log::debug!("{purpose}\n{cmd}");
        let (begun, mut watch) = (SystemTime::now(), self.engine.watch());
        let (mut messages, mut report) = (Vec::new(), BTreeMap::new());
        let receive = |mut archive: PipeReader| {
            let received = archive::split(&mut archive, |name, file| match name {
                REPORT => {
                    report = Archive::new(file).files()?;
                    Ok(())
                }
                key => each(key, file),
            });
            // The engine's client would complain of what is no longer read.
            let _ = io::copy(&mut archive, &mut io::sink());
            received
        };
        let watch = |line: &str| {
            for event in watch(line) {
                match event {
                    Event::Message { text } => messages.push(text),
                    event => on_event(event),
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
        Ok(Answer { store: lines(STORE).concat(), lacking: lines(LACKING) })
    }
}
