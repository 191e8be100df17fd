//! Outcomes stored on this machine's disk: a unit whose key is there needs no engine.
//!
//! An entry is the archive of a success as the engine sent it, with a digest of that at the end.
//! Entries appear by rename. An entry that does not match its digest counts as missing and is
//! removed. The least recently used go first when everything stored takes more than its limit
//! ([`crate::store::retention`]).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    time::SystemTime,
};

use anyhow::{Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

use crate::{
    store::archive::{Archive, Outcome, Received},
    util::{disk::OnDisk, state_dir::Cache},
};

/// Where outcomes are stored: on this machine's disk, or in another place behind the same calls.
pub trait Store {
    /// The outcome of the unit with this key, its files unpacked beside `out_dir`; `None` if there
    /// is none.
    fn get(&self, key: &str, out_dir: &Utf8Path) -> Option<Received>;

    /// Whether there seems to be one: its bytes are not looked at.
    fn has(&self, key: &str) -> bool;

    /// The outcome of the unit with this key, and the text of its dep-info, without its files;
    /// `None` if there is none.
    fn outcome(&self, key: &str) -> Option<(Outcome, String)>;

    /// Writes the archive of the outcome with this key to a path; `None` if there is none.
    fn write_archive(&self, key: &str, to: &Utf8Path) -> Option<()>;

    /// Keeps the archive of a success.
    fn put(&self, key: &str, archive: &mut File) -> Result<()>;

    /// Forgets an outcome that will not be asked for again.
    fn remove(&self, key: &str);
}

/// The store in the user's cache folder.
pub struct LocalStore<'a> {
    cache: &'a Cache,
    folder: String,
    /// The limit of all that is stored, in bytes. 0 stores no outcomes.
    limit: u64,
}

/// An outcome that is there.
pub struct Stored {
    pub key: String,
    /// In bytes.
    pub size: u64,
    pub used: SystemTime,
}

const DIGEST: u64 = 32;

impl<'a> LocalStore<'a> {
    pub fn new(cache: &'a Cache, limit: u64) -> Self {
        Self { cache, limit, folder: "store".to_owned() }
    }

    /// The failures that the plan of this name has for those who asked for it. It is another store,
    /// so that nobody else finds them.
    pub fn of_failures(cache: &'a Cache, plan: &str) -> Self {
        Self { cache, limit: u64::MAX, folder: format!("failures/{plan}") }
    }

    fn path(&self, key: &str) -> Utf8PathBuf {
        self.cache.path(&format!("{}/{key}", self.folder))
    }

    /// All outcomes that are whole, those that were used last first.
    pub fn list(&self) -> Vec<Stored> {
        let dir = self.cache.path(&self.folder);
        let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
        let stored = |entry: camino::Utf8DirEntry| {
            let data = entry.metadata().ok()?;
            let key = entry.file_name().to_owned();
            let used = data.modified().ok()?;
            is_key(&key).then_some(Stored { key, size: data.len(), used })
        };
        let mut all: Vec<Stored> = entries.filter_map(stored).collect();
        all.sort_by(|one, other| (other.used, &other.key).cmp(&(one.used, &one.key)));
        all
    }

    /// Keeps the archive that `write` writes.
    pub fn put_with(
        &self,
        key: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let path = self.path(key);
        let put = || -> Result<()> {
            let dir = self.cache.path(&self.folder);
            fs::create_dir_all(&dir)?;
            let mut file = tempfile::NamedTempFile::new_in(&dir)?;
            let mut hashing = Hashing { inner: &mut file, hasher: Sha256::new() };
            write(&mut hashing)?;
            let digest = hashing.hasher.finalize();
            file.write_all(&digest)?;
            file.persist(&path)?;
            Ok(())
        };
        put().on_disk(&path, || format!("failed to keep the outcome `{path}`"))
    }

    /// What `read` makes of an entry, compressed as it is; `None` if that fails, or if there is no
    /// entry. A damaged one is removed.
    pub fn read<T>(&self, key: &str, read: impl FnOnce(&mut dyn Read) -> Result<T>) -> Option<T> {
        let path = self.path(key);
        let file = File::options().read(true).write(true).open(&path).ok()?;
        let length = file.metadata().ok()?.len().saturating_sub(DIGEST);
        let mut compressed = Hashing { inner: (&file).take(length), hasher: Sha256::new() };
        let result = read(&mut compressed);
        let digest = || -> Result<()> {
            io::copy(&mut compressed, &mut io::sink())?;
            let mut digest = [0; DIGEST as usize];
            (&file).read_exact(&mut digest)?;
            ensure!(compressed.hasher.finalize()[..] == digest, "its digest is another one");
            Ok(())
        };
        match (result, digest()) {
            (Ok(value), Ok(())) => {
                // For the least recently used to be told.
                let _ = file.set_modified(SystemTime::now());
                Some(value)
            }
            (Err(error), Ok(())) => {
                log::warn!("failed to read the stored outcome `{path}`: {error:#}");
                None
            }
            (_, Err(error)) => {
                log::warn!("the stored outcome `{path}` is damaged and removed: {error:#}");
                self.remove(key);
                None
            }
        }
    }
}

