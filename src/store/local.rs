//! Outcomes stored on this machine's disk: a unit whose key is there needs no engine.
//!
//! An entry is the archive of a success as the engine sent it, compressed, with a digest of that at
//! the end. Entries appear by rename. An entry that does not match its digest counts as missing and
//! is removed. The least recently used go first when everything stored takes more than its limit
//! ([`crate::store::retention`]).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use lz4_flex::frame::{FrameDecoder, FrameEncoder};
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

    /// The outcome of the unit with this key, without its files; `None` if there is none.
    fn outcome(&self, key: &str) -> Option<Outcome>;

    /// Keeps the archive of a success.
    fn put(&self, key: &str, archive: &mut File) -> Result<()>;

    /// Forgets an outcome that will not be asked for again.
    fn remove(&self, key: &str);
}

/// The store in the user's cache folder.
pub struct LocalStore<'a> {
    cache: &'a Cache,
    /// The limit of all that is stored, in bytes. 0 stores no outcomes.
    limit: u64,
}

const DIGEST: u64 = 32;

impl<'a> LocalStore<'a> {
    pub fn new(cache: &'a Cache, limit: u64) -> Self {
        Self { cache, limit }
    }

    fn path(&self, key: &str) -> Utf8PathBuf {
        self.cache.path(&format!("store/{key}"))
    }

    fn read(&self, file: File, out_dir: &Utf8Path) -> Result<Received> {
        let length = file.metadata()?.len().checked_sub(DIGEST).context("it is cut off")?;
        let mut compressed = Hashing { inner: (&file).take(length), hasher: Sha256::new() };
        let received = Archive::new(FrameDecoder::new(&mut compressed)).receive(out_dir)?;
        io::copy(&mut compressed, &mut io::sink())?;
        let mut digest = [0; DIGEST as usize];
        (&file).read_exact(&mut digest)?;
        ensure!(compressed.hasher.finalize()[..] == digest, "its digest is another one");
        // For the least recently used to be told.
        let _ = file.set_modified(SystemTime::now());
        Ok(received)
    }
}

impl Store for LocalStore<'_> {
    fn get(&self, key: &str, out_dir: &Utf8Path) -> Option<Received> {
        let path = self.path(key);
        let file = File::options().read(true).write(true).open(&path).ok()?;
        match self.read(file, out_dir) {
            Ok(received) => Some(received),
            Err(error) => {
                log::warn!("the stored outcome `{path}` is damaged and removed: {error:#}");
                self.remove(key);
                None
            }
        }
    }

    fn has(&self, key: &str) -> bool {
        self.path(key).exists()
    }

    fn outcome(&self, key: &str) -> Option<Outcome> {
        let file = File::open(self.path(key)).ok()?;
        let length = file.metadata().ok()?.len().checked_sub(DIGEST)?;
        Archive::new(FrameDecoder::new(file.take(length))).outcome().ok()
    }

    fn put(&self, key: &str, archive: &mut File) -> Result<()> {
        if self.limit == 0 {
            return Ok(());
        }
        let path = self.path(key);
        let mut put = || -> Result<()> {
            let dir = self.cache.path("store");
            fs::create_dir_all(&dir)?;
            archive.seek(SeekFrom::Start(0))?;
            let mut file = tempfile::NamedTempFile::new_in(&dir)?;
            let mut encoder =
                FrameEncoder::new(Hashing { inner: &mut file, hasher: Sha256::new() });
            io::copy(archive, &mut encoder)?;
            let digest = encoder.finish()?.hasher.finalize();
            file.write_all(&digest)?;
            file.persist(&path)?;
            Ok(())
        };
        put().on_disk(&path, || format!("failed to keep the outcome `{path}`"))
    }

    fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.path(key));
    }
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
    use super::*;
    use crate::step::protocol::{BUILD_ID, STATUS, STDERR, STDOUT};

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
        let mut tar = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, text) in [
            ("files/liba.rlib", artifact),
            (STATUS, "0\n"),
            (STDOUT, ""),
            (STDERR, "warning"),
            (BUILD_ID, "1"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
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
