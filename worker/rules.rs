//! Which files the kernel lets each task of a batch read and write.

use std::{
    collections::BTreeSet,
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
};

use crate::{
    process::Slot,
    protocol::{BIN, Source, Task, WORKER},
    report::{Explain, Result},
    sys::landlock::{Abi, LIST, OpenPath, READ, Ruleset, WRITE},
    view::View,
};

/// What no task sees, or not as it is.
pub const OF_KERNEL: &[&str] = &["/run", "/dev", "/proc", "/sys"];
/// What all users of a machine share.
pub const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// What the kernel holds tasks to, as far as it is the same for all.
pub struct Rules {
    abi: Abi,
    readable: Vec<OpenPath>,
    devices: Vec<OpenPath>,
}

impl Rules {
    pub fn new(abi: Abi, image: &Image) -> Result<Self> {
        let open = |path: &PathBuf| OpenPath::open(path).ok();
        let others = ["/proc", "/sys", BIN].map(PathBuf::from);
        let readable: Vec<PathBuf> = image.paths.iter().cloned().chain(others).collect();
        let devices = ["null", "zero", "full", "random", "urandom", "tty", "fd"];
        let devices: Vec<PathBuf> =
            devices.iter().map(|name| Path::new("/dev").join(name)).collect();
        Ok(Self {
            abi,
            readable: readable.iter().filter_map(open).collect(),
            devices: devices.iter().filter_map(open).collect(),
        })
    }

    /// What one task may read and write. `state` is its folder that outlives it, and a task that
    /// `has_common_temporary` may use the folders that all users of a machine share.
    pub fn of(
        &self,
        view: &View<'_>,
        task: &Task,
        slot: &Slot,
        state: Option<&Path>,
        has_common_temporary: bool,
    ) -> Result<Ruleset> {
        let build = || -> io::Result<Ruleset> {
            let rules = Ruleset::new(self.abi)?;
            self.readable.iter().try_for_each(|place| rules.allow(place, READ))?;
            self.devices.iter().try_for_each(|place| rules.allow(place, WRITE))?;
            for (path, rights) in readable(view, task) {
                if let Some(place) = open_there(&path)? {
                    rules.allow(&place, rights)?;
                }
            }
            let own = [slot.private()].into_iter().chain(state.map(Path::to_owned));
            for path in writable(task).map(Path::to_owned).chain(own) {
                rules.allow(&OpenPath::open(&path)?, WRITE)?;
            }
            if has_common_temporary {
                for path in TEMPORARY {
                    if let Ok(place) = OpenPath::open(Path::new(path)) {
                        rules.allow(&place, WRITE)?;
                    }
                }
            }
            Ok(rules)
        };
        build().explain(|| format!("failed to say what {} may read", task.name))
    }
}

/// Opens what is at a path; `None` for a link that leads to nothing, as one may that leads out of a
/// package: there is nothing to allow.
fn open_there(path: &Path) -> io::Result<Option<OpenPath>> {
    match OpenPath::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => Ok(None),
        opened => opened.map(Some),
    }
}

/// What a task may write to, apart from what is only its own.
pub fn writable(task: &Task) -> impl Iterator<Item = &Path> {
    let inputs = task.inputs.iter().filter(|input| input.is_writable).map(|input| &input.target);
    inputs.chain([&task.out]).chain(&task.opened).map(Path::new)
}

/// What all tasks see of the image itself.
pub struct Image {
    paths: BTreeSet<PathBuf>,
}

impl Image {
    /// To be asked before anything is placed.
    pub fn of(view: &View<'_>) -> Self {
        let hidden = OF_KERNEL.iter().chain(TEMPORARY).chain([&WORKER]).map(PathBuf::from);
        let hidden: BTreeSet<PathBuf> = hidden.chain(view.places.iter().cloned()).collect();
        let mut paths = Vec::new();
        add_without(Path::new("/"), &hidden, &|path| hidden.contains(path), &mut paths);
        Self { paths: paths.into_iter().collect() }
    }

    /// Whether a path is the image's, or would be if there were something.
    pub fn has(&self, path: &Path) -> bool {
        path.ancestors().any(|folder| self.paths.contains(folder))
    }
}

