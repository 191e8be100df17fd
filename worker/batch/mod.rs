//! All tasks of a batch, as many at once as may run: from its specification to outcomes.

mod task;

use std::{
    collections::HashSet,
    fs::{self, File},
    os::fd::AsFd,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use self::task::Ran;
use crate::{
    export::Exporter,
    observe,
    outcome::Gathered,
    process::{self, Slot},
    protocol::{Batch, INVENTORY, LACKING, STORE, Source},
    report::{Explain, Report, Result},
    rules::{Image, Rules},
    schedule::Schedule,
    store::Store,
    sys::{self, landlock::Abi},
    tokens::{Processors, Tokens},
    view::View,
};

/// The folders of the worker.
pub struct Folders {
    /// The worker's own program.
    pub bin: PathBuf,
    /// What the client sent.
    pub given: PathBuf,
    pub store: PathBuf,
    pub slots: PathBuf,
    /// What the client gets: a file for each outcome, and the [`Report`].
    pub outcomes: PathBuf,
}

/// Runs the batch that the client gave.
pub fn run(folders: &Folders) -> Result<()> {
    let path = folders.given.join("batch");
    let text =
        fs::read_to_string(&path).explain(|| format!("failed to read `{}`", path.display()))?;
    let batch = Batch::decode(&text).explain(|| "failed to read the batch".to_owned())?;
    let store = Store::open(&folders.store, &batch.id)?;
    let _running = store.run_call(&batch.call)?;
    let report = Report::new(&folders.outcomes)?;
    let number = store.number().explain(|| "failed to number the store".to_owned())?;
    report.add(STORE, &number)?;
    if !batch.store.is_empty() && batch.store != number {
        return Ok(());
    }
    for name in store.receive(&folders.given)? {
        report.add(LACKING, &name)?;
    }
    observe::preload(&folders.bin);
    process::trust_repositories();
    let lacking = lacking(&batch, &store);
    if !lacking.is_empty() {
        return lacking.iter().try_for_each(|name| report.add(LACKING, name));
    }
    println!("rustcbuildx ready {number}");
    if batch.is_inventory {
        let inventory = store.inventory().explain(|| "failed to look into the store".to_owned())?;
        report.add(INVENTORY, &inventory)?;
    }
    let run = Run::new(&batch, &store, folders, &report)?;
    run.all()?;
    run.clear();
    run.exporter.rest(run.tokens.count)?;
    if batch.limit > 0 {
        store.sweep(batch.limit as u64).explain(|| "failed to tidy up the store".to_owned())?;
    }
    Ok(())
}

/// The names of what the tasks that are to run are made from, as far as neither the store nor
/// another task has it.
fn lacking(batch: &Batch, store: &Store) -> Vec<String> {
    let made: HashSet<&str> = batch.tasks.iter().map(|task| task.key.as_str()).collect();
    let mut lacking: Vec<String> = Vec::new();
    for input in batch
        .tasks
        .iter()
        .filter(|task| !store.has_outcome(&task.key))
        .flat_map(|task| &task.inputs)
    {
        let is_there = match &input.from {
            Source::Outcome(key) => {
                made.contains(key.as_str()) || batch.awaited.contains(key) || store.has_outcome(key)
            }
            Source::Pack(name) => store.has_pack(name),
        };
        if !is_there && !lacking.iter().any(|name| name == input.from.name()) {
            lacking.push(input.from.name().to_owned());
        }
    }
    let is_there = |key: &str| made.contains(key) || store.has_outcome(key);
    lacking
        .extend(batch.wanted.iter().map(|wanted| wanted.key.clone()).filter(|key| !is_there(key)));
    lacking
}

struct Run<'a> {
    batch: &'a Batch,
    store: &'a Store,
    folders: &'a Folders,
    report: &'a Report,
    exporter: Exporter<'a>,
    view: View<'a>,
    gathered: Gathered,
    image: Image,
    rules: Option<Rules>,
    state: Mutex<State>,
    changed: Condvar,
    tokens: Tokens,
    processors: Processors,
}

struct State {
    schedule: Schedule,
    running: usize,
    problem: Option<String>,
}

