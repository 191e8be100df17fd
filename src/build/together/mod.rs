//! Many units in one call of the engine: the units of a dry run, as their keys become known, in one
//! batch after the other. The next one begins when the last is nearly done: it has what that made,
//! and the engine computes while outcomes come here.

mod asked;
mod batch;
mod calls;
mod fetched;
mod graph;
mod results;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

pub use self::batch::Ended;
use self::{
    asked::Asked,
    batch::{Batch, Resolved},
    calls::Calls,
};
use super::{FALLBACK, Prepared, Session, is_storable, lookup::Found};
use crate::{
    build::{call::Call, outcome::restore_output},
    config::jobs::Jobs,
    inputs::{Finder, discovered::Discovered},
    planning::{
        directives::{self, BuildOutput},
        reach::{MANY, Reach},
        recorder::Recorder,
        schedule::{Schedule, State},
    },
    step::{
        key::Key,
        protocol::Wanted,
        spec::{self, Output, Step},
    },
    store::{
        about,
        local::Store,
        provenance::{Provenance, ProvenanceRecords},
    },
    target::{deferred, written},
    unit::work::{Unit, Work},
    util::disk::OnDisk,
};

/// A call that has so many units left for each process that may run has much to do.
const MUCH: usize = 4;

/// The units of a dry run.
pub struct Together<'a> {
    session: &'a Session<'a>,
    finder: Finder<'a>,
    /// The target folder of the real run, for which the dry run's stands.
    target: Utf8PathBuf,
    dry_run_target: Utf8PathBuf,
    /// As cargo called for them in the dry run, with placeholders.
    units: Vec<Unit>,
    schedule: Schedule,
    calls: Calls,
    /// Units in calls that are to be made again, with other paths. That takes their outcomes, which
    /// are brought at once.
    embedding: Vec<Key>,
    resolved: HashMap<usize, Resolved>,
    /// The discovered inputs of units, to be remembered once the units are built with them.
    discovered: HashMap<usize, Discovered>,
    /// What build scripts printed, by their output folders.
    build_outputs: HashMap<String, BuildOutput>,
    /// What those printed whose outcomes the engine has, by their keys.
    inventory: HashMap<Key, String>,
    jobs: Jobs,
    /// `None` if there are no remotes.
    remotes: Option<Asked>,
}

impl<'a> Together<'a> {
    pub fn new(
        session: &'a Session<'a>,
        recorder: &'a Recorder,
        target: Utf8PathBuf,
        jobs: Jobs,
        inventory: HashMap<Key, String>,
    ) -> Result<Self> {
        let dry_run_target = recorder.target();
        // Its units may read what another cargo made, as where a test runs cargo.
        let records = ProvenanceRecords::new(&recorder.cache, dry_run_target.clone())
            .after(ProvenanceRecords::new(&session.cache, target.clone()));
        let finder = Finder { cache: &session.cache, records, reader: session.reader() };
        let units = recorder.units()?;
        let schedule = graph::schedule(&units)?;
        let (calls, embedding, resolved, discovered, build_outputs) = Default::default();
        Ok(Self {
            session,
            finder,
            target,
            dry_run_target,
            units,
            schedule,
            calls,
            embedding,
            resolved,
            discovered,
            build_outputs,
            inventory,
            jobs,
            remotes: None,
        })
    }

    /// Whether a plan is of use to the unit that writes to `output` in the real run. It is not
    /// where the plan would make anew what cargo takes for fresh, unless that stayed in an engine
    /// which no longer has it.
    pub fn is_of_use(&self, output: &Utf8Path) -> bool {
        let Some(number) = self.unit_of(output) else { return true };
        let lacking = self.schedule.lacking_below(number);
        lacking.is_empty()
            || lacking.iter().any(|unit| self.session.may_defer(&self.units[*unit], &self.target))
    }

    /// Of each unit that rustc compiles incrementally: how many are missing, in the real run, if it
    /// is.
    pub fn reach(&self) -> Reach {
        let of_edits = self.units.iter().enumerate().filter_map(|(number, unit)| {
            self.session.incremental_state(unit)?;
            let output = unit.output_paths().into_iter().next()?;
            let output = self.target.join(output.strip_prefix(&self.dry_run_target).ok()?);
            // More than many need not be counted.
            Some((output, self.schedule.with_dependents(number).take(MANY).count()))
        });
        of_edits.collect()
    }

    /// Whether the unit that writes to `output` in the real run is still to be built by a call.
    pub fn is_awaited(&self, output: &Utf8Path) -> bool {
        self.unit_of(output).is_some_and(|number| match self.schedule.state(number) {
            State::Fallback | State::Done(_) => false,
            State::Unknown => !self.schedule.is_above_fallback(number),
            State::Missing(_) | State::Fetching(_) | State::InCall(_) => true,
        })
    }

    /// The unit that writes to `output` in the real run.
    fn unit_of(&self, output: &Utf8Path) -> Option<usize> {
        let output = self.dry_run_target.join(output.strip_prefix(&self.target).ok()?);
        self.units.iter().position(|unit| unit.output_paths().contains(&output))
    }

