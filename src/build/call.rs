//! One call of the engine for many steps: what is sent, what turns out to be lacking, and what
//! comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, PipeReader},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Result, anyhow, bail};
use camino::Utf8Path;

use super::{FALLBACK, Session, build_id, given::Given, millis_since};
use crate::{
    config::jobs::Jobs,
    engine::{client::Event, worker},
    snapshot::copy,
    step::{
        plan::{self, Mounted},
        protocol::{Batch, Input, Source, Wanted},
        spec::{Context, Step},
    },
    store::archive::{self, Archive},
    unit::path_map::all_sentinels,
    util::{disk::OnDisk, process},
};

/// Beside the outcomes: the folder of what the worker reports to its client.
const REPORT: &str = "report";
/// In the report: the number of the worker's store.
const STORE: &str = "store";
/// In the report: the names of what the worker lacks.
const LACKING: &str = "lacking";
/// In the report: the keys of tasks that could not run beside the others of the batch, and why.
const APART: &str = "apart";
/// In the report: the keys of tasks that cannot run beside any others, and why.
const ALONE: &str = "alone";
/// How often a call is made again with what it lacks. What was sent may have been evicted since.
const ATTEMPTS: usize = 4;
/// How long to wait for the engine to mount the store that is counted on. While Docker measures it,
/// that is some tenths of a second, BuildKit mounts another one instead.
const WAITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// How many mounts a call has at most: each takes the engine some hundredths of a second.
const MOST_MOUNTED: usize = 16;

/// What is to be done in one call.
pub(super) struct Call {
    /// The name of the folder that is sent, for whoever reads the engine's command.
    pub name: &'static str,
    /// Each step comes after those that it is made from.
    pub steps: Vec<Step>,
    pub wanted: Vec<Wanted>,
    pub jobs: Jobs,
}

impl Call {
    /// For one step, whose outcome is wanted whole.
    pub fn of(step: Step) -> Self {
        let wanted = Wanted { key: step.key.clone(), is_deferred: false };
        Self { name: "unit", steps: vec![step], wanted: vec![wanted], jobs: Jobs::All }
    }

    /// The outcomes that it needs and does not make.
    pub fn needed_outcomes(&self) -> BTreeSet<&str> {
        let made: BTreeSet<&str> = self.steps.iter().map(|step| step.key.as_str()).collect();
        let needed = self.steps.iter().flat_map(Step::made_from);
        let wanted = self.wanted.iter().map(|wanted| wanted.key.as_str());
        needed.chain(wanted).filter(|key| !made.contains(key)).collect()
    }

    /// What the packs that it needs are made of, by their names.
    pub fn contexts(&self) -> BTreeMap<&str, &Context> {
        let contexts = self.steps.iter().flat_map(|step| &step.contexts);
        contexts.map(|(name, context)| (name.as_str(), context)).collect()
    }

    /// What the engine is to mount: the heavy packs that it has, where nobody writes, and where
    /// nothing else lies in them.
    pub fn mounted(&self, engine_has: impl Fn(&str) -> bool) -> Vec<Mounted> {
        let contexts = self.contexts();
        let inputs: Vec<&Input> = self.steps.iter().flat_map(|step| &step.task.inputs).collect();
        let outs = self.steps.iter().map(|step| step.task.out.as_str());
        let places: BTreeSet<&Utf8Path> =
            inputs.iter().map(|input| input.target.as_str()).chain(outs).map(Into::into).collect();
        let is_free = |input: &Input| {
            let target = Utf8Path::new(&input.target);
            let same = |other: &&Input| (&other.from, &other.path) == (&input.from, &input.path);
            Mounted::is_possible_at(&input.target)
                && !places.iter().any(|place| *place != target && place.starts_with(target))
                && inputs
                    .iter()
                    .filter(|other| other.target == input.target)
                    .all(|other| same(other) && !other.is_writable)
        };
        let mut mounted = BTreeMap::new();
        for input in &inputs {
            let (Source::Pack(name), target) = (&input.from, &input.target) else { continue };
            let is_heavy = contexts.get(name.as_str()).is_some_and(|context| context.is_heavy);
            if is_heavy && engine_has(name) && !mounted.contains_key(target) && is_free(input) {
                let (pack, path, target) = (name.clone(), input.path.clone(), target.clone());
                mounted.insert(input.target.clone(), Mounted { pack, path, target });
            }
        }
        if mounted.len() > MOST_MOUNTED { vec![] } else { mounted.into_values().collect() }
    }

    /// The names of the secret variables that its tasks get.
    fn secrets(&self) -> BTreeSet<String> {
        let secrets = self.steps.iter().flat_map(|step| &step.task.secrets);
        secrets.map(|(name, _)| name.clone()).collect()
    }

    /// What the worker is told, whose store may take `limit` bytes.
    fn batch(&self, id: &str, store: &str, limit: u64, mounted: &[Mounted]) -> Batch {
        let jobs = match self.jobs {
            Jobs::All => 0,
            Jobs::AtMost(count) => count,
        };
        Batch {
            id: id.to_owned(),
            store: store.to_owned(),
            jobs,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            tasks: self.steps.iter().map(|step| step.task.clone()).collect(),
            wanted: self.wanted.clone(),
            sentinels: all_sentinels().to_vec(),
            mounted: mounted.iter().map(|mounted| mounted.target.clone()).collect(),
        }
    }

    /// What it does, for messages: `build …`.
    fn purpose(&self) -> String {
        match &self.steps[..] {
            [step] => format!("build {}", step.task.name),
            steps => format!("build {} units", steps.len()),
        }
    }
}

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
        self.supply(&call)?;
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
                    None => counted_on = None,
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
    fn supply(&self, call: &Call) -> Result<()> {
        let lacks = |(name, context): &(&str, &Context)| {
            context.is_heavy && !self.engine_cache.has(name) && context.folder.exists()
        };
        let heavy: Vec<(&str, &Context)> = call.contexts().into_iter().filter(lacks).collect();
        if heavy.is_empty() {
            return Ok(());
        }
        let supply = Call { name: "sources", steps: vec![], wanted: vec![], jobs: call.jobs };
        // The engine may have lost what they are based on.
        for with_base in [true, false] {
            let mut given = Given::new(supply.name, &self.cache)?;
            for (name, Context { folder, .. }) in &heavy {
                let base = copy::base_of(name, &self.cache);
                let base = base.filter(|base| with_base && self.engine_cache.has(base));
                given.add_pack(name, folder, base.as_deref(), &self.cache)?;
            }
            let store = self.engine_cache.store();
            let answer =
                self.perform_once(&supply, &given, store.as_deref(), &mut |_| (), &mut |_, _| {
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
