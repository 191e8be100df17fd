//! The files that tasks see: each at the place where its client has it, and each task only its own.
//!
//! All tasks of a batch share one root. What they are made from is put there once, before the first
//! task that needs it. Which of it a task may open is decided by the rules that it is held to
//! ([`crate::rules`]) and, within folders that several tasks write to, by groups.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{
    files,
    protocol::{Batch, FILES, Input, Kind, Source, Task, WORKER},
    report::{Explain, Result},
    schedule::METADATA,
    store::{self, Store},
};

pub struct View<'a> {
    pub batch: &'a Batch,
    pub store: &'a Store,
    numbers: HashMap<&'a str, usize>,
    /// Keys and paths of what tasks read of other tasks.
    read: HashSet<(&'a str, &'a Path)>,
    /// All places of all tasks: of what they read, and of what they write.
    pub places: BTreeSet<PathBuf>,
    /// Places where tasks want different things, and whether one of them wants to write there.
    pub contested: HashMap<PathBuf, bool>,
    placed: Mutex<HashMap<PathBuf, Vec<(Source, String)>>>,
    /// Places that have a link to the store.
    linked: Mutex<HashMap<PathBuf, PathBuf>>,
    settled: RwLock<()>,
    /// Folders that a task is writing to.
    lent: Mutex<Vec<PathBuf>>,
    given_back: Condvar,
}

/// Why something is not at its place.
#[derive(Debug)]
pub enum Trouble {
    /// Two tasks want two things at one place: each is to have a root of its own.
    Conflict(String),
    Failed(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl<'a> View<'a> {
    pub fn new(batch: &'a Batch, store: &'a Store) -> Self {
        let numbers = batch
            .tasks
            .iter()
            .enumerate()
            .map(|(number, task)| (task.key.as_str(), number))
            .collect();
        let inputs = batch.tasks.iter().flat_map(|task| &task.inputs);
        let read = inputs.filter_map(|input| match &input.from {
            Source::Outcome(key) => Some((key.as_str(), Path::new(&input.path))),
            Source::Pack(_) => None,
        });
        let read = read.collect();
        let of_task = |task: &'a Task| {
            let state = task.state.iter().map(|(_, target)| target);
            [&task.out]
                .into_iter()
                .chain(state)
                .chain(task.inputs.iter().map(|input| &input.target))
        };
        let places = batch.tasks.iter().flat_map(of_task).map(PathBuf::from).collect();
        let contested = contested(batch);
        let (placed, linked, settled, lent, given_back) = Default::default();
        Self {
            batch,
            store,
            numbers,
            read,
            places,
            contested,
            placed,
            linked,
            settled,
            lent,
            given_back,
        }
    }

    /// Puts what a task reads at its place, and makes the folders that it writes to.
    pub fn prepare(&self, task: &Task) -> std::result::Result<(), Trouble> {
        let mut placed = self.placed.lock().expect(LOCK);
        for (link, target) in &task.links {
            files::make_parents(Path::new(link))?;
            match symlink(target, link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.explain(|| format!("failed to make the link `{link}`"))?,
            }
        }
        for input in &task.inputs {
            let target = PathBuf::from(&input.target);
            let this = (input.from.clone(), input.path.clone());
            let is_contested = self.contested.get(&target);
            let there = placed.entry(target).or_default();
            if there.contains(&this) {
                continue;
            }
            // Two packs may have the same there, such as a package and one around it.
            let is_pack = |(from, _): &(Source, String)| matches!(from, Source::Pack(_));
            let may_share = is_contested == Some(&false) && there.iter().all(is_pack);
            if !(there.is_empty() || may_share && is_pack(&this)) {
                return Err(Trouble::Conflict(input.target.clone()));
            }
            self.put(input)?;
            there.push(this);
        }
        let folders = [&task.folder, &task.out].into_iter().chain(&task.opened);
        for folder in folders.chain(&task.passed) {
            files::make_folder(Path::new(folder))?;
        }
        Ok(())
    }

    fn put(&self, input: &Input) -> std::result::Result<(), Trouble> {
        let target = Path::new(&input.target);
        files::make_parents(target)?;
        match &input.from {
            Source::Pack(_) if self.batch.mounted.contains(&input.target) => Ok(()),
            Source::Pack(name) => self.fill(&self.store.pack(name).join(&input.path), target),
            Source::Outcome(key) => {
                let below = Path::new(&input.path).strip_prefix(FILES).unwrap_or(Path::new(""));
                let made = self.numbers.get(key.as_str()).map(|number| {
                    let out = Path::new(&self.batch.tasks[*number].out);
                    if below.as_os_str().is_empty() { out.to_owned() } else { out.join(below) }
                });
                let placed = match made {
                    Some(made) if made == target => Ok(()),
                    Some(made) => match self.stored_at(&made) {
                        Some(stored) => self.link(&stored, target),
                        None if made.is_dir() => files::copy_tree(&made, target),
                        None => fs::hard_link(made, target),
                    },
                    None => {
                        let stored = self.store.outcome(key).join(&input.path);
                        if store::is_linkable(target) {
                            self.link(&stored, target)
                        } else {
                            files::copy_tree(&stored, target)
                        }
                    }
                };
                match placed {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        Err(Trouble::Conflict(input.target.clone()))
                    }
                    other => {
                        Ok(other
                            .explain(|| format!("failed to put {key} at `{}`", input.target))?)
                    }
                }
            }
        }
    }

