//! One limit for all that this tool stores on the disk: outcomes, copies of sources and of other
//! inputs, canonical programs, and provenance. The least recently used goes first.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::util::state_dir::Cache;

/// What goes when there is too much. Records, which are small, go by their age alone
/// ([`Cache::sweep`]).
const GOES: &[&str] = &["artifacts", "programs", "sources", "store"];
const RECORDS: &[&str] = &[
    "about",
    "bases",
    "digests",
    "discovered",
    "engine-cache",
    "links",
    "listings",
    "macros",
    "observed",
    "reach",
    "recipes",
    "segments",
    "steps",
    "traces",
];
/// How long sizes are not added up again.
const INTERVAL: Duration = Duration::from_secs(600);
/// What was used within this time may still be needed by a build that runs.
const IN_USE: Duration = Duration::from_secs(60 * 60);

struct Entry {
    used: SystemTime,
    path: Utf8PathBuf,
}

/// Removes, now and then, what was used least recently, until the rest takes no more than `limit`
/// bytes.
pub fn sweep(cache: &Cache, limit: u64) -> Result<()> {
    if !cache.is_due("store-swept", INTERVAL)? {
        return Ok(());
    }
    let limits = Limits { size: limit, age: None, is_dry_run: false };
    collect(cache, limits, SystemTime::now()).map(drop)
}

/// What is to be left, and what of that is only looked at.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In bytes.
    pub size: u64,
    pub age: Option<Duration>,
    /// Whether nothing is removed in fact.
    pub is_dry_run: bool,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub items: usize,
    pub bytes: u64,
}

/// Removes what is too old, and then what was used least recently, until the rest is within the
/// limits.
pub fn collect(cache: &Cache, limits: Limits, now: SystemTime) -> Result<Removed> {
    let mut entries = Vec::new();
    for kind in GOES {
        let Ok(listed) = cache.path(kind).read_dir_utf8() else { continue };
        for entry in listed {
            let path = entry?.into_path();
            if let Ok(used) = fs::metadata(&path).and_then(|data| data.modified()) {
                entries.push(Entry { used, path });
            }
        }
    }
    // The latest copy is the one that has to be kept of a file which several copies share.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.used));
    let mut counted = HashSet::new();
    let mut size: u64 = RECORDS.iter().map(|kind| size_of(&cache.path(kind), &mut counted)).sum();
    let mut removed = Removed::default();
    for Entry { used, path } in entries {
        let own = size_of(&path, &mut counted);
        size += own;
        let age = now.duration_since(used).unwrap_or_default();
        let is_in_use = path.is_dir() && age < IN_USE;
        let is_too_old = limits.age.is_some_and(|most| age > most);
        if is_in_use || size <= limits.size && !is_too_old {
            continue;
        }
        removed.items += 1;
        removed.bytes += own;
        if limits.is_dry_run {
            continue;
        }
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.with_context(|| format!("failed to remove `{path}`"))?;
    }
    Ok(removed)
}

/// The bytes on the disk of a file or folder, without those of files that were counted before.
fn size_of(path: &Utf8Path, counted: &mut HashSet<(u64, u64)>) -> u64 {
    let files = WalkDir::new(path).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    files
        .filter(|data| data.nlink() < 2 || counted.insert((data.dev(), data.ino())))
        .map(|data| data.blocks() * 512)
        .sum()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    struct Disk {
        _dir: tempfile::TempDir,
        cache: Cache,
        now: SystemTime,
    }

    impl Disk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Utf8PathBuf::from_path_buf(dir.path().join("cache")).unwrap();
            Self { _dir: dir, cache: Cache::open(root).unwrap(), now: SystemTime::now() }
        }

        /// A file or, if it has a `/p` in it, a folder, of a megabyte, last used so many hours ago.
        fn keep(&self, name: &str, hours: u32) {
            let path = self.cache.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![1; 1 << 20]).unwrap();
            self.used(name.split("/p").next().unwrap(), hours);
        }

        fn used(&self, name: &str, hours: u32) {
            File::open(self.cache.path(name))
                .unwrap()
                .set_modified(self.now - HOUR * hours)
                .unwrap();
        }

        #[track_caller]
        fn left_within(&self, megabytes: u64, expected: &[&str], gone: &[&str]) {
            // Folders take some room, too.
            let size = (megabytes << 20) + (1 << 18);
            let limits = Limits { size, age: None, is_dry_run: false };
            let told = Limits { is_dry_run: true, ..limits };
            let told = collect(&self.cache, told, self.now).unwrap();
            assert_eq!(collect(&self.cache, limits, self.now).unwrap(), told);
            expected
                .iter()
                .for_each(|name| assert!(self.cache.path(name).exists(), "{name} is gone"));
            gone.iter()
                .for_each(|name| assert!(!self.cache.path(name).exists(), "{name} is there"));
        }
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let disk = Disk::new();
        for (name, hours) in
            [("store/u1", 2), ("sources/s1/p", 3), ("store/u2", 4), ("artifacts/f1/p", 5)]
        {
            disk.keep(name, hours);
        }
        disk.keep("steps/a", 90);
        disk.left_within(3, &["store/u1", "sources/s1", "steps/a"], &["store/u2", "artifacts/f1"]);
        disk.left_within(0, &["steps/a"], &["store/u1", "sources/s1"]);
    }

    #[test]
    fn what_a_build_may_be_about_to_send_stays() {
        let disk = Disk::new();
        disk.keep("sources/s1/p", 0);
        disk.keep("store/u1", 0);
        disk.left_within(0, &["sources/s1"], &["store/u1"]);
    }

    #[test]
    fn what_is_too_old_goes_however_small() {
        let disk = Disk::new();
        disk.keep("store/u1", 1);
        disk.keep("store/u2", 3);
        let limits = Limits { size: u64::MAX, age: Some(2 * HOUR), is_dry_run: false };
        let removed = collect(&disk.cache, limits, disk.now).unwrap();
        assert_eq!(removed, Removed { items: 1, bytes: 1 << 20 });
        assert!(disk.cache.path("store/u1").exists() && !disk.cache.path("store/u2").exists());
    }

    #[test]
    fn what_copies_share_counts_once() {
        let disk = Disk::new();
        disk.keep("sources/s1/p", 2);
        fs::create_dir_all(disk.cache.path("sources/s2")).unwrap();
        fs::hard_link(disk.cache.path("sources/s1/p"), disk.cache.path("sources/s2/p")).unwrap();
        disk.used("sources/s2", 1);
        disk.used("sources/s1", 2);
        disk.left_within(1, &["sources/s1", "sources/s2"], &[]);
    }
}
