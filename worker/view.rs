//! The files that tasks see: each at the place where its client has it, and each task only its own.
//!
//! All tasks of a batch share one root. What they are made from is put there once, before the first
//! task that needs it. Which of it a task may open is decided by the rules that it is held to
//! ([`crate::rules`]) and, within folders that several tasks write to, by groups.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, Permissions},
    io,
    ops::Bound,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    sync::{Condvar, Mutex},
};

use crate::{
    pack::{self, Entry},
    protocol::{Batch, Input, Source, Task},
    report::{Explain, Result},
    store::{self, Store},
};

/// What no task sees, or not as it is: ours, and what all users of a machine share.
const HIDDEN: &[&str] = &["/rustcbuildx", "/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys"];

pub struct View<'a> {
    batch: &'a Batch,
    store: &'a Store,
    numbers: HashMap<&'a str, usize>,
    /// All places of all tasks: of what they read, and of what they write.
    places: BTreeSet<PathBuf>,
    placed: Mutex<HashMap<PathBuf, (Source, String)>>,
    /// Places that have a link to the store.
    linked: Mutex<HashMap<PathBuf, PathBuf>>,
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
        let of_task = |task: &'a Task| {
            let state = task.state.iter().map(|(_, target)| target);
            [&task.out]
                .into_iter()
                .chain(state)
                .chain(task.inputs.iter().map(|input| &input.target))
        };
        let places = batch.tasks.iter().flat_map(of_task).map(PathBuf::from).collect();
        let (placed, linked, lent, given_back) = Default::default();
        Self { batch, store, numbers, places, placed, linked, lent, given_back }
    }

    /// What of the image itself all tasks may read. To be asked before anything is placed.
    pub fn of_image(&self) -> Vec<PathBuf> {
        let hidden: BTreeSet<PathBuf> =
            HIDDEN.iter().map(PathBuf::from).chain(self.places.iter().cloned()).collect();
        let mut paths = Vec::new();
        add_without(Path::new("/"), &hidden, &|path| hidden.contains(path), &mut paths);
        paths
    }

    /// Puts what a task reads at its place, and makes the folders that it writes to.
    pub fn prepare(&self, task: &Task) -> std::result::Result<(), Trouble> {
        let mut placed = self.placed.lock().expect(LOCK);
        for (link, target) in &task.links {
            make_parents(Path::new(link))?;
            match symlink(target, link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.explain(|| format!("failed to make the link `{link}`"))?,
            }
        }
        for input in &task.inputs {
            let target = PathBuf::from(&input.target);
            let this = (input.from.clone(), input.path.clone());
            match placed.get(&target) {
                Some(there) if *there == this => continue,
                Some(_) => return Err(Trouble::Conflict(input.target.clone())),
                None => {}
            }
            self.put(input)?;
            placed.insert(target, this);
        }
        for folder in [&task.folder, &task.out] {
            make_folder(Path::new(folder))?;
        }
        Ok(())
    }

    fn put(&self, input: &Input) -> std::result::Result<(), Trouble> {
        let target = Path::new(&input.target);
        make_parents(target)?;
        match &input.from {
            Source::Pack(name) => match self.tree(name, input)? {
                Some(tree) => Ok(self
                    .link(&tree, target)
                    .explain(|| format!("failed to link `{}`", input.target))?),
                None => self.unpack(&self.store.pack(name), &input.path, target),
            },
            Source::Outcome(key) => {
                let below =
                    Path::new(&input.path).strip_prefix(store::FILES).unwrap_or(Path::new(""));
                let made = self.numbers.get(key.as_str()).map(|number| {
                    let out = Path::new(&self.batch.tasks[*number].out);
                    if below.as_os_str().is_empty() { out.to_owned() } else { out.join(below) }
                });
                let placed = match made {
                    Some(made) if made == target => Ok(()),
                    Some(made) if made.is_dir() => store::copy_tree(&made, target),
                    Some(made) => fs::hard_link(made, target),
                    None => {
                        let stored = self.store.outcome(key).join(&input.path);
                        if store::is_linkable(target) {
                            self.link(&stored, target)
                        } else {
                            store::copy_tree(&stored, target)
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

    /// What the store has of a heavy pack at an input's path, if a link to that is enough, because
    /// nobody writes to it or into it.
    fn tree(&self, name: &str, input: &Input) -> Result<Option<PathBuf>> {
        let target = Path::new(&input.target);
        let below = self.places.range::<Path, _>((Bound::Excluded(target), Bound::Unbounded));
        let is_filled = below.take(1).any(|place| place.starts_with(target));
        if input.is_writable || is_filled {
            return Ok(None);
        }
        Ok(self.store.tree(name)?.map(|tree| tree.join(&input.path)))
    }

    fn link(&self, stored: &Path, target: &Path) -> io::Result<()> {
        symlink(stored, target)?;
        self.linked.lock().expect(LOCK).insert(target.to_owned(), stored.to_owned());
        Ok(())
    }

    /// Whether a task has sources by a link to the store.
    pub fn has_linked_sources(&self, task: &Task) -> bool {
        let linked = self.linked.lock().expect(LOCK);
        let is_linked = |input: &Input| linked.contains_key(Path::new(&input.target));
        task.inputs.iter().any(|input| matches!(input.from, Source::Pack(_)) && is_linked(input))
    }

    /// Puts copies in the place of a task's links to the store; returns whether there were any.
    pub fn copy_linked(&self, task: &Task) -> Result<bool> {
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
                store::copy_tree(&stored, &copy)?;
                fs::remove_file(&target)?;
                fs::rename(&copy, &target)
            };
            replace().explain(|| format!("failed to copy `{}`", input.target))?;
        }
        Ok(had_links)
    }

    /// Unpacks what a pack has at `source` to a place. What is there already has to be the same.
    fn unpack(&self, pack: &Path, source: &str, target: &Path) -> std::result::Result<(), Trouble> {
        let source = source.trim_matches('/');
        let explained =
            |error: io::Error| format!("failed to unpack `{}`: {error}", target.display());
        let mut reader = pack::Reader::open(pack).map_err(explained)?;
        let mut is_there = false;
        while let Some((path, entry)) = reader.next_entry().map_err(explained)? {
            let Ok(below) = Path::new(&path).strip_prefix(source) else { continue };
            is_there = true;
            let is_root = below.as_os_str().is_empty();
            let path = if is_root { target.to_owned() } else { target.join(below) };
            // Another input's place, or a task's own.
            if !is_root && self.places.contains(&path) && !matches!(entry, Entry::Folder { .. }) {
                continue;
            }
            let is_same = match (path.symlink_metadata(), &entry) {
                (Err(_), _) => {
                    pack::unpack(&mut reader, &entry, &path).map_err(explained)?;
                    true
                }
                (Ok(there), Entry::Folder { .. }) => there.is_dir(),
                (Ok(there), Entry::Link { to }) => {
                    there.is_symlink()
                        && fs::read_link(&path).is_ok_and(|link| link == Path::new(to))
                }
                (Ok(there), Entry::File { length, .. }) => {
                    there.is_file()
                        && pack::is_same(&mut reader, *length, &path).map_err(explained)?
                }
            };
            if !is_same {
                return Err(Trouble::Conflict(path.display().to_string()));
            }
        }
        if is_there {
            Ok(())
        } else {
            Err(Trouble::Failed(format!("nothing was sent for `{}`", target.display())))
        }
    }

    /// What a task may read of what is at its place, apart from what all may.
    pub fn readable(&self, task: &Task) -> Vec<PathBuf> {
        let own: BTreeSet<&Path> =
            task.inputs.iter().map(|input| Path::new(input.target.as_str())).collect();
        let is_foreign = |path: &Path| self.places.contains(path) && !own.contains(path);
        let mut paths = Vec::new();
        for input in &task.inputs {
            add_without(Path::new(&input.target), &self.places, &is_foreign, &mut paths);
        }
        paths.extend(
            task.links.iter().map(|(link, _)| PathBuf::from(link)).filter(|path| path.exists()),
        );
        paths
    }

    /// The keys of the batch's tasks whose files a task reads, by number.
    pub fn made_here(&self, task: &Task) -> BTreeSet<usize> {
        let keys = task.inputs.iter().filter_map(|input| match &input.from {
            Source::Outcome(key) => self.numbers.get(key.as_str()).copied(),
            Source::Pack(_) => None,
        });
        keys.collect()
    }

    /// Makes the task's user the owner of those of its inputs that it may write to.
    pub fn lend(&self, task: &Task, user: u32) -> Result<Vec<Lent<'a>>> {
        let inputs: Vec<&Input> =
            self.task(task).inputs.iter().filter(|input| input.is_writable).collect();
        let mut lent = self.lent.lock().expect(LOCK);
        let overlaps = |lent: &Vec<PathBuf>| {
            let overlaps = |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a);
            inputs
                .iter()
                .any(|input| lent.iter().any(|path| overlaps(path, Path::new(&input.target))))
        };
        while overlaps(&lent) {
            lent = self.given_back.wait(lent).expect(LOCK);
        }
        lent.extend(inputs.iter().map(|input| PathBuf::from(&input.target)));
        drop(lent);
        let lend = |input: &&'a Input| -> Result<Lent<'a>> {
            let path = PathBuf::from(&input.target);
            self.give_to(&path, user)
                .explain(|| format!("failed to make `{}` writable", input.target))?;
            let stamps =
                self.stamps(&path).explain(|| format!("failed to read `{}`", input.target))?;
            Ok(Lent { input, path, stamps })
        };
        inputs.iter().map(lend).collect()
    }

    /// Makes a user the owner of what is at a place, but for other places in it.
    fn give_to(&self, path: &Path, user: u32) -> io::Result<()> {
        each_below(path, &|path| self.places.contains(path), &mut |path, data| {
            own(path, data, user)
        })
    }

    /// What tells that somebody wrote to what is at a place.
    fn stamps(&self, path: &Path) -> io::Result<Stamps> {
        let mut stamps = Stamps::new();
        each_below(path, &|path| self.places.contains(path), &mut |path, data| {
            stamps
                .insert(path.to_owned(), (data.ino(), data.len(), data.ctime(), data.ctime_nsec()));
            Ok(())
        })?;
        Ok(stamps)
    }

    fn task(&self, task: &Task) -> &'a Task {
        &self.batch.tasks[self.numbers[task.key.as_str()]]
    }

    /// Takes it back, as it was.
    pub fn take_back(&self, lent: Vec<Lent<'a>>) -> Result<()> {
        let mut result = Ok(());
        for Lent { input, path, stamps: before } in &lent {
            let back = || -> std::result::Result<(), Trouble> {
                let now =
                    self.stamps(path).explain(|| format!("failed to read `{}`", input.target))?;
                for changed in now.keys().rev().filter(|path| before.get(*path) != now.get(*path)) {
                    // A folder changes with what is in it.
                    let removed = if changed.is_dir() && !changed.is_symlink() {
                        fs::remove_dir(changed).or(Ok(()))
                    } else {
                        fs::remove_file(changed)
                    };
                    removed.explain(|| format!("failed to remove `{}`", changed.display()))?;
                }
                if before.iter().any(|(path, stamp)| now.get(path) != Some(stamp)) {
                    self.put(input)?;
                }
                self.give_to(path, 0)
                    .explain(|| format!("failed to take `{}` back", input.target))?;
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

/// Something that a task may write to while it runs.
pub struct Lent<'a> {
    input: &'a Input,
    path: PathBuf,
    stamps: Stamps,
}

type Stamps = std::collections::BTreeMap<PathBuf, (u64, u64, i64, i64)>;

/// Makes a user the owner of all that is at a path; links lead elsewhere, and are not followed.
pub fn give_to(path: &Path, user: u32) -> io::Result<()> {
    each_below(path, &|_| false, &mut |path, data| own(path, data, user))
}

fn own(path: &Path, data: &fs::Metadata, user: u32) -> io::Result<()> {
    if data.uid() == user { Ok(()) } else { lchown(path, Some(user), Some(user)) }
}

/// `each` gets a path and all below it, but for what is left out.
fn each_below(
    path: &Path,
    is_left_out: &dyn Fn(&Path) -> bool,
    each: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let data = path.symlink_metadata()?;
    each(path, &data)?;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if !is_left_out(&path) {
                each_below(&path, is_left_out, each)?;
            }
        }
    }
    Ok(())
}

/// Adds a path without what is foreign below it: then all that is in its folder, one by one.
/// `places` contains all paths that may be foreign.
fn add_without(
    path: &Path,
    places: &BTreeSet<PathBuf>,
    is_foreign: &dyn Fn(&Path) -> bool,
    paths: &mut Vec<PathBuf>,
) {
    let below = places.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
    if !below.take_while(|place| place.starts_with(path)).any(|place| is_foreign(place)) {
        paths.push(path.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if !is_foreign(&entry.path()) {
            add_without(&entry.path(), places, is_foreign, paths);
        }
    }
}

fn make_parents(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => make_folder(parent),
        None => Ok(()),
    }
}

/// Makes a folder that everybody may go through, as those around it.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .explain(|| format!("failed to make the folder `{}`", path.display()))?;
    for folder in path.ancestors() {
        let mode =
            folder.metadata().map(|data| data.permissions().mode() & 0o7777).unwrap_or(0o755);
        if mode & 0o011 != 0o011 {
            let opened = fs::set_permissions(folder, Permissions::from_mode(mode | 0o011));
            opened.explain(|| format!("failed to open the folder `{}`", folder.display()))?;
        }
    }
    Ok(())
}

/// Makes a folder that one user may write to.
pub fn make_private_folder(path: &Path, user: u32) -> Result<()> {
    let make = || -> io::Result<()> {
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::create_dir_all(path)?;
        chown(path, Some(user), Some(user))?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
    };
    make().explain(|| format!("failed to make the folder `{}`", path.display()))
}

const LOCK: &str = "no thread panics while it has this lock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn what_is_foreign_is_left_out() {
        let scratch = Scratch::new("what_is_foreign_is_left_out");
        let root = scratch.path("w");
        for path in ["a/b/c", "a/d", "e/f"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let found = |foreign: &[&str]| {
            let places: BTreeSet<PathBuf> = foreign.iter().map(|path| root.join(path)).collect();
            let mut paths = Vec::new();
            add_without(&root, &places, &|path| places.contains(path), &mut paths);
            paths.sort();
            paths
                .iter()
                .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), [""]);
        assert_eq!(found(&["a/b"]), ["a/d", "e"]);
        assert_eq!(found(&["a/b/c", "e"]), ["a/d"]);
        // What is not there yet may come.
        assert_eq!(found(&["a/x"]), ["a/b", "a/d", "e"]);
    }
}