impl Store for LocalStore<'_> {
    fn get(&self, key: &str, out_dir: &Utf8Path) -> Option<Received> {
        self.read(key, |compressed| Archive::new(compressed).receive(out_dir))
    }

    fn has(&self, key: &str) -> bool {
        self.path(key).exists()
    }

    fn outcome(&self, key: &str) -> Option<(Outcome, String)> {
        let file = File::open(self.path(key)).ok()?;
        let length = file.metadata().ok()?.len().checked_sub(DIGEST)?;
        Archive::new(file.take(length)).outcome_and_dep_info().ok()
    }

    fn write_archive(&self, key: &str, to: &Utf8Path) -> Option<()> {
        let written = self.read(key, |compressed| {
            io::copy(compressed, &mut File::create(to)?)
                .map(drop)
                .on_disk(to, || format!("failed to write `{to}`"))
        });
        if written.is_none() {
            // What turned out to be damaged is not to be sent.
            let _ = fs::remove_file(to);
        }
        written
    }

    fn put(&self, key: &str, archive: &mut File) -> Result<()> {
        self.put_with(key, |to| {
            archive.seek(SeekFrom::Start(0))?;
            io::copy(archive, to)?;
            Ok(())
        })
    }

    fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.path(key));
    }
}

/// Whether a file's name in the store is a key of an outcome that is there with its files.
pub fn is_key(name: &str) -> bool {
    name.len() == 33
        && name.starts_with('u')
        && name[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Digests what is read or written through it.
struct Hashing<T> {
    inner: T,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lz4_flex::frame::FrameEncoder;

    use super::*;
    use crate::step::{
        pack::Writer,
        protocol::{BUILD_ID, FILES, STATUS, STDERR, STDOUT},
    };

    struct Place {
        _dir: tempfile::TempDir,
        cache: Cache,
        out_dir: Utf8PathBuf,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        Place {
            _dir: dir,
            cache: Cache::open(root.join("cache")).unwrap(),
            out_dir: root.join("target/deps"),
        }
    }

    fn archive(artifact: &str) -> File {
        let mut pack = Writer::new(FrameEncoder::new(tempfile::tempfile().unwrap()));
        for (name, text) in
            [(STATUS, "0\n"), (STDOUT, ""), (STDERR, "warning"), (BUILD_ID, "1"), (FILES, "")]
        {
            if name == FILES {
                pack.folder(name.as_ref(), 0o755).unwrap();
            } else {
                let length = text.len() as u64;
                pack.file(name.as_ref(), 0o644, length, text.as_bytes()).unwrap();
            }
        }
        let path = "files/liba.rlib".as_ref();
        pack.file(path, 0o640, artifact.len() as u64, artifact.as_bytes()).unwrap();
        pack.folder("files/closed".as_ref(), 0o555).unwrap();
        pack.file("files/closed/file".as_ref(), 0o444, 0, io::empty()).unwrap();
        pack.finish().unwrap().finish().unwrap()
    }

    #[test]
    fn an_outcome_comes_back_whole() {
        let place = place();
        let store = LocalStore::new(&place.cache, 1 << 30);
        assert!(store.get("u1", &place.out_dir).is_none());
        store.put("u1", &mut archive("object code")).unwrap();
        let received = store.get("u1", &place.out_dir).unwrap();
        assert_eq!((received.outcome.status, &received.outcome.stderr[..]), (0, &b"warning"[..]));
        assert_eq!(
            fs::read_to_string(received.files.root.join("liba.rlib")).unwrap(),
            "object code"
        );
        let mode = |name: &str| {
            let data = received.files.root.join(name).metadata().unwrap();
            data.permissions().mode() & 0o7777
        };
        assert_eq!(["liba.rlib", "closed", "closed/file"].map(mode), [0o640, 0o555, 0o444]);
    }

    #[test]
    fn what_cannot_be_unpacked_is_not_damaged() {
        let place = place();
        let store = LocalStore::new(&place.cache, 1 << 30);
        store.put("u1", &mut archive("object code")).unwrap();
        assert!(store.get("u1", "/proc/none/deps".into()).is_none());
        assert!(store.write_archive("u1", "/proc/none".into()).is_none());
        assert!(store.get("u1", &place.out_dir).is_some());
    }

    #[test]
    fn a_damaged_entry_is_a_miss_once() {
        let place = place();
        let store = LocalStore::new(&place.cache, 1 << 30);
        store.put("u1", &mut archive(&"object code".repeat(100))).unwrap();
        let whole = fs::read(store.path("u1")).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(store.path("u1"), &damaged).unwrap();
            assert!(store.get("u1", &place.out_dir).is_none(), "byte {at}");
            assert!(!store.path("u1").exists());
            fs::write(store.path("u1"), &damaged).unwrap();
            let pack = place.cache.path("pack");
            assert!(store.write_archive("u1", &pack).is_none() && !pack.exists(), "byte {at}");
            fs::write(store.path("u1"), &whole[..at]).unwrap();
            assert!(store.get("u1", &place.out_dir).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_store_of_no_size_keeps_nothing() {
        let place = place();
        let store = LocalStore::new(&place.cache, 0);
        store.put("u1", &mut archive("x")).unwrap();
        assert!(store.get("u1", &place.out_dir).is_none());
    }
}
