//! One task of a batch: prepared, run, and what it left stored.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use super::Run;
use crate::{
    bytes::search::file_holds,
    files,
    lines::one_line,
    outcome,
    process::{Ended, Slot, Terms, group_of},
    protocol::{ALONE, APART, Input, Kind, Source, Task},
    report::{Explain, Result},
    schedule::METADATA,
    view::Trouble,
    written,
};

/// How a task is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Usual,
    /// Nothing says where temporary files go.
    Plain,
    /// As if it were alone in its call: nobody else runs meanwhile, with whom it would share
    /// folders for temporary files.
    Alone,
}

/// How a task ran.
pub enum Ran {
    Well,
    /// In an earlier call, which stored its outcome.
    Before,
    /// It failed, or it cannot run here.
    Badly,
}

/// How the names of the libraries end that a compiler loads, such as macros.
const LOADED: &str = ".so";

impl Run<'_> {
    /// Fails if the worker does.
    pub fn run(&self, number: usize, slot: &Slot) -> Result<Ran> {
        let task = &self.batch.tasks[number];
        if self.store.has_outcome(&task.key) {
            if self.is_final(task) {
                self.tell_output(task);
            }
            println!("rustcbuildx stored {}", task.key);
            outcome::restore(&self.view, task)?;
            return Ok(Ran::Before);
        }
        if !task.opened.is_empty() && self.batch.tasks.len() > 1 {
            self.report.add(APART, &format!("{} it writes to folders of others", task.key))?;
            println!("rustcbuildx apart {}", task.key);
            return Ok(Ran::Badly);
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
        let mut ended = self.attempt(number, slot, Manner::Usual)?;
        let is_plain =
            task.kind == Kind::Compile && self.gathered.bakes_in_temporary(task, slot)?;
        let tells_of_store = self.tells_of_store(task, slot, &ended)?;
        if tells_of_store && self.view.copy_linked(task)? || is_plain {
            let manner = if is_plain { Manner::Plain } else { Manner::Usual };
            ended = self.again(number, slot, manner, ended)?;
        }
        if ended.status != 0 && self.may_miss_temporary(number) {
            ended = self.again(number, slot, Manner::Alone, ended)?;
        }
        let is_success = self.finish(number, slot, &ended, is_final)?;
        if is_success && is_final {
            self.tell_output(task);
        }
        println!("rustcbuildx end {} {}", task.key, ended.status);
        Ok(if is_success { Ran::Well } else { Ran::Badly })
    }

    /// Whether a compile may have failed because a macro looked for the folders for temporary files
    /// that all users of a machine share. Macros run before there is metadata.
    fn may_miss_temporary(&self, number: usize) -> bool {
        let task = &self.batch.tasks[number];
        let is_macro = |input: &Input| {
            matches!(input.from, Source::Outcome(_)) && input.target.ends_with(LOADED)
        };
        task.kind == Kind::Compile
            && self.batch.tasks.len() > 1
            && task.inputs.iter().any(is_macro)
            && !self.lock().schedule.is_early(number)
    }

    /// Makes another attempt, of which nobody is to see that it is one.
    fn again(&self, number: usize, slot: &Slot, manner: Manner, last: Ended) -> Result<Ended> {
        self.gathered.remove(&self.batch.tasks[number], slot)?;
        let mut ended = self.attempt(number, slot, manner)?;
        if let Some(observed) = &mut ended.observed {
            observed.extend(last.observed.into_iter().flatten());
        }
        Ok(ended)
    }

    fn attempt(&self, number: usize, slot: &Slot, manner: Manner) -> Result<Ended> {
        let task = &self.batch.tasks[number];
        let group = group_of(number)?;
        slot.clean()?;
        let (state, _in_use) = self.open_outputs(task, slot)?.unzip();
        let lent = self.view.lend(task, slot.user)?;
        let is_alone = manner == Manner::Alone || self.batch.tasks.len() == 1;
        let _others = self.view.settle(is_alone);
        let is_plain = manner == Manner::Plain;
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
            image: &self.image,
            is_plain,
        };
        let mut ended = slot.run(task, &terms, || self.early(number, slot, group));
        if let (true, Ok(ended)) = (task.is_kept, &mut ended) {
            ended.written = written::gather(&self.view, &lent, &slot.written())
                .explain(|| format!("failed to gather what {} wrote", task.name))?;
        }
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
        let open = || -> io::Result<()> {
            match task.kind {
                // Others write there, too: each only to what is its own.
                Kind::Compile => fs::set_permissions(out, Permissions::from_mode(0o1777)),
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
            self.lock().schedule.note_early(number);
            self.changed.notify_all();
        }
    }
}
