//! All tasks of a batch, as many at once as may run: from its specification to outcomes.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use crate::{
    bytes::search::file_holds,
    export::Exporter,
    files,
    outcome::{self, Gathered},
    process::{self, Ended, Slot, Terms, group_of},
    protocol::{
        ALONE, APART, Batch, INVENTORY, Input, Kind, LACKING, STORE, Source, Task, one_line,
    },
    report::{Explain, Report, Result},
    rules::Rules,
    schedule::{METADATA, Schedule},
    store::Store,
    sys::{self, landlock::Abi},
    tokens::{Processors, Tokens},
    view::{Trouble, View},
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
    process::link_git(&folders.bin)?;
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

/// How a task ran.
enum Ran {
    Well,
    /// In an earlier call, which stored its outcome.
    Before,
    /// It failed, or it cannot run here.
    Badly,
}

impl<'a> Run<'a> {
    fn new(
        batch: &'a Batch,
        store: &'a Store,
        folders: &'a Folders,
        report: &'a Report,
    ) -> Result<Self> {
        let view = View::new(batch, store);
        let rules = match Abi::of_kernel() {
            Some(abi) => Some(Rules::new(abi, &view)?),
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

    /// Fails if the worker does.
    fn run(&self, number: usize, slot: &Slot) -> Result<Ran> {
        let task = &self.batch.tasks[number];
        if self.store.has_outcome(&task.key) {
            if self.is_final(task) {
                self.tell_output(task);
            }
            println!("rustcbuildx stored {}", task.key);
            outcome::restore(&self.view, task)?;
            return Ok(Ran::Before);
        }
        if self.rules.is_none() && self.batch.tasks.len() > 1 {
            // Nothing would hold tasks apart but their users.
            let why = format!("{} this kernel has no Landlock", task.key);
            self.report.add(ALONE, &why)?;
            println!("rustcbuildx apart {}", task.key);
            return Ok(Ran::Badly);
        }
        match self.view.prepare(task) {
            Ok(()) => {}
            Err(Trouble::Conflict(path)) if self.batch.tasks.len() == 1 => {
                return Err(format!("failed to prepare {}: two inputs are at `{path}`", task.name));
            }
            Err(Trouble::Conflict(path)) => {
                self.report.add(APART, &format!("{} something else is at `{path}`", task.key))?;
                println!("rustcbuildx apart {}", task.key);
                return Ok(Ran::Badly);
            }
            Err(Trouble::Failed(why)) => {
                return Err(format!("failed to prepare {}: {why}", task.name));
            }
        }
        let is_final = self.is_final(task);
        println!("rustcbuildx start {}", task.key);
        let mut ended = self.attempt(number, slot, false)?;
        let is_plain =
            task.kind == Kind::Compile && self.gathered.bakes_in_temporary(task, slot)?;
        let tells_of_store = self.tells_of_store(task, slot, &ended)?;
        if tells_of_store && self.view.copy_linked(task)? || is_plain {
            self.gathered.remove(task, slot)?;
            ended = self.attempt(number, slot, is_plain)?;
        }
        let is_success = self.finish(number, slot, &ended, is_final)?;
        if is_success && is_final {
            self.tell_output(task);
        }
        println!("rustcbuildx end {} {}", task.key, ended.status);
        Ok(if is_success { Ran::Well } else { Ran::Badly })
    }

    fn attempt(&self, number: usize, slot: &Slot, is_plain: bool) -> Result<Ended> {
        let task = &self.batch.tasks[number];
        let group = group_of(number)?;
        slot.clean()?;
        let (state, _in_use) = self.open_outputs(task, slot)?.unzip();
        let lent = self.view.lend(task, slot.user)?;
        let _settled = self.view.settle();
        // Nobody else is here to share folders for temporary files with.
        let is_alone = self.batch.tasks.len() == 1;
        let rules = self
            .rules
            .as_ref()
            .map(|rules| rules.of(&self.view, task, slot, state.as_deref(), is_plain || is_alone))
            .transpose()?;
        let groups =
            self.view.made_here(task).into_iter().map(group_of).collect::<Result<Vec<_>>>()?;
        let terms = Terms {
            groups: &groups,
            rules: rules.as_ref(),
            jobserver: [self.tokens.reading.as_raw_fd(), self.tokens.writing.as_raw_fd()],
            state: state.as_deref(),
            is_plain,
        };
        let ended = slot.run(task, &terms, || self.early(number, slot, group));
        self.view.take_back(lent)?;
        ended
    }

    /// Whether a path in the store got into what a task printed or wrote. To tell where its links
    /// lead is not plain cargo's answer.
    fn tells_of_store(&self, task: &Task, slot: &Slot, ended: &Ended) -> Result<bool> {
        let store = [self.folders.store.to_string_lossy().into_owned()];
        let says = |said: &[u8]| file_holds(said, &store).unwrap_or(false);
        if says(&ended.stdout) || says(&ended.stderr) {
            return Ok(true);
        }
        // The one thing in what rustc makes that says where it found a crate.
        Ok(task.words.iter().any(|word| word.contains("rpath"))
            && self.gathered.holds_any(task, slot, &store)?)
    }

    fn finish(&self, number: usize, slot: &Slot, ended: &Ended, is_final: bool) -> Result<bool> {
        let task = &self.batch.tasks[number];
        let made = match task.kind {
            Kind::Compile => self.gathered.gather(task, slot, group_of(number)?)?,
            Kind::Script => {
                let out = Path::new(&task.out);
                files::give_to(out, 0).explain(|| format!("failed to take `{}`", task.out))?;
                vec![]
            }
        };
        if ended.status == 0 {
            let is_private = !is_final || task.has_secrets();
            outcome::save(&self.view, task, ended, &made, &self.batch.id, is_private)?;
            return Ok(true);
        }
        self.exporter.failure(task, ended, &made)?;
        Ok(false)
    }

    /// Whether a task's key is its last. Where a build script's program holds a path that only
    /// containers have, the client is told, and has the program made again with the host's.
    fn is_final(&self, task: &Task) -> bool {
        let program = task.words.first().filter(|_| task.kind == Kind::Script);
        let input =
            program.and_then(|program| task.inputs.iter().find(|input| input.target == *program));
        let Some(Input { from: Source::Outcome(key), path, .. }) = input else { return true };
        let held = File::open(self.store.outcome(key).join(path))
            .and_then(|program| file_holds(program, &self.batch.sentinels));
        if let Ok(true) = held {
            println!("rustcbuildx embeds {key}");
        }
        // The store may have lost it.
        held.is_ok_and(|held| !held)
    }

    /// Tells the client at once what a build script printed, on which the keys of others depend.
    fn tell_output(&self, task: &Task) {
        if let Some(text) = outcome::printed(self.store, task) {
            println!("rustcbuildx printed {} {}", task.key, one_line(&text));
        }
    }

    /// Lets a task write to its output folder, and to the folder that outlives it; returns the
    /// latter.
    fn open_outputs(&self, task: &Task, slot: &Slot) -> Result<Option<(PathBuf, Option<File>)>> {
        let out = Path::new(&task.out);
        let open = || -> std::io::Result<()> {
            use std::os::unix::fs::PermissionsExt;
            match task.kind {
                // Others write there, too: each only to what is its own.
                Kind::Compile => fs::set_permissions(out, fs::Permissions::from_mode(0o1777)),
                Kind::Script => files::give_to(out, slot.user),
            }
        };
        open().explain(|| format!("failed to open `{}`", task.out))?;
        let Some((name, _)) = &task.state else { return Ok(None) };
        if name.is_empty() {
            return Ok(Some((slot.private().join("state"), None)));
        }
        let (folder, lock) = self.store.state(name)?;
        files::give_to(&folder, slot.user)
            .explain(|| format!("failed to open `{}`", folder.display()))?;
        Ok(Some((folder, Some(lock))))
    }

    /// The metadata of a compile is there: those who need no more of it may start.
    fn early(&self, number: usize, slot: &Slot, group: u32) {
        let task = &self.batch.tasks[number];
        let dependents = self.batch.tasks.iter().flat_map(|task| &task.inputs);
        let wanted = dependents
            .filter(|input| input.from.name() == task.key && input.path.ends_with(METADATA));
        let mut is_open = true;
        for input in wanted {
            let name = input.path.rsplit('/').next().unwrap_or_default();
            is_open &=
                self.gathered.open_metadata(&Path::new(&task.out).join(name), slot, group).is_ok();
        }
        if is_open {
            self.lock().schedule.is_early(number);
            self.changed.notify_all();
        }
    }
}

/// How often to look for what other calls make.
const INTERVAL: Duration = Duration::from_millis(20);
const LOCK: &str = "no thread panics while it has this lock";
