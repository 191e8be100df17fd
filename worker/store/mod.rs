//! What the engine stores for later calls: outcomes by key, what packs hold by name, and folders
//! that outlive a task.
//!
//! It is one cache mount for all calls, which may run at the same time. All that is in it appears
//! by rename, whole.

pub mod listing;

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};

use crate::{
    bytes::lz4::Decompressor,
    files,
    lines::one_line,
    outcome, pack,
    protocol::BUILD_ID,
    report::{Explain, Result},
    sys,
};

/// What is in an outcome, for damage to be noticed.
pub const LISTING: &str = "listing";

pub struct Store {
    root: PathBuf,
    /// Of the call that uses it.
    id: String,
    count: AtomicUsize,
    /// Whether outcomes that were asked for are there, and whole as far as their sizes tell.
    known: Mutex<HashMap<String, bool>>,
}

/// A call that runs. Its lock is released even by a kill.
pub struct Running {
    _locked: File,
    path: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Store {
    /// Opens that of this version in a folder, and takes in what the client gave.
    pub fn open(mount: &Path, id: &str) -> Result<Self> {
        let root = mount.join(format!("v{}", crate::protocol::VERSION));
        // Tasks look through these folders, but into nothing that they were not given.
        for (name, mode) in [
            ("", 0o711),
            ("outcomes", 0o711),
            ("packs", 0o700),
            ("states", 0o711),
            ("locks", 0o700),
            ("tmp", 0o700),
        ] {
            let folder = root.join(name);
            fs::create_dir_all(&folder)
                .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(mode)))
                .explain(|| format!("failed to make `{}`", folder.display()))?;
        }
        Ok(Self { root, id: id.to_owned(), count: AtomicUsize::new(0), known: Mutex::default() })
    }

    /// The number of this store, which no other one has. An engine may have two, and mount either.
    pub fn number(&self) -> io::Result<String> {
        let (path, temporary) = (self.root.join("number"), self.temporary());
        fs::write(&temporary, &self.id)?;
        // The first call's stays.
        let _ = fs::hard_link(&temporary, &path);
        fs::remove_file(&temporary)?;
        fs::read_to_string(path)
    }

    /// The folder with what a pack holds.
    pub fn pack(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join("packs").join(name)
    }

    /// The names of all outcomes and packs, each on a line; after that of an outcome stands what
    /// its process printed, as far as everybody may read it.
    pub fn inventory(&self) -> io::Result<String> {
        let mut text = String::new();
        for folder in ["outcomes", "packs"] {
            for entry in fs::read_dir(self.root.join(folder))? {
                let entry = entry?;
                text += &entry.file_name().to_string_lossy();
                if let Some(printed) = outcome::printed_for_all(&entry.path()) {
                    text += &format!(" {}", one_line(&printed));
                }
                text += "\n";
            }
        }
        Ok(text)
    }

    /// The folder of locks that all calls share.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Has others see that a call of this name runs, until what is returned is dropped.
    pub fn run_call(&self, name: &str) -> Result<Running> {
        let path = self.lock_of_call(name);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.explain(|| format!("failed to make `{}`", path.display()))?;
        sys::try_lock(file.as_fd());
        Ok(Running { _locked: file, path })
    }

    /// Whether a call of this name runs.
    pub fn is_running(&self, name: &str) -> bool {
        let file = File::open(self.lock_of_call(name));
        file.is_ok_and(|file| !sys::try_lock(file.as_fd()))
    }

    fn lock_of_call(&self, name: &str) -> PathBuf {
        self.root.join("tmp").join(format!("call-{name}"))
    }

    /// A folder with an outcome: whole, if it is there.
    pub fn outcome(&self, key: &str) -> PathBuf {
        self.root.join("outcomes").join(key)
    }

    /// Whether there is an outcome. One that lacks a file, or in which a file has another size, is
    /// removed.
    pub fn has_outcome(&self, key: &str) -> bool {
        let mut known = self.known.lock().expect(LOCK);
        *known.entry(key.to_owned()).or_insert_with(|| {
            let folder = self.outcome(key);
            use_now(&folder);
            folder.exists() && (listing::is_as_listed(&folder, false) || self.remove(key))
        })
    }

    /// The same, where another call may have added it since this one looked.
    pub fn has_outcome_now(&self, key: &str) -> bool {
        let is_new = self.outcome(key).exists();
        if is_new {
            self.known.lock().expect(LOCK).remove(key);
        }
        is_new && self.has_outcome(key)
    }

    /// The same, with every byte looked at.
    pub fn has_whole_outcome(&self, key: &str) -> bool {
        let is_whole = self.has_outcome(key)
            && (listing::is_as_listed(&self.outcome(key), true) || self.remove(key));
        self.known.lock().expect(LOCK).insert(key.to_owned(), is_whole);
        is_whole
    }

    /// Removes a damaged outcome; returns that it is not there.
    fn remove(&self, key: &str) -> bool {
        println!("the stored outcome {key} is damaged and removed");
        let temporary = self.temporary();
        if fs::rename(self.outcome(key), &temporary).is_ok() {
            // What stays of it is in nobody's way.
            let _ = fs::remove_dir_all(&temporary);
        }
        false
    }

    /// A folder that outlives tasks, which is made, and its lock: one task uses it at a time.
    pub fn state(&self, name: &str) -> Result<(PathBuf, File)> {
        let folder = self.root.join("states").join(name);
        let explain = || format!("failed to make `{}`", folder.display());
        fs::create_dir_all(&folder).explain(explain)?;
        let lock = File::open(&folder).explain(explain)?;
        while !sys::try_lock(lock.as_fd()) {
            thread::sleep(Duration::from_millis(20));
        }
        use_now(&folder);
        Ok((folder, lock))
    }

    /// A path of this call's own, where nothing is.
    fn temporary(&self) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.root.join("tmp").join(format!("{}-{number}", self.id))
    }

    /// Stores what a client sent; returns the names of packs whose base is not there.
    pub fn receive(&self, given: &Path) -> Result<Vec<String>> {
        let mut lacking = Vec::new();
        for (kind, is_pack) in [("packs", true), ("outcomes", false)] {
            let folder = given.join(kind);
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.explain(|| format!("failed to read `{}`", folder.display()))?;
                let name = entry.file_name().into_string();
                let name = name.map_err(|name| format!("{name:?} is no name"))?;
                if !is_pack {
                    self.add_outcome(&entry.path(), &name)?;
                    continue;
                }
                self.add_pack(&entry.path(), &name)?;
                if !self.has_pack(&name) {
                    lacking.push(name);
                }
            }
        }
        Ok(lacking)
    }

    /// Stores what is in a pack. One whose base is not there is not stored.
    fn add_pack(&self, from: &Path, name: &str) -> Result<()> {
        let (temporary, place) = (self.temporary(), self.pack(name));
        if place.exists() {
            return Ok(());
        }
        let add = || -> io::Result<()> {
            match self.unpack(from, &temporary) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    println!("the pack {name} is based on what is gone: {error}");
                    return fs::remove_dir_all(&temporary);
                }
                unpacked => unpacked?,
            }
            files::open_to_all(&temporary)?;
            match fs::rename(&temporary, &place) {
                // Another call was as fast, with the same.
                Err(_) if place.exists() => fs::remove_dir_all(&temporary),
                other => other,
            }
        };
        add().explain(|| format!("failed to store the sources {name}"))
    }

    /// Unpacks what the client sent into a folder, which is made.
    fn unpack(&self, from: &Path, folder: &Path) -> io::Result<()> {
        let pack = Decompressor::new(File::open(from)?);
        pack::unpack_all(pack, folder, |base| self.pack(base))
    }

    /// Whether there is a pack.
    pub fn has_pack(&self, name: &str) -> bool {
        use_now(&self.pack(name));
        self.pack(name).exists()
    }

    /// Removes what was used least recently, until the rest takes no more than so many bytes. What
    /// was used within an hour stays, because another call may be using it. Looks only now and
    /// then, for that takes a while.
    pub fn sweep(&self, limit: u64) -> io::Result<()> {
        let marker = self.root.join("swept");
        if age(&marker).is_some_and(|age| age < SWEEP_EVERY) {
            return Ok(());
        }
        fs::write(&marker, "")?;
        let mut entries = Vec::new();
        for kind in ["outcomes", "packs", "states", "tmp"] {
            for entry in fs::read_dir(self.root.join(kind))? {
                let path = entry?.path();
                entries.push((age(&path).unwrap_or_default(), size(&path).unwrap_or(0), path));
            }
        }
        entries.sort();
        let mut total = 0;
        for (age, size, path) in entries {
            total += size;
            if total > limit && age > IN_USE {
                total -= size;
                let temporary = self.temporary();
                // Whole, so that nobody finds a part of it.
                if fs::rename(&path, &temporary).is_ok() {
                    let is_folder = temporary.symlink_metadata()?.is_dir();
                    let removed = if is_folder {
                        fs::remove_dir_all(&temporary)
                    } else {
                        fs::remove_file(&temporary)
                    };
                    removed?;
                }
            }
        }
        Ok(())
    }

    /// Stores an outcome that the client sent as a pack.
    fn add_outcome(&self, from: &Path, key: &str) -> Result<()> {
        if self.has_outcome(key) {
            return Ok(());
        }
        self.put(key, |folder| self.unpack(from, folder))
    }

    /// Stores an outcome, which is made in a folder that is not there yet.
    pub fn put(&self, key: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        let (temporary, place) = (self.temporary(), self.outcome(key));
        let put = || -> io::Result<()> {
            make(&temporary)?;
            listing::write(&temporary)?;
            files::open_to_all(&temporary)?;
            // Tasks look through it, but not into it.
            fs::set_permissions(&temporary, Permissions::from_mode(0o711))?;
            match fs::rename(&temporary, &place) {
                // Another call was as fast, with the same.
                Err(_) if place.join(BUILD_ID).exists() => fs::remove_dir_all(&temporary),
                other => other,
            }
        };
        put().explain(|| format!("failed to store the outcome {key}"))?;
        self.known.lock().expect(LOCK).insert(key.to_owned(), true);
        Ok(())
    }
}

