//! The user's cache folder: small JSON records, and folders of files. Both are replaced by rename
//! only.
//!
//! Everything in it may be deleted at any time. A damaged record counts as missing.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::{NamedTempFile, TempDir};

use crate::util::{
    digest::{digest, hex},
    disk::OnDisk,
};

pub struct Cache {
    root: Utf8PathBuf,
}

impl Cache {
    /// Makes the folder where it is missing, and tags it as what it is: it may lie in a package,
    /// whose source it is no part of.
    ///
    /// Source of the tag: the Cache Directory Tagging Specification.
    pub fn open(root: Utf8PathBuf) -> Result<Self> {
        let cache = Self { root };
        let tag = cache.path("CACHEDIR.TAG");
        let make = || {
            fs::create_dir_all(cache.path("tmp"))
                .and_then(|()| if tag.exists() { Ok(()) } else { fs::write(&tag, TAG) })
        };
        make().with_context(|| {
            format!("failed to make the cache folder `{}` (hint: set XDG_CACHE_HOME)", cache.root)
        })?;
        Ok(cache)
    }

    /// The folder or file of this name.
    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.root.join(name)
    }

    /// A record; `None` if there is none, or none that can be read.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.path(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                log::warn!("failed to read `{path}`: {error}");
                return None;
            }
        };
        let record = serde_json::from_slice(&bytes);
        record.inspect_err(|error| log::warn!("failed to read `{path}`: {error}")).ok()
    }

    /// Writes a record; readers see the old one or the new one.
    pub fn write<T: Serialize>(&self, name: &str, record: &T) -> Result<()> {
        self.write_bytes(name, &serde_json::to_vec(record)?)
    }

    /// The same with bytes that are no JSON.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let write = || -> Result<()> {
            let dir = path.parent().expect("a record is in the cache folder");
            fs::create_dir_all(dir)?;
            let mut file = NamedTempFile::new_in(dir)?;
            file.write_all(bytes)?;
            file.persist(&path)?;
            Ok(())
        };
        write().on_disk(&path, || format!("failed to write `{path}`"))
    }

    /// Makes a note of this name. Returns whether this process is the first to make it.
    pub fn claim(&self, name: &str) -> io::Result<bool> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a note is in the cache folder"))?;
        match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|_| true),
        }
    }

    /// A digest that does not reveal the value, because it depends on a secret number of this
    /// cache.
    pub fn keyed_digest(&self, value: &str) -> Result<String> {
        let _lock = self.lock("digest-key.lock")?;
        let key: String = match self.read("digest-key") {
            Some(key) => key,
            None => {
                let mut bytes = [0; 32];
                File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes))?;
                let key = hex(&bytes);
                self.write("digest-key", &key)?;
                key
            }
        };
        Ok(digest([key.as_str(), value]))
    }

    /// A folder for this process, deleted when dropped.
    pub fn temp_dir(&self) -> Result<TempDir> {
        let tmp = self.path("tmp");
        tempfile::tempdir_in(&tmp).on_disk(&tmp, || format!("failed to make a folder in `{tmp}`"))
    }

    /// The folder of this name, if there is one; `sweep` sees that it is in use.
    pub fn used(&self, name: &str) -> Option<Utf8PathBuf> {
        let path = self.path(name);
        let _ = File::open(&path).ok()?.set_modified(SystemTime::now());
        Some(path)
    }

    /// Fills a folder and gives it its name, unless one of that name is there already.
    pub fn folder(
        &self,
        name: &str,
        fill: impl FnOnce(&Utf8Path) -> Result<()>,
    ) -> Result<Utf8PathBuf> {
        if let Some(path) = self.used(name) {
            return Ok(path);
        }
        let (parent, own) = name.rsplit_once('/').unwrap_or(("", name));
        self.folder_named_by(parent, |new| fill(new).map(|()| own.to_owned()))
    }

    /// Fills a folder in `parent` and gives it the name that was found in doing so, unless one of
    /// that name is there already.
    pub fn folder_named_by(
        &self,
        parent: &str,
        fill: impl FnOnce(&Utf8Path) -> Result<String>,
    ) -> Result<Utf8PathBuf> {
        let parent = self.path(parent);
        let temp = self.temp_dir()?;
        let new = Utf8Path::from_path(temp.path())
            .context("the cache folder's name is not UTF-8")?
            .join("new");
        fs::create_dir(&new)
            .and_then(|()| fs::create_dir_all(&parent))
            .with_context(|| format!("failed to make a folder in `{parent}`"))?;
        let path = parent.join(fill(&new)?);
        match fs::rename(&new, &path) {
            Err(_) if path.exists() => Ok(path),
            done => done.map(|()| path.clone()).with_context(|| format!("failed to make `{path}`")),
        }
    }

    /// Removes, once a day, what no build has used for long and what killed processes left behind.
    pub fn sweep(&self) -> Result<()> {
        if !self.is_due("swept", DAY)? {
            return Ok(());
        }
        AGES.iter().try_for_each(|(name, days)| self.sweep_folder(name, *days))
    }

    /// Removes what is in a folder and was not used for so many days.
    pub fn sweep_folder(&self, name: &str, days: u32) -> Result<()> {
        let Ok(entries) = self.path(name).read_dir_utf8() else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if is_older(path, days * DAY) {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let removed =
                    if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
                removed.with_context(|| format!("failed to remove `{path}`"))?;
            }
        }
        Ok(())
    }

    /// Whether something was last done longer ago than `interval`; from now on it was done now.
    pub fn is_due(&self, name: &str, interval: Duration) -> Result<bool> {
        let stamp = self.path(name);
        if stamp.exists() && !is_older(&stamp, interval) {
            return Ok(false);
        }
        fs::write(&stamp, "").on_disk(&stamp, || format!("failed to write `{stamp}`"))?;
        Ok(true)
    }

    /// Waits for the lock of this name; dropping the file gives it back.
    pub fn lock(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        let lock = || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error: std::io::Error| {
            anyhow::Error::new(error).context(format!("failed to lock `{path}`"))
        })
    }
}

const TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# Of rustcbuildx: may be deleted at any time.\n";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// After how many days unused things are removed. The records of a target folder's files are
/// written together with these files, and only read later. Without them, the files are sent as
/// artifacts of unknown making.
const AGES: &[(&str, u32)] = &[
    ("about", 90),
    ("artifacts", 30),
    ("digests", 90),
    ("discovered", 90),
    ("engine-cache", 30),
    ("failures", 1),
    ("links", 90),
    ("bases", 30),
    ("listings", 30),
    ("macros", 90),
    ("notices", 1),
    ("notices-left", 1),
    ("observed", 90),
    ("plans", 1),
    ("programs", 90),
    ("reach", 30),
    ("programs-known", 90),
    ("recipes", 90),
    ("push-failures", 30),
    ("records", 30),
    ("remotes", 90),
    ("segments", 30),
    ("settings", 30),
    ("sources", 30),
    ("steps", 90),
    ("traces", 90),
    ("tmp", 1),
    ("worker", 30),
];

/// Whether a file was written longer ago than that; one that is not there was not.
pub fn is_older(path: &Utf8Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|data| data.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("c")).unwrap();
        (dir, Cache::open(root).unwrap())
    }

    #[test]
    fn a_damaged_record_counts_as_missing() {
        let (_dir, cache) = cache();
        cache.write("a/b", &vec![1, 2]).unwrap();
        assert_eq!(cache.read::<Vec<u8>>("a/b"), Some(vec![1, 2]));
        fs::write(cache.path("a/b"), "[1,").unwrap();
        assert_eq!(cache.read::<Vec<u8>>("a/b"), None);
        assert_eq!(cache.read::<Vec<u8>>("a/none"), None);
    }

    #[test]
    fn a_note_is_made_once() {
        let (_dir, cache) = cache();
        assert!(cache.claim("notes/a").unwrap());
        assert!(!cache.claim("notes/a").unwrap());
        assert!(cache.claim("notes/b").unwrap());
        fs::write(cache.path("file"), "").unwrap();
        assert!(cache.claim("file/a").is_err());
    }

    #[test]
    fn a_folder_appears_filled_or_not_at_all() {
        let (_dir, cache) = cache();
        assert!(cache.folder("f/x", |_| anyhow::bail!("no")).is_err());
        assert!(!cache.path("f/x").exists());
        let path = cache.folder("f/x", |new| Ok(fs::write(new.join("a"), "1")?)).unwrap();
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "1");
        cache.folder("f/x", |_| panic!("it is there")).unwrap();
    }

    #[test]
    fn what_is_long_unused_goes() {
        let (_dir, cache) = cache();
        let age = |path: &Utf8Path, days: u32| {
            File::open(path).unwrap().set_modified(SystemTime::now() - days * DAY).unwrap();
        };
        let fill = |new: &Utf8Path| Ok(fs::write(new.join("a"), "1")?);
        let (old, used) = (
            cache.folder("sources/old", fill).unwrap(),
            cache.folder("sources/used", fill).unwrap(),
        );
        age(&old, 31);
        age(&used, 31);
        for name in ["recipes/old", "recipes/new"] {
            cache.write(name, &1).unwrap();
        }
        age(&cache.path("recipes/old"), 91);
        age(&cache.path("recipes/new"), 89);
        cache.folder("sources/used", |_| panic!("it is there")).unwrap();
        cache.sweep().unwrap();
        assert!(!old.exists() && used.exists());
        assert!(
            cache.read::<u8>("recipes/old").is_none() && cache.read::<u8>("recipes/new").is_some()
        );
        age(&used, 31);
        cache.sweep().unwrap();
        assert!(used.exists(), "swept twice a day");
    }
}