/// What a task may read of what is at its place, apart from what all may, and by which rights.
fn readable(view: &View<'_>, task: &Task) -> Vec<(PathBuf, u64)> {
    let own: BTreeSet<&Path> =
        task.inputs.iter().map(|input| Path::new(input.target.as_str())).collect();
    let is_foreign = |path: &Path| view.places.contains(path) && !own.contains(path);
    let mut rights = Vec::new();
    for input in &task.inputs {
        let target = Path::new(&input.target);
        match &input.from {
            Source::Pack(_) if view.batch.mounted.contains(&input.target) => {
                rights.push((target.to_owned(), READ));
            }
            Source::Pack(name) => {
                let held = view.store.pack(name).join(&input.path);
                let is_mixed = view.contested.contains_key(target);
                add_held(target, &held, &view.places, is_mixed, &mut rights);
            }
            Source::Outcome(_) => {
                let mut paths = Vec::new();
                add_without(target, &view.places, &is_foreign, &mut paths);
                rights.extend(paths.into_iter().map(|path| (path, READ)));
            }
        }
        // A compiler searches a folder for the crates that a crate is made from, and a script its
        // package, which may be given entry by entry.
        let around = target.parent().filter(|folder| *folder != Path::new("/"));
        rights.extend(around.map(|folder| (folder.to_owned(), LIST)));
    }
    let links = task.links.iter().map(|(link, _)| PathBuf::from(link));
    rights.extend(links.filter(|path| path.exists()).map(|path| (path, READ)));
    rights.sort();
    rights.dedup();
    rights
}

/// Adds what a pack holds at a path: the path as a whole, unless something of others may be in it,
/// too. Then that is listed, but not read. What `is_mixed` is where others put something, too.
fn add_held(
    path: &Path,
    held: &Path,
    places: &BTreeSet<PathBuf>,
    is_mixed: bool,
    rights: &mut Vec<(PathBuf, u64)>,
) {
    let mut below = places.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
    let is_shared = is_mixed || below.next().is_some_and(|place| place.starts_with(path));
    if !is_shared || held.is_symlink() || !held.is_dir() {
        rights.push((path.to_owned(), READ));
        return;
    }
    rights.push((path.to_owned(), LIST));
    for entry in fs::read_dir(held).into_iter().flatten().flatten() {
        let (path, held) = (path.join(entry.file_name()), entry.path());
        add_held(&path, &held, places, is_mixed || places.contains(&path), rights);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::Batch,
        tests::Scratch,
        view::tests::{input, store, task},
    };

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

    #[test]
    fn a_link_that_leads_nowhere_is_not_missing() {
        let scratch = Scratch::new("a_link_that_leads_nowhere_is_not_missing");
        std::os::unix::fs::symlink("nothing", scratch.path("link")).unwrap();
        assert!(open_there(&scratch.path("link")).unwrap().is_none());
        assert!(open_there(&scratch.path("nothing")).is_err());
        assert!(open_there(&scratch.path("")).unwrap().is_some());
    }

    #[test]
    fn what_others_put_into_a_folder_is_not_read() {
        let scratch = Scratch::new("what_others_put_into_a_folder_is_not_read");
        let (root, held) = (scratch.path("w"), scratch.path("held"));
        for path in ["src/a", "sub/b", "sub/c/d"] {
            fs::create_dir_all(held.join(path).parent().unwrap()).unwrap();
            fs::write(held.join(path), "").unwrap();
        }
        let found = |places: &[&str]| {
            let places = places.iter().map(|path| root.join(path)).collect();
            let mut rights = Vec::new();
            add_held(&root, &held, &places, false, &mut rights);
            rights.sort();
            let below = |(path, rights): &(PathBuf, u64)| {
                let path = path.strip_prefix(&root).unwrap().display().to_string();
                if *rights == LIST { format!("{path}/") } else { path }
            };
            rights.iter().map(below).collect::<Vec<_>>()
        };
        assert_eq!(found(&[""]), [""]);
        assert_eq!(found(&["", "target"]), ["/", "src", "sub"]);
        assert_eq!(found(&["", "sub/x"]), ["/", "src", "sub/", "sub/b", "sub/c"]);
        assert_eq!(found(&["", "sub"]), ["/", "src", "sub/", "sub/b", "sub/c/", "sub/c/d"]);
        assert_eq!(found(&["", "src/a"]), ["/", "src/", "src/a", "sub"]);
    }

    #[test]
    fn what_another_pack_has_at_the_same_place_is_not_read() {
        let scratch = Scratch::new("what_another_pack_has_at_the_same_place_is_not_read");
        let store = store(&scratch, &[("s1/p/a", "a"), ("s1/p/b", "b"), ("s2/p/a", "a")]);
        let (around, out) = (scratch.path("around"), scratch.path("target"));
        let root = around.join("w");
        let tasks =
            ["s1", "s2"].map(|pack| task(pack, &out, vec![input(&root, pack, "p")])).to_vec();
        let batch = Batch { tasks, ..Batch::default() };
        let view = View::new(&batch, &store);
        let allowed = [(around, LIST), (root.clone(), LIST), (root.join("a"), READ)];
        assert_eq!(readable(&view, &batch.tasks[1]), allowed);
    }
}