const LOCK: &str = "no thread panics while it has this lock";
/// How long after its last use something may still be in use.
const IN_USE: Duration = Duration::from_secs(3600);
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Notes that something is in use now.
fn use_now(path: &Path) {
    // Where nothing is, nothing is noted.
    if let Ok(file) = File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// How long ago something was used.
fn age(path: &Path) -> Option<Duration> {
    path.symlink_metadata().ok()?.modified().ok()?.elapsed().ok()
}

/// In bytes, links not followed.
fn size(path: &Path) -> io::Result<u64> {
    let data = path.symlink_metadata()?;
    let mut size = data.len();
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            size += self::size(&entry?.path())?;
        }
    }
    Ok(size)
}

/// Whether a link to the store is enough. It is for a crate, which only rustc, its linker and the
/// dynamic linker open.
pub fn is_linkable(path: &Path) -> bool {
    matches!(
        path.extension().and_then(|extension| extension.to_str()),
        Some("rlib" | "rmeta" | "so")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use crate::{bytes::lz4::Compressor, protocol::FILES, tests::Scratch};

    #[test]
    fn a_store_has_one_number() {
        let scratch = Scratch::new("a_store_has_one_number");
        let number = |name: &str, id: &str| Store::open(&scratch.path(name), id).unwrap().number();
        assert_eq!(number("a", "1").unwrap(), "1");
        assert_eq!(number("a", "2").unwrap(), "1");
        assert_eq!(number("b", "3").unwrap(), "3");
    }

    #[test]
    fn the_first_outcome_of_a_key_stays() {
        let scratch = Scratch::new("the_first_outcome_of_a_key_stays");
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        let put = |text: &str| {
            store.put("u1", |folder| {
                fs::create_dir_all(folder.join(FILES))?;
                fs::write(folder.join(BUILD_ID), text)
            })
        };
        assert!(!store.has_outcome("u1"));
        put("first").unwrap();
        put("second").unwrap();
        assert_eq!(fs::read(store.outcome("u1").join(BUILD_ID)).unwrap(), b"first");
        assert_eq!(fs::read_dir(store.root.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_state_is_used_by_one_task() {
        let scratch = Scratch::new("a_state_is_used_by_one_task");
        let [one, other] = ["1", "2"].map(|id| Store::open(&scratch.path("store"), id).unwrap());
        let (folder, lock) = one.state("i1").unwrap();
        assert_ne!(other.state("i2").unwrap().0, folder);
        let waiting = thread::spawn(move || other.state("i1").unwrap().0);
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        drop(lock);
        assert_eq!(waiting.join().unwrap(), folder);
    }

    #[test]
    fn what_another_call_makes_is_seen() {
        let scratch = Scratch::new("what_another_call_makes_is_seen");
        let [one, other] = ["1", "2"].map(|id| Store::open(&scratch.path("store"), id).unwrap());
        assert!(!other.is_running("c1") && !other.has_outcome("u1"));
        let running = one.run_call("c1").unwrap();
        assert!(other.is_running("c1") && !other.has_outcome_now("u1"));
        one.put("u1", |folder| {
            fs::create_dir_all(folder.join(FILES))?;
            fs::write(folder.join(BUILD_ID), "1")
        })
        .unwrap();
        assert!(!other.has_outcome("u1") && other.has_outcome_now("u1"));
        drop(running);
        assert!(!other.is_running("c1"));
        // As after a kill.
        fs::write(other.lock_of_call("c3"), "").unwrap();
        assert!(!other.is_running("c3"));
    }

    #[test]
    fn all_tasks_may_read_what_only_its_maker_could() {
        let scratch = Scratch::new("all_tasks_may_read_what_only_its_maker_could");
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        let names = ["", "a\nb", "a\nb/program", "text"].map(|name| Path::new(FILES).join(name));
        let modes = [0o700, 0o710, 0o700, 0o600];
        let make = |folder: &Path| {
            fs::create_dir_all(folder.join(&names[1]))?;
            fs::write(folder.join(&names[2]), "")?;
            fs::write(folder.join(&names[3]), "")?;
            names.iter().zip(modes).try_for_each(|(name, mode)| {
                fs::set_permissions(folder.join(name), Permissions::from_mode(mode))
            })
        };
        store.put("u1", make).unwrap();
        let folder = store.outcome("u1");
        let mode = |name: &PathBuf| folder.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(names.each_ref().map(|name| mode(name) & 0o777), [0o755, 0o755, 0o755, 0o644]);
        let listed = listing::modes(&folder);
        // As `files/` and `files` are one path.
        assert_eq!(names.each_ref().map(|name| listed[name.as_path()]), modes);
        assert!(store.has_whole_outcome("u1"));
    }

    #[test]
    fn what_is_damaged_is_not_there() {
        let scratch = Scratch::new("what_is_damaged_is_not_there");
        let open = || Store::open(&scratch.path("store"), "1").unwrap();
        let put = |store: &Store| {
            store
                .put("u1", |folder| {
                    fs::create_dir_all(folder.join(FILES).join("a"))?;
                    fs::write(folder.join(FILES).join("a/b"), "object code")?;
                    fs::write(folder.join(BUILD_ID), "1")
                })
                .unwrap();
        };
        let file = open().outcome("u1").join(FILES).join("a/b");
        for (damaged, is_there, is_whole) in
            [("object code", true, true), ("object", false, false), ("object c0de", true, false)]
        {
            put(&open());
            fs::write(&file, damaged).unwrap();
            assert_eq!(open().has_outcome("u1"), is_there, "{damaged}");
            assert_eq!(open().has_whole_outcome("u1"), is_whole, "{damaged}");
            assert_eq!(open().outcome("u1").exists(), is_whole, "{damaged}");
        }
        put(&open());
        fs::remove_file(&file).unwrap();
        assert!(!open().has_outcome("u1"));
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let scratch = Scratch::new("what_was_used_least_recently_goes_first");
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
        for (key, hours) in [("u1", 4), ("u2", 2), ("u3", 3), ("u4", 0)] {
            let make = |folder: &Path| {
                fs::create_dir_all(folder.join(FILES))?;
                fs::write(folder.join(FILES).join("a"), vec![0; 100_000])
            };
            store.put(key, make).unwrap();
            File::open(store.outcome(key)).unwrap().set_modified(hours_ago(hours)).unwrap();
        }
        store.sweep(250_000).unwrap();
        let is_there = |key: &str| store.outcome(key).exists();
        assert_eq!(["u1", "u2", "u3", "u4"].map(is_there), [false, true, false, true]);
        // Not again for a while.
        store.sweep(1).unwrap();
        assert!(is_there("u2"));
        // What is in use stays.
        fs::remove_file(store.root.join("swept")).unwrap();
        store.sweep(1).unwrap();
        assert_eq!(["u2", "u4"].map(is_there), [false, true]);
    }

    #[test]
    fn what_fails_on_its_way_is_not_there() {
        let scratch = Scratch::new("what_fails_on_its_way_is_not_there");
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        let mut compressor = Compressor::new(Vec::new()).unwrap();
        compressor.write_all(b"file 644 10 status\ncut").unwrap();
        fs::write(scratch.path("pack"), compressor.finish().unwrap()).unwrap();
        assert!(store.add_outcome(&scratch.path("pack"), "u1").is_err());
        assert!(!store.has_outcome("u1"));
    }
}
