//! One call of the engine for many steps: what is sent, what turns out to be lacking, and what
//! comes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter, PipeReader},
    time::SystemTime,
};

use anyhow::{Context as _, Result, anyhow, bail};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use super::{FALLBACK, Session, build_id, millis_since};
use crate::{
    config::jobs::Jobs,
    engine::{
        client::Event,
        worker::{self, pack::Writer},
    },
    step::{
        layout::FILES,
        plan::{self, Mounted},
        protocol::{Batch, Input, Source, Wanted},
        spec::{Context, Step},
    },
    store::{
        archive::{self, Archive},
        local::Store,
    },
    unit::path_map::all_sentinels,
    util::{disk::OnDisk, process},
};

/// Beside the outcomes: the folder of what the worker reports to its client.
const REPORT: &str = "report";
/// In the report: the names of what the worker lacks.
const LACKING: &str = "lacking";
/// In the report: the keys of tasks that could not run beside the others, and why.
const APART: &str = "apart";
/// How often a call is made again with what it lacks. What was sent may have been evicted since.
const ATTEMPTS: usize = 4;

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
    fn needed_outcomes(&self) -> BTreeSet<&str> {
        let made: BTreeSet<&str> = self.steps.iter().map(|step| step.key.as_str()).collect();
        let needed = self.steps.iter().flat_map(Step::made_from);
        let wanted = self.wanted.iter().map(|wanted| wanted.key.as_str());
        needed.chain(wanted).filter(|key| !made.contains(key)).collect()
    }

    /// What the packs that it needs are made of, by their names.
    fn contexts(&self) -> BTreeMap<&str, &Context> {
        let contexts = self.steps.iter().flat_map(|step| &step.contexts);
        contexts.map(|(name, context)| (name.as_str(), context)).collect()
    }

    /// What the engine is to mount: the heavy packs that it has, where nobody writes, and where
    /// nothing else lies in them.
    fn mounted(&self, engine_has: impl Fn(&str) -> bool) -> Vec<Mounted> {
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
    fn batch(&self, id: &str, limit: u64, mounted: &[Mounted]) -> Batch {
        let jobs = match self.jobs {
            Jobs::All => 0,
            Jobs::AtMost(count) => count,
        };
        Batch {
            id: id.to_owned(),
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

/// What the engine is sent.
struct Given {
    _temp: TempDir,
    folder: Utf8PathBuf,
    /// The names of what is in there, and of what the engine may have all the same.
    sent: Vec<String>,
    /// What the engine had before, and is to mount.
    mounted: Vec<Mounted>,
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
        for _ in 0..ATTEMPTS {
            let given = self.given(&mut call, resolve)?;
            let lacking = match self.perform_once(&call, &given, &mut on_event, &mut each) {
                // Of what it has evicted, nothing can be mounted.
                Err(error) if !given.mounted.is_empty() => {
                    log::info!("{error:#}");
                    given.mounted.iter().map(|mounted| mounted.pack.clone()).collect()
                }
                lacking => lacking?,
            };
            if lacking.is_empty() {
                return Ok(());
            }
            log::info!("{} lacks {}", self.engine.name(), lacking.join(" "));
            lacking.iter().for_each(|name| self.engine_cache.remove(name));
        }
        bail!(
            "failed to build with {}: it loses what it is sent (hint: is its disk full?)",
            self.engine.name()
        )
    }

    /// A folder with all that the engine is not known to have. A step whose outcome is nowhere is
    /// added to the call.
    fn given(&self, call: &mut Call, resolve: &dyn Fn(&str) -> Option<Step>) -> Result<Given> {
        let temp = self.cache.temp_dir()?;
        let folder = Utf8PathBuf::from_path_buf(temp.path().to_owned()).ok();
        let folder = folder.context("the cache folder's name is not UTF-8")?.join(call.name);
        let (packs, outcomes) = (folder.join("packs"), folder.join("outcomes"));
        for folder in [&folder, &packs, &outcomes] {
            fs::create_dir(folder).on_disk(folder, || format!("failed to make `{folder}`"))?;
        }
        let mut sent = Vec::new();
        loop {
            let missing = call
                .needed_outcomes()
                .into_iter()
                .find(|key| !self.engine_cache.has(key) && !sent.iter().any(|sent| sent == key));
            let Some(key) = missing.map(str::to_owned) else { break };
            if self.send_outcome(&key, &outcomes)? {
                sent.push(key);
            } else if let Some(step) = resolve(&key) {
                call.steps.insert(0, step);
            } else {
                // The engine may have it all the same.
                sent.push(key);
            }
        }
        let mounted = call.mounted(|name| self.engine_cache.has(name));
        for (name, Context { folder, .. }) in call.contexts() {
            if self.engine_cache.has(name) || !folder.exists() {
                continue;
            }
            write_pack(folder, &packs.join(name))?;
            sent.push(name.to_owned());
        }
        log::info!("{} is sent {}", self.engine.name(), sent.join(" "));
        Ok(Given { _temp: temp, folder, sent, mounted })
    }

    /// Sends an outcome, as a pack in a folder; returns whether the store has it.
    fn send_outcome(&self, key: &str, outcomes: &Utf8Path) -> Result<bool> {
        let folder = outcomes.join(format!("{key}-files"));
        let Some(received) = self.store().get(key, &folder) else { return Ok(false) };
        received.outcome.write(&folder)?;
        received.files.replace_folder(&folder.join(FILES))?;
        write_pack(&folder, &outcomes.join(key))?;
        // Its folder is temporary, and beside the one that is removed.
        drop(received);
        fs::remove_dir_all(&folder).on_disk(&folder, || format!("failed to remove `{folder}`"))?;
        Ok(true)
    }

    /// Makes one call; returns the names of what the engine lacks for it.
    fn perform_once(
        &self,
        call: &Call,
        given: &Given,
        on_event: &mut impl FnMut(Event),
        each: &mut (impl FnMut(&str, File) -> Result<()> + Send),
    ) -> Result<Vec<String>> {
        let path = given.folder.join("batch");
        let batch = call.batch(&build_id(), self.config.engine_store_size, &given.mounted);
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
        for line in lines(APART) {
            let (_, why) = line.split_once(' ').unwrap_or(("", &line));
            self.slow(FALLBACK, &anyhow!("{why}"));
        }
        let lacking = lines(LACKING);
        if lacking.is_empty() {
            given.sent.iter().try_for_each(|name| self.engine_cache.add(name))?;
        }
        Ok(lacking)
    }
}

/// Packs what is in a folder into a file.
fn write_pack(folder: &Utf8Path, path: &Utf8Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut pack = Writer::new(BufWriter::new(File::create(path)?));
        pack.tree(folder.as_std_path(), "")?;
        pack.finish().map(drop)
    };
    write().on_disk(path, || format!("failed to write `{path}`"))
}