    /// Finds the keys of all units that can be found now, and what the store has of them. Returns
    /// the names of the units that it lacks, by their keys.
    pub fn resolve(&mut self) -> Vec<(Key, String)> {
        let (mut missing, mut is_news) = (Vec::new(), false);
        while let Some(number) = self.schedule.resolvable() {
            is_news = true;
            let mut state = self.resolved_state(number).unwrap_or_else(|error| {
                self.session.slow(FALLBACK, &error);
                State::Fallback
            });
            // More was found out about what it is made from, which changed nothing for it.
            if let State::Missing(key) = &state
                && self.calls.make(key)
            {
                state = State::InCall(key.clone());
            }
            if let State::Missing(key) = &state
                && self.may_be_fetched(number, key)
            {
                state = State::Fetching(key.clone());
            }
            self.schedule.set(number, state.clone());
            let is_fetched = matches!(state, State::Fetching(_));
            if let State::Missing(key) | State::Fetching(key) = state {
                let printed = match is_fetched {
                    // What a remote has was brought with what is known of it.
                    true => about::read(&self.session.cache, &key).and_then(|about| about.printed),
                    false => self.inventory.remove(&key),
                };
                if let Some(printed) = printed {
                    self.note_printed(number, &key, &printed);
                }
                missing.push((key, self.resolved[&number].prepared.unit.name()));
            }
        }
        if is_news {
            log::info!("{}", self.schedule.summary());
        }
        missing
    }

    fn resolved_state(&mut self, number: usize) -> Result<State> {
        let mut unit = self.units[number].clone();
        let config = self.session.config;
        if unit.is_build_script() && config.has_local_script(unit.package_name()) {
            return Ok(State::Fallback);
        }
        directives::fill(&mut unit, |script| self.build_outputs.get(script));
        let mut prepared = self.session.prepare(unit)?;
        if let Some(discovered) = self.discovered.get(&number) {
            prepared.discovered.clone_from(discovered);
            self.session.add_discovered(&mut prepared)?;
        }
        // It writes to folders of others, so the worker runs it alone.
        if !prepared.unit.opened.is_empty() {
            return Ok(State::Fallback);
        }
        let path_map = std::mem::take(&mut prepared.unit.path_map);
        prepared.unit.path_map =
            path_map.with_dry_run_target(self.dry_run_target.clone(), &self.target);
        let mut found = self.session.find(&mut self.finder, &prepared)?;
        if !is_storable(&found.step) {
            return Ok(State::Fallback);
        }
        let mut is_stored = self.session.store().has(&found.step.key);
        if !is_stored {
            // What is sent is copied first, and may have become something else.
            self.finder.reader.copies = true;
            let copied = self.session.find(&mut self.finder, &prepared);
            self.finder.reader.copies = false;
            found = copied?;
            is_stored = self.session.store().has(&found.step.key);
        }
        let is_incremental = !is_stored && found.go_on(self.session);
        let Found { unit, step, .. } = found;
        let mut names = unit.output_files();
        // As those of a folder: the program of a build script comes before its dep-info.
        names.sort();
        let outputs = spec::outputs(&unit, &names);
        let key = step.key.clone();
        let is_done = is_stored
            || self.session.has_deferred(&unit, &self.target, &key)
            || is_incremental
                && (self.session.store().has(&key) || self.is_in_place(&key, &unit, &outputs));
        self.finder.records.save(Provenance::of_step(&step, outputs))?;
        let prepared = Prepared { unit, ..prepared };
        self.resolved.insert(number, Resolved { prepared, step });
        match is_done {
            // A damaged entry is none.
            true => Ok(self.stored(number, key.clone())?.unwrap_or(State::Missing(key))),
            false => Ok(State::Missing(key)),
        }
    }

    /// Whether the real run's outputs of a unit are those of this step. Of what is compiled
    /// incrementally, only the target folder has any for longer than a command.
    fn is_in_place(&self, key: &str, unit: &Unit, outputs: &[Output]) -> bool {
        let mut records = ProvenanceRecords::new(&self.session.cache, self.target.clone());
        let mut made_by =
            |path: &Utf8Path| records.of_path(path).is_some_and(|provenance| provenance.key == key);
        outputs.iter().all(|output| made_by(&unit.path_map.real_path(&output.host)))
    }

