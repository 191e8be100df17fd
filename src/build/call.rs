//! One call of the engine for many steps: what it is to do.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use super::build_id;
use crate::{
    config::jobs::Jobs,
    step::{
        key::Key,
        plan::Mounted,
        protocol::{Batch, Input, Source, Wanted},
        spec::{Context, Step},
    },
    unit::path_map::all_sentinels,
};

/// How many mounts a call has at most: each takes the engine some hundredths of a second.
const MOST_MOUNTED: usize = 16;

/// What is to be done in one call.
pub(super) struct Call {
    /// The name of the folder that is sent, for whoever reads the engine's command.
    pub name: &'static str,
    /// What other calls know it by.
    pub id: String,
    /// Those that run at the same time, and what of theirs its steps are made from.
    pub beside: Vec<String>,
    pub awaited: BTreeSet<Key>,
    /// Each step comes after those that it is made from.
    pub steps: Vec<Step>,
    /// How long the longest chain is that begins with a unit, in units, where more are known of
    /// than these steps make.
    pub chains: Vec<(Key, usize)>,
    pub wanted: Vec<Wanted>,
    pub jobs: Jobs,
    /// Whether the engine is to list all that it has.
    pub is_inventory: bool,
}

impl Call {
    /// For one step, whose outcome is wanted whole.
    pub fn of(step: Step) -> Self {
        let wanted = Wanted { key: step.key.clone(), is_deferred: false };
        Self { steps: vec![step], wanted: vec![wanted], ..Self::new("unit", Jobs::All) }
    }

    /// For nothing yet.
    pub fn new(name: &'static str, jobs: Jobs) -> Self {
        let (beside, awaited, steps, chains, wanted) = Default::default();
        Self {
            name,
            id: build_id(),
            beside,
            awaited,
            steps,
            chains,
            wanted,
            jobs,
            is_inventory: false,
        }
    }

    /// The outcomes that it needs, and that are made neither here nor by a call beside it.
    pub fn needed_outcomes(&self) -> BTreeSet<&str> {
        let made: BTreeSet<&str> = self.steps.iter().map(|step| step.key.as_str()).collect();
        let needed = self.steps.iter().flat_map(Step::made_from);
        let wanted = self.wanted.iter().map(|wanted| wanted.key.as_str());
        let is_made = |key: &&str| made.contains(key) || self.awaited.contains(*key);
        needed.chain(wanted).filter(|key| !is_made(key)).collect()
    }

    /// What the packs that it needs are made of, by their names.
    pub fn contexts(&self) -> BTreeMap<&str, &Context> {
        let contexts = self.steps.iter().flat_map(|step| &step.contexts);
        contexts.map(|(name, context)| (name.as_str(), context)).collect()
    }

    /// What an engine can mount of packs: the heavy ones, where nobody writes, and where nothing
    /// else lies in them. Of what is too much, the rest is copied.
    pub fn mountable(&self, is_asked_for: impl Fn(&str) -> bool) -> Vec<Mounted> {
        let is_heavy = |(name, context): &(&str, &Context)| context.is_heavy && is_asked_for(name);
        let heavy = self.contexts().into_iter().filter(is_heavy);
        let heavy: BTreeSet<&str> = heavy.map(|(name, _)| name).collect();
        if heavy.is_empty() {
            return vec![];
        }
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
            let is_heavy = heavy.contains(name.as_str());
            if is_heavy && !mounted.contains_key(target) && is_free(input) {
                let (pack, path, target) = (name.clone(), input.path.clone(), target.clone());
                mounted.insert(input.target.clone(), Mounted { pack, path, target });
            }
        }
        mounted.into_values().take(MOST_MOUNTED).collect()
    }

    /// The names of the secret variables that its tasks get.
    pub fn secrets(&self) -> BTreeSet<String> {
        let secrets = self.steps.iter().flat_map(|step| &step.task.secrets);
        secrets.map(|(name, _)| name.clone()).collect()
    }

    /// What the worker is told, whose store may take `limit` bytes.
    pub fn batch(&self, id: &str, store: &str, limit: u64, mounted: &[Mounted]) -> Batch {
        let jobs = match self.jobs {
            Jobs::All => 0,
            Jobs::AtMost(count) => count,
        };
        Batch {
            id: id.to_owned(),
            call: self.id.clone(),
            beside: self.beside.clone(),
            awaited: self.awaited.iter().cloned().collect(),
            store: store.to_owned(),
            jobs,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            chains: self.chains.clone(),
            tasks: self.steps.iter().map(|step| step.task.clone()).collect(),
            wanted: self.wanted.clone(),
            sentinels: all_sentinels().to_vec(),
            mounted: mounted.iter().map(|mounted| mounted.target.clone()).collect(),
            is_inventory: self.is_inventory,
        }
    }

    /// What it does, for messages: `build …`.
    pub fn purpose(&self) -> String {
        match &self.steps[..] {
            _ if self.is_inventory => "list what it has".to_owned(),
            [step] => format!("build {}", step.task.name),
            steps => format!("build {} units", steps.len()),
        }
    }
}