impl<'a> Run<'a> {
    fn new(
        batch: &'a Batch,
        store: &'a Store,
        folders: &'a Folders,
        report: &'a Report,
    ) -> Result<Self> {
        let view = View::new(batch, store);
        let image = Image::of(&view);
        let rules = match Abi::of_kernel() {
            Some(abi) => Some(Rules::new(abi, &image)?),
            None => None,
        };
        let schedule = Schedule::of(batch);
        let state = Mutex::new(State { schedule, running: 0, problem: None });
        let count = thread::available_parallelism().map_or(1, |count| count.get());
        let processors = Processors { folder: store.locks(), count };
        let count = if batch.jobs == 0 { count } else { batch.jobs };
        let (gathered, changed) = Default::default();
        let tokens = Tokens::new(count)?;
        let exporter = Exporter { batch, store, report, outcomes: &folders.outcomes };
        Ok(Self {
            batch,
            store,
            folders,
            report,
            exporter,
            view,
            gathered,
            image,
            rules,
            state,
            changed,
            tokens,
            processors,
        })
    }

    fn all(&self) -> Result<()> {
        let count = self.tokens.count.min(self.batch.tasks.len());
        let slots = (0..count)
            .map(|number| Slot::new(&self.folders.slots, number))
            .collect::<Result<Vec<_>>>()?;
        thread::scope(|scope| {
            for slot in &slots {
                scope.spawn(|| self.serve(slot));
            }
            self.await_others();
        });
        match self.lock().problem.take() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    /// Takes note of what other calls have made, until all is there that they make, or nobody waits
    /// for it any more.
    fn await_others(&self) {
        let mut awaited: Vec<(usize, &String)> =
            (self.batch.tasks.len()..).zip(&self.batch.awaited).collect();
        loop {
            // What they made is there before they end.
            let one_runs = self.batch.beside.iter().any(|call| self.store.is_running(call));
            let ended: Vec<(usize, bool)> = awaited
                .iter()
                .map(|(number, key)| (*number, self.store.has_outcome_now(key)))
                .filter(|(_, is_there)| *is_there || !one_runs)
                .collect();
            awaited.retain(|(number, _)| !ended.iter().any(|(ended, _)| ended == number));
            let mut state = self.lock();
            ended.iter().for_each(|(number, is_there)| state.schedule.end(*number, *is_there));
            if !ended.is_empty() {
                self.changed.notify_all();
            }
            if awaited.is_empty() || state.schedule.is_finished() || state.problem.is_some() {
                return;
            }
            drop(state);
            thread::sleep(INTERVAL);
        }
    }

    /// Removes what the tasks read and wrote. It would only take up room until the engine drops the
    /// step; what cannot be removed does no harm.
    fn clear(&self) {
        self.view.clear();
        let _ = fs::remove_dir_all(&self.folders.slots);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(LOCK)
    }

    /// Runs one task after the other in a slot, until there are none.
    fn serve(&self, slot: &Slot) {
        while let Some((number, _processor)) = self.next() {
            let result = self.run(number, slot);
            let is_success = matches!(result, Ok(Ran::Well | Ran::Before));
            self.lock().schedule.end(number, is_success);
            // Others go on from it meanwhile.
            self.changed.notify_all();
            let result = match result {
                Ok(Ran::Well) => self.exporter.success(&self.batch.tasks[number].key),
                other => other.map(drop),
            };
            let mut state = self.lock();
            state.running -= 1;
            if let Err(problem) = result {
                state.problem.get_or_insert(problem);
            }
            self.tokens.give(1);
            self.changed.notify_all();
        }
    }

    /// The next task, with a token and the lock of a processor for it; `None` once there will be
    /// none. A call with no running task waits for no other call.
    fn next(&self) -> Option<(usize, Option<File>)> {
        let mut state = self.lock();
        loop {
            if state.schedule.is_finished() || state.problem.is_some() {
                return None;
            }
            if !state.schedule.has_next() {
                state = self.changed.wait(state).expect(LOCK);
                continue;
            }
            if state.running == 0 {
                self.tokens.reset();
            }
            if self.tokens.acquire() {
                let processor = self.processors.acquire();
                if processor.is_some() || state.running == 0 {
                    state.running += 1;
                    return state.schedule.next().map(|number| (number, processor));
                }
                self.tokens.give(1);
                drop(state);
                thread::sleep(Duration::from_millis(20));
            } else {
                drop(state);
                sys::wait_readable(self.tokens.reading.as_fd(), 100);
            }
            state = self.lock();
        }
    }
}

/// How often to look for what other calls make.
const INTERVAL: Duration = Duration::from_millis(20);
const LOCK: &str = "no thread panics while it has this lock";
