//! What was read of folders before, remembered for as long as nobody wrote to their files: a large package is read once, not
//! in each build.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    scan::{Entry, Kind, Stamp},
    snapshot::{Item, Source, is_no_file, mode_of},
};
use crate::cache::{Cache, digest, hex};

/// Two changes within this time, in nanoseconds, may have the same time on some file systems: what was that new when it was
/// read may have changed once more without a sign. The coarsest, FAT's, is two seconds.
const TICK: i64 = 2_000_000_000;

/// What is remembered of a folder.
#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    files: HashMap<Utf8PathBuf, Known>,
    /// What the last copies of it are called, by place.
    pub copies: HashMap<Utf8PathBuf, String>,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    digest: String,
}

impl Memory {
    fn name(root: &Utf8Path) -> String {
        format!("digests/{}", digest([root.as_str()]))
    }

    pub fn of(root: &Utf8Path, cache: &Cache) -> Self {
        cache.read(&Self::name(root)).unwrap_or_default()
    }

    pub fn save(&self, root: &Utf8Path, cache: &Cache) -> Result<()> {
        cache.write(&Self::name(root), self)
    }

    /// What was found, with the digests of files: of those that changed since they were last read, by reading them. What cannot be
    /// read is left out. Tells, too, whether there is anything new to remember.
    pub fn sources(&mut self, found: Vec<Entry>) -> Result<(Vec<Source>, bool)> {
        let began = now();
        let (mut sources, mut is_new) = (Vec::with_capacity(found.len()), false);
        for Entry { path, kind } in found {
            let (item, file, size) = match kind {
                Kind::Folder => (Item::Folder, Default::default(), 0),
                Kind::Link(text) => (Item::Link(text), Default::default(), 0),
                Kind::File { file, stamp } => {
                    let (size, mode) = (stamp.size, mode_of(stamp.mode));
                    let digest = match self.files.get(&path).filter(|known| known.stamp == stamp) {
                        Some(known) => known.digest.clone(),
                        None => match file_digest(&file) {
                            Ok(digest) => {
                                is_new |= self.remember(&path, stamp, &digest, began);
                                digest
                            }
                            Err(error) if is_no_file(&error) => continue,
                            Err(error) => return Err(error).context(format!("failed to read `{}`", file.display())),
                        },
                    };
                    (Item::File { mode, digest }, file, size)
                }
            };
            sources.push(Source { path, item, file, size });
        }
        if is_new {
            let there: HashSet<&Utf8Path> = sources.iter().map(|source| source.path.as_path()).collect();
            self.files.retain(|path, _| there.contains(path.as_path()));
        }
        Ok((sources, is_new))
    }

    /// Gives whether it is: not what may change again without a sign.
    fn remember(&mut self, path: &Utf8Path, stamp: Stamp, digest: &str, read: i64) -> bool {
        let is_settled = stamp.latest() < read - TICK;
        if is_settled {
            self.files.insert(path.to_owned(), Known { stamp, digest: digest.to_owned() });
        }
        is_settled
    }
}

/// In nanoseconds since 1970, as files' times are.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// SHA-256 of a file's bytes, as hex.
pub fn file_digest(path: &Path) -> io::Result<String> {
    Ok(digest_while_copying(path, &mut io::sink())?.0)
}

/// Copies a file; gives the digest of the very bytes that were copied, and the file's mode.
pub fn digest_while_copying(from: &Path, to: &mut impl Write) -> io::Result<(String, u32)> {
    let mut file = File::open(from)?;
    let data = file.metadata()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; data.len().clamp(1 << 12, 1 << 18) as usize];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hex(&hasher.finalize()), data.permissions().mode())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                to.write_all(&buffer[..count]).map_err(|error| io::Error::new(error.kind(), Unwritten(error)))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An error of the copy, and not of what is copied.
#[derive(Debug)]
pub struct Unwritten(io::Error);

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unwritten {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_just_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        let stamp = Stamp::of(&fs::metadata(&file).unwrap());
        let (mut memory, path) = (Memory::default(), Utf8Path::new("a"));
        assert!(!memory.remember(path, stamp.clone(), "one", stamp.latest() + TICK / 2));
        assert!(memory.remember(path, stamp.clone(), "one", stamp.latest() + TICK * 2));
        // Its time is in the future, as of a machine whose clock is ahead.
        assert!(!memory.remember(path, stamp.clone(), "one", stamp.latest() - TICK));
    }

    #[test]
    fn a_file_is_read_again_once_anything_of_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        let digest = |memory: &mut Memory| {
            let stamp = Stamp::of(&fs::metadata(&file).unwrap());
            let entry = Entry { path: "a".into(), kind: Kind::File { file: file.clone(), stamp } };
            match memory.sources(vec![entry]).unwrap().0.remove(0).item {
                Item::File { digest, .. } => digest,
                other => panic!("{other:?}"),
            }
        };
        fs::write(&file, "one").unwrap();
        let mut memory = Memory::default();
        let stamp = Stamp::of(&fs::metadata(&file).unwrap());
        memory.remember("a".into(), stamp.clone(), "remembered", stamp.latest() + TICK * 2);
        assert_eq!(digest(&mut memory), "remembered");
        // The same size, and the time set back.
        fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(stamp.modified()).unwrap();
        assert_eq!(digest(&mut memory), file_digest(&file).unwrap());
    }
}