    /// Makes a link to the store.
    pub fn link(&self, stored: &Path, target: &Path) -> io::Result<()> {
        symlink(stored, target)?;
        self.linked.lock().expect(LOCK).insert(target.to_owned(), stored.to_owned());
        Ok(())
    }

    /// Where the link to the store at a place leads.
    fn stored_at(&self, place: &Path) -> Option<PathBuf> {
        self.linked.lock().expect(LOCK).get(place).cloned()
    }

    /// Goes on from what a task made now that the store has it, which is not to take its room
    /// twice: of a crate that others of the batch read, a link stays, and of what none of them
    /// reads, nothing.
    pub fn stored<'n>(&self, task: &Task, names: impl Iterator<Item = &'n str>) -> io::Result<()> {
        let out = Path::new(&task.out);
        if task.kind == Kind::Script {
            return files::open_to_all(out);
        }
        for name in names {
            let place = out.join(name);
            // A task that began when metadata was there may open that very file, and no other.
            if name.ends_with(METADATA) || !place.symlink_metadata()?.is_file() {
                continue;
            }
            let path = Path::new(FILES).join(name);
            let is_read = self.read.contains(&(task.key.as_str(), path.as_path()));
            if !is_read {
                fs::remove_file(&place)?;
            } else if store::is_linkable(&place) {
                fs::remove_file(&place)?;
                self.link(&self.store.outcome(&task.key).join(path), &place)?;
            }
        }
        Ok(())
    }

    /// Has what is at its place stay there while a task runs, which may open that and no other; or
    /// waits until no task runs, and has none begin.
    pub fn settle(&self, is_alone: bool) -> Settled<'_> {
        match is_alone {
            false => Settled::Shared(self.settled.read().expect(LOCK)),
            true => Settled::Alone(self.settled.write().expect(LOCK)),
        }
    }

    /// Puts copies in the place of a task's links to the store; returns whether there were any.
    pub fn copy_linked(&self, task: &Task) -> Result<bool> {
        let _nobody_runs = self.settle(true);
        let mut linked = self.linked.lock().expect(LOCK);
        let mut had_links = false;
        for input in &task.inputs {
            let target = PathBuf::from(&input.target);
            let Some(stored) = linked.remove(&target) else { continue };
            had_links = true;
            let copy = target.with_file_name(format!(
                ".rustcbuildx-{}",
                target.file_name().unwrap_or_default().to_string_lossy()
            ));
            let replace = || -> io::Result<()> {
                files::copy_tree(&stored, &copy)?;
                fs::remove_file(&target)?;
                fs::rename(&copy, &target)
            };
            replace().explain(|| format!("failed to copy `{}`", input.target))?;
        }
        Ok(had_links)
    }

    /// Copies what the store has of a pack to a place. What is there already has to be the same.
    fn fill(&self, from: &Path, to: &Path) -> std::result::Result<(), Trouble> {
        let explain = || format!("failed to copy `{}`", to.display());
        let data = from.symlink_metadata().explain(explain)?;
        let there = to.symlink_metadata().ok();
        if !data.is_dir() {
            return match there {
                None => Ok(files::copy_tree(from, to).explain(explain)?),
                Some(there) if files::is_same(&data, from, &there, to).explain(explain)? => Ok(()),
                Some(_) => Err(Trouble::Conflict(to.display().to_string())),
            };
        }
        match there {
            None => fs::create_dir(to)
                .and_then(|()| fs::set_permissions(to, data.permissions()))
                .explain(explain)?,
            Some(there) if there.is_dir() => {}
            Some(_) => return Err(Trouble::Conflict(to.display().to_string())),
        }
        for entry in fs::read_dir(from).explain(explain)? {
            let name = entry.explain(explain)?.file_name();
            self.fill(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    /// Removes what was put in place, and the folders that tasks wrote to.
    pub fn clear(&self) {
        let placed = self.placed.lock().expect(LOCK);
        let outs = self.batch.tasks.iter().map(|task| Path::new(&task.out));
        let mounted: Vec<&Path> = self.batch.mounted.iter().map(Path::new).collect();
        let is_kept = |path: &Path| {
            mounted.iter().chain([&Path::new(WORKER)]).any(|kept| kept.starts_with(path))
        };
        let all = placed.keys().map(PathBuf::as_path).chain(outs);
        for path in all.filter(|path| !is_kept(path)) {
            let _ = match path.symlink_metadata() {
                Ok(data) if data.is_dir() => fs::remove_dir_all(path),
                _ => fs::remove_file(path),
            };
        }
    }

    /// The keys of the batch's tasks whose files a task reads, by number.
    pub fn made_here(&self, task: &Task) -> BTreeSet<usize> {
        let keys = task.inputs.iter().filter_map(|input| match &input.from {
            Source::Outcome(key) => self.numbers.get(key.as_str()).copied(),
            Source::Pack(_) => None,
        });
        keys.collect()
    }

    /// Makes the task's user the owner of what it may write to.
    pub fn lend(&self, task: &Task, user: u32) -> Result<Vec<Lent<'a>>> {
        let task = self.task(task);
        let is_opened = |input: &Input| {
            let is_sent = matches!(input.from, Source::Pack(_));
            is_sent
                && !self.batch.mounted.contains(&input.target)
                && task.opened.iter().any(|folder| Path::new(&input.target).starts_with(folder))
        };
        let inputs = task.inputs.iter().filter(|input| input.is_writable || is_opened(input));
        let mut places: Vec<(PathBuf, Option<&Input>)> =
            inputs.map(|input| (PathBuf::from(&input.target), Some(input))).collect();
        let opened = task.opened.iter().map(PathBuf::from);
        let opened: Vec<_> =
            opened.filter(|folder| places.iter().all(|(place, _)| place != folder)).collect();
        places.extend(opened.into_iter().map(|folder| (folder, None)));
        let mut lent = self.lent.lock().expect(LOCK);
        let overlaps = |lent: &Vec<PathBuf>| {
            let overlaps = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
            places.iter().any(|(place, _)| lent.iter().any(|path| overlaps(path, place)))
        };
        while overlaps(&lent) {
            lent = self.given_back.wait(lent).expect(LOCK);
        }
        lent.extend(places.iter().map(|(place, _)| place.clone()));
        drop(lent);
        let lend = |(path, input): (PathBuf, Option<&'a Input>)| -> Result<Lent<'a>> {
            self.give_to(&path, user)
                .explain(|| format!("failed to make `{}` writable", path.display()))?;
            let stamps =
                self.stamps(&path).explain(|| format!("failed to read `{}`", path.display()))?;
            Ok(Lent { input, path, stamps })
        };
        places.into_iter().map(lend).collect()
    }

    /// Makes a user the owner of what is at a place, but for other places in it.
    fn give_to(&self, path: &Path, user: u32) -> io::Result<()> {
        files::each_below(path, &|path| self.places.contains(path), &mut |path, data| {
            files::own(path, data, user)
        })
    }

    /// What tells that somebody wrote to what is at a place.
    fn stamps(&self, path: &Path) -> io::Result<Stamps> {
        let mut stamps = Stamps::new();
        files::each_below(path, &|path| self.places.contains(path), &mut |path, data| {
            stamps
                .insert(path.to_owned(), (data.ino(), data.len(), data.ctime(), data.ctime_nsec()));
            Ok(())
        })?;
        Ok(stamps)
    }

    fn task(&self, task: &Task) -> &'a Task {
        &self.batch.tasks[self.numbers[task.key.as_str()]]
    }

    /// The paths at which a task has written to what was lent to it, sorted, and whether there was
    /// something before.
    pub fn written(&self, lent: &[Lent<'a>]) -> io::Result<BTreeMap<PathBuf, bool>> {
        let mut written = BTreeMap::new();
        for Lent { path, stamps: before, .. } in lent {
            let now = self.stamps(path)?;
            for path in before.keys().chain(now.keys()) {
                let is_folder = || path.is_dir() && !path.is_symlink();
                let is_same = before.get(path) == now.get(path);
                // A folder changes with what is in it.
                let is_known_folder = before.contains_key(path) && is_folder();
                if !is_same && !is_known_folder {
                    written.insert(path.clone(), before.contains_key(path));
                }
            }
        }
        Ok(written)
    }

    /// Takes it back, as it was.
    pub fn take_back(&self, lent: Vec<Lent<'a>>) -> Result<()> {
        let mut result = Ok(());
        for Lent { input, path, stamps: before } in &lent {
            let back = || -> std::result::Result<(), Trouble> {
                let now =
                    self.stamps(path).explain(|| format!("failed to read `{}`", path.display()))?;
                for changed in now.keys().rev().filter(|path| before.get(*path) != now.get(*path)) {
                    // A folder changes with what is in it.
                    let removed = if changed.is_dir() && !changed.is_symlink() {
                        fs::remove_dir(changed).or(Ok(()))
                    } else {
                        fs::remove_file(changed)
                    };
                    removed.explain(|| format!("failed to remove `{}`", changed.display()))?;
                }
                let is_changed = || before.iter().any(|(path, stamp)| now.get(path) != Some(stamp));
                if let Some(input) = input.filter(|_| is_changed()) {
                    self.put(input)?;
                }
                self.give_to(path, 0)
                    .explain(|| format!("failed to take `{}` back", path.display()))?;
                Ok(())
            };
            if let Err(trouble) = back() {
                result = Err(match trouble {
                    Trouble::Conflict(path) => {
                        format!("failed to take `{path}` back: it is another one")
                    }
                    Trouble::Failed(why) => why,
                });
            }
        }
        let mut all = self.lent.lock().expect(LOCK);
        all.retain(|path| !lent.iter().any(|lent| lent.path == *path));
        self.given_back.notify_all();
        result
    }
}

/// See [`View::settle`].
#[allow(dead_code, reason = "it is held")]
pub enum Settled<'a> {
    Shared(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

/// Something that a task may write to while it runs.
pub struct Lent<'a> {
    /// `None` for a folder of which all that is in it is lent by itself.
    input: Option<&'a Input>,
    path: PathBuf,
    stamps: Stamps,
}

type Stamps = BTreeMap<PathBuf, (u64, u64, i64, i64)>;

fn contested(batch: &Batch) -> HashMap<PathBuf, bool> {
    let mut wanted: HashMap<&str, Vec<&Input>> = HashMap::new();
    for input in batch.tasks.iter().flat_map(|task| &task.inputs) {
        wanted.entry(&input.target).or_default().push(input);
    }
    let differ = |a: &Input, b: &Input| (&a.from, &a.path) != (&b.from, &b.path);
    let contested = wanted
        .into_iter()
        .filter(|(_, inputs)| inputs.iter().any(|input| differ(input, inputs[0])));
    let is_written = |inputs: &[&Input]| inputs.iter().any(|input| input.is_writable);
    contested.map(|(place, inputs)| (place.into(), is_written(&inputs))).collect()
}

const LOCK: &str = "no thread panics while it has this lock";

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::tests::Scratch;

    pub fn input(target: &Path, pack: &str, path: &str) -> Input {
        Input {
            target: target.display().to_string(),
            from: Source::Pack(pack.to_owned()),
            path: path.to_owned(),
            is_writable: false,
        }
    }

    pub fn task(key: &str, out: &Path, inputs: Vec<Input>) -> Task {
        Task {
            key: key.to_owned(),
            name: key.to_owned(),
            kind: crate::protocol::Kind::Compile,
            words: vec![],
            env: vec![],
            secrets: vec![],
            folder: out.display().to_string(),
            out: out.display().to_string(),
            umask: 0o22,
            links: vec![],
            inputs,
            opened: vec![],
            passed: vec![],
            is_kept: false,
            is_observed: true,
            state: None,
        }
    }

    /// A store with these files in its packs.
    pub fn store(scratch: &Scratch, files: &[(&str, &str)]) -> Store {
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        for (path, text) in files {
            let path = store.pack("").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        store
    }

    #[test]
    fn one_place_has_one_thing() {
        let scratch = Scratch::new("one_place_has_one_thing");
        let files = [("s1/p/a", "a"), ("s1/p/sub/b", "b"), ("s2/p/b", "b"), ("s3/p/b", "other")];
        let (store, root) = (store(&scratch, &files), scratch.path("w"));
        let (out, sub) = (root.join("target"), root.join("sub"));
        let tasks = vec![
            task("u1", &out, vec![input(&root, "s1", "p")]),
            task("u2", &out, vec![input(&sub, "s2", "p")]),
            task("u3", &out, vec![input(&sub, "s3", "p")]),
            task("u4", &out, vec![input(&sub.join("b"), "s3", "p/b")]),
            task("u5", &out, vec![input(&sub, "s1", "p/sub")]),
        ];
        let batch = Batch { tasks, ..Batch::default() };
        let view = View::new(&batch, &store);
        for task in &batch.tasks[..2] {
            view.prepare(task).unwrap();
        }
        assert_eq!(fs::read(sub.join("b")).unwrap(), b"b");
        for task in &batch.tasks[2..4] {
            assert!(matches!(view.prepare(task), Err(Trouble::Conflict(_))), "{}", task.key);
        }
        view.prepare(&batch.tasks[4]).unwrap();
        assert_eq!(view.contested.get(&sub), Some(&false));
        view.clear();
        assert!(!root.exists() && store.pack("s1").join("p/a").exists());
    }

    #[test]
    fn what_is_stored_takes_no_room_twice() {
        let scratch = Scratch::new("what_is_stored_takes_no_room_twice");
        let (store, out) = (store(&scratch, &[]), scratch.path("target"));
        let reads = |name: &str| Input {
            target: out.join(name).display().to_string(),
            from: Source::Outcome("u1".to_owned()),
            path: format!("{FILES}/{name}"),
            is_writable: false,
        };
        let inputs = vec![reads("liba.rlib"), reads("liba.rmeta"), reads("program")];
        let tasks = vec![task("u1", &out, vec![]), task("u2", &out, inputs)];
        let batch = Batch { tasks, ..Batch::default() };
        let view = View::new(&batch, &store);
        view.prepare(&batch.tasks[0]).unwrap();
        let names = ["a.d", "liba.rlib", "liba.rmeta", "program"];
        names.iter().for_each(|name| fs::write(out.join(name), name).unwrap());
        store
            .put("u1", |folder| {
                fs::create_dir(folder)?;
                files::copy_tree(&out, &folder.join(FILES))
            })
            .unwrap();
        view.stored(&batch.tasks[0], names.into_iter()).unwrap();
        let is_link =
            |name: &str| out.join(name).symlink_metadata().ok().map(|data| data.is_symlink());
        assert_eq!(names.map(is_link), [None, Some(true), Some(false), Some(false)]);
        // Who is told where the link leads gets the file itself, once nobody uses the link.
        view.prepare(&batch.tasks[1]).unwrap();
        let running = view.settle(false);
        std::thread::scope(|scope| {
            let copied = scope.spawn(|| view.copy_linked(&batch.tasks[1]).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(100));
            assert_eq!(is_link("liba.rlib"), Some(true));
            drop(running);
            assert!(copied.join().unwrap());
        });
        assert_eq!(is_link("liba.rlib"), Some(false));
        assert_eq!(fs::read_to_string(out.join("liba.rlib")).unwrap(), "liba.rlib");
    }

    #[test]
    fn where_one_writes_nobody_has_something_else() {
        let scratch = Scratch::new("where_one_writes_nobody_has_something_else");
        let store = store(&scratch, &[("s1/p/a", "a"), ("s2/p/a", "a")]);
        let (root, out) = (scratch.path("w"), scratch.path("target"));
        let writing = Input { is_writable: true, ..input(&root, "s2", "p") };
        let tasks =
            vec![task("u1", &out, vec![input(&root, "s1", "p")]), task("u2", &out, vec![writing])];
        let batch = Batch { tasks, ..Batch::default() };
        let view = View::new(&batch, &store);
        view.prepare(&batch.tasks[0]).unwrap();
        assert!(matches!(view.prepare(&batch.tasks[1]), Err(Trouble::Conflict(_))));
    }

    #[test]
    fn what_is_mounted_is_left_as_it_is() {
        let scratch = Scratch::new("what_is_mounted_is_left_as_it_is");
        let (store, root) = (store(&scratch, &[("s1/p/a", "a")]), scratch.path("w"));
        let modules = root.join("modules");
        fs::create_dir_all(&modules).unwrap();
        fs::write(modules.join("b"), "mounted").unwrap();
        let inputs = vec![input(&root, "s1", "p"), input(&modules, "s2", "p")];
        let tasks = vec![task("u1", &root.join("target"), inputs)];
        let mounted = vec![modules.display().to_string()];
        let batch = Batch { tasks, mounted, ..Batch::default() };
        let view = View::new(&batch, &store);
        view.prepare(&batch.tasks[0]).unwrap();
        assert!(root.join("a").exists());
        view.clear();
        assert_eq!(fs::read(modules.join("b")).unwrap(), b"mounted");
    }
}