    /// The state of a unit whose outcome the store has. What a build script printed is noted for
    /// the units that depend on it. `None` if the store does not have the outcome after all.
    fn stored(&mut self, number: usize, key: Key) -> Result<Option<State>> {
        if let Some(discovered) = self.discovered.get(&number) {
            self.session.remember(&self.resolved[&number].prepared, discovered)?;
        }
        let name = deferred::stored_as(&key);
        let store = self.session.store();
        let told = store.outcome(&key).or_else(|| store.outcome(&name));
        let Some((mut outcome, dep_info)) = told else {
            // What is compiled incrementally may be in place, and nowhere else.
            let is_script = self.units[number].is_build_script();
            return Ok((!is_script).then_some(State::Done(key)));
        };
        let Resolved { prepared, step } = &self.resolved[&number];
        restore_output(&prepared.unit, &mut outcome);
        let more = self.session.read_beyond(prepared, step, &outcome, &dep_info, &BTreeSet::new());
        // What it looked for in vain when it was made may be there by now.
        if more.is_some_and(|more| self.note_discovered(number, more)) {
            return Ok(Some(State::Unknown));
        }
        if !self.units[number].is_build_script() {
            return Ok(Some(State::Done(key)));
        }
        // What is made from it may read what it writes to its package, once cargo has it run.
        if !written::are_there(&outcome.written) {
            return Ok(Some(State::Fallback));
        }
        let is_understood = self.note_output(number, &key, &outcome.stdout)?;
        Ok(Some(if is_understood { State::Done(key) } else { State::Fallback }))
    }

    /// Notes what a build script printed whose outcome is still to come.
    fn note_printed(&mut self, number: usize, key: &str, stdout: &str) {
        match self.note_output(number, key, stdout.as_bytes()) {
            Ok(true) => self.schedule.note_printed(number),
            Ok(false) => {}
            Err(error) => log::warn!("{error:#}"),
        }
    }

    /// Notes what a build script printed, for the units that depend on it. Returns whether all of
    /// it has a placeholder.
    fn note_output(&mut self, number: usize, key: &str, stdout: &[u8]) -> Result<bool> {
        let Work::BuildScript { out_dir, .. } = &self.units[number].work else { return Ok(false) };
        let stdout = self.resolved[&number].prepared.unit.path_map.to_host(stdout);
        let Some(output) = BuildOutput::of(&stdout, out_dir) else { return Ok(false) };
        // A unit that searches them finds the folder that its inputs are in, which is no longer the
        // one it was.
        output
            .own_folders()
            .try_for_each(fs::create_dir_all)
            .on_disk(out_dir, || format!("failed to make folders in `{out_dir}`"))?;
        if let Some(provenance) = self.finder.records.get(key).cloned() {
            self.finder.records.save(provenance)?;
        }
        self.build_outputs.insert(out_dir.to_string(), output);
        Ok(true)
    }

    /// The unit of this key, if a call is building it.
    fn in_call(&self, key: &Key) -> Option<usize> {
        let is_in_call =
            |number: &usize| *self.schedule.state(*number) == State::InCall(key.clone());
        self.schedule.find(key).filter(is_in_call)
    }

    /// Whether some call runs, or a remote is asked.
    pub fn is_at_work(&self) -> bool {
        !self.calls.is_empty() || !self.schedule.fetching().is_empty()
    }

    /// All units that can be built now; `None` if there are none, or if the calls that run still
    /// have more to do: the longer it is waited, the more go into the next one.
    pub fn next_batch(&mut self) -> Option<Batch> {
        // One call brings what many of them have come to by the end of the last.
        if !self.calls.is_one_bringing() {
            let embedding = std::mem::take(&mut self.embedding);
            let still: Vec<usize> = embedding.iter().filter_map(|key| self.in_call(key)).collect();
            if !still.is_empty() {
                return Some(self.batch(&still, vec![]));
            }
        }
        let numbers = self.schedule.missing();
        let processors = self.session.processors();
        let jobs = self.jobs.number(processors);
        // Calls share the processors, but none knows how many processes another one runs.
        let much = if jobs < processors { 0 } else { MUCH * jobs };
        if !self.calls.have_room_for(numbers.len(), much) {
            return None;
        }
        let steps = numbers.iter().map(|number| self.resolved[number].step.clone()).collect();
        Some(self.batch(&numbers, steps))
    }

    /// A batch that brings the outcomes of these units, by these steps.
    fn batch(&mut self, numbers: &[usize], steps: Vec<Step>) -> Batch {
        let wanted = |number: &usize| Wanted {
            key: self.resolved[number].step.key.clone(),
            is_deferred: self.session.may_defer(&self.units[*number], &self.target),
        };
        let lengths = self.schedule.chains(|number| graph::weight(&self.units[number]));
        let chain = |number: &usize| (self.resolved[number].step.key.clone(), lengths[*number]);
        let mut call = Call {
            chains: numbers.iter().map(chain).collect(),
            beside: self.calls.names(),
            wanted: numbers.iter().map(wanted).collect(),
            steps,
            ..Call::new("batch", self.jobs)
        };
        let in_calls = self.schedule.in_calls();
        let is_in_call = |key: &&str| in_calls.contains(&(*key).to_owned());
        call.awaited =
            call.needed_outcomes().into_iter().filter(is_in_call).map(str::to_owned).collect();
        let mut units = HashMap::new();
        for number in numbers {
            let resolved = self.resolved[number].clone();
            let key = resolved.step.key.clone();
            self.schedule.set(*number, State::InCall(key.clone()));
            units.insert(key, resolved);
        }
        let keys =
            if call.steps.is_empty() { HashSet::new() } else { units.keys().cloned().collect() };
        self.calls.begin(call.id.clone(), keys, !call.awaited.is_empty());
        Batch { units, call, target: self.target.clone() }
    }
}
