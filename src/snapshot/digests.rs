//! Remembers the digests of files for as long as nobody writes to them, so that a large package is
//! read once, and not in each build.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    snapshot::{
        content::file_digest,
        copy::{self, Item, Source, is_no_file, mode_of},
        scan::{self, Entry, Kind, Rules, Stamp},
    },
    util::{digest::digest, state_dir::Cache},
};

/// In nanoseconds. Two changes within this time may leave a file with the same time on some file
/// systems, so a file that was this new when it was read may have changed again without a sign. The
/// coarsest file system, FAT, counts in two seconds.
const TICK: i64 = 2_000_000_000;

/// The remembered digests of the files in a part of a folder, and the name of its last copy.
#[derive(Default, Serialize, Deserialize)]
pub struct Memory {
    files: HashMap<Utf8PathBuf, Remembered>,
    /// The name of the last copy.
    pub copy: Option<String>,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    is_new: bool,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Remembered {
    stamp: Stamp,
    digest: String,
}

impl Memory {
    /// What is remembered of the folder or file `place`.
    pub fn of(place: &Utf8Path, cache: &Cache) -> Self {
        let name = format!("digests/{}", digest([place.as_str()]));
        Self { name: name.clone(), ..cache.read(&name).unwrap_or_default() }
    }

    /// Stores what is new.
    pub fn save(&self, cache: &Cache) -> Result<()> {
        if self.is_new { cache.write(&self.name, self) } else { Ok(()) }
    }

    pub fn set_copy(&mut self, name: &str) {
        self.is_new |= self.copy.as_deref() != Some(name);
        self.copy = Some(name.to_owned());
    }

    /// The entries with the digests of files. Only files that changed since they were last read are
    /// read. Those that cannot be read are omitted.
    pub fn sources(&mut self, found: &[Entry]) -> Result<Vec<Source>> {
        let began = now();
        let mut sources = Vec::with_capacity(found.len());
        for Entry { path, kind } in found {
            let (item, file) = match kind {
                Kind::Folder => (Item::Folder, Default::default()),
                Kind::Link(text) => (Item::Link(text.clone()), Default::default()),
                Kind::File { file, stamp } => match self.digest(path, file, stamp, began) {
                    Ok(digest) => (Item::File { mode: mode_of(stamp.mode), digest }, file.clone()),
                    Err(error) if is_no_file(&error) => continue,
                    Err(error) => {
                        return Err(error).context(format!("failed to read `{}`", file.display()));
                    }
                },
            };
            sources.push(Source { path: path.clone(), item, file });
        }
        if self.is_new {
            let there: HashSet<&Utf8Path> =
                found.iter().map(|entry| entry.path.as_path()).collect();
            self.files.retain(|path, _| there.contains(path.as_path()));
        }
        Ok(sources)
    }

    fn digest(
        &mut self,
        path: &Utf8Path,
        file: &Path,
        stamp: &Stamp,
        began: i64,
    ) -> io::Result<String> {
        if let Some(known) = self.files.get(path).filter(|known| known.stamp == *stamp) {
            return Ok(known.digest.clone());
        }
        let digest = file_digest(file)?;
        self.remember(path, stamp, &digest, began);
        Ok(digest)
    }

    /// Remembers a digest, unless the file may change again without a sign.
    fn remember(&mut self, path: &Utf8Path, stamp: &Stamp, digest: &str, read: i64) {
        if is_settled(stamp.latest(), read) {
            self.files.insert(
                path.to_owned(),
                Remembered { stamp: stamp.clone(), digest: digest.to_owned() },
            );
            self.is_new = true;
        }
    }
}

/// What is remembered of a part as a whole. It holds for as long as the part looks the same.
#[derive(Serialize, Deserialize)]
pub struct Whole {
    stamp: String,
    /// When it was read.
    began: i64,
    /// The name of its copy.
    pub name: String,
}

impl Whole {
    fn record(place: &Utf8Path) -> String {
        format!("digests/{}-whole", digest([place.as_str()]))
    }

    /// What is remembered of the part at `place`, if that looks as it did.
    pub fn of(place: &Utf8Path, found: &[Entry], cache: &Cache) -> Option<Self> {
        let (stamp, latest) = scan::fingerprint(found);
        let known: Self = cache.read(&Self::record(place))?;
        (known.stamp == stamp && is_settled(latest, known.began)).then_some(known)
    }

    /// Remembers the name of the copy of a part. `found` is how the part looked before it was read.
    pub fn save(
        place: &Utf8Path,
        found: &[Entry],
        began: i64,
        name: &str,
        cache: &Cache,
    ) -> Result<()> {
        let (stamp, _) = scan::fingerprint(found);
        cache.write(&Self::record(place), &Self { stamp, began, name: name.to_owned() })
    }
}

/// Whether a file that was last changed at the time `latest` could not change again without a sign
/// after it was read at the time `read`.
pub fn is_settled(latest: i64, read: i64) -> bool {
    latest < read - TICK
}

/// In nanoseconds since 1970, as files' times are.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// A digest of all that is below a folder.
pub fn folder_digest(path: &Utf8Path) -> Result<String> {
    let rules = Rules::everything(path, Utf8Path::new(""));
    Ok(copy::name_of_sources(&Memory::default().sources(&scan::scan(path, &rules)?)?))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn stamp_of(file: &Path) -> Stamp {
        Stamp::of(&fs::metadata(file).unwrap())
    }

    #[test]
    fn what_may_change_without_a_sign_is_not_remembered() {
        let written = 1_000 * TICK;
        assert!(is_settled(written, written + TICK * 2));
        assert!(!is_settled(written, written + TICK / 2));
        // Its time is in the future, as of a machine whose clock is ahead.
        assert!(!is_settled(written, written - TICK));
    }

    #[test]
    fn a_file_is_read_again_once_anything_of_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        let digest = |memory: &mut Memory| {
            let kind = Kind::File { file: file.clone(), stamp: stamp_of(&file) };
            match memory.sources(&[Entry { path: "a".into(), kind }]).unwrap().remove(0).item {
                Item::File { digest, .. } => digest,
                other => panic!("{other:?}"),
            }
        };
        fs::write(&file, "one").unwrap();
        let (mut memory, stamp) = (Memory::default(), stamp_of(&file));
        memory.remember("a".into(), &stamp, "remembered", stamp.latest() + TICK * 2);
        assert_eq!(digest(&mut memory), "remembered");
        // The same size, and the time set back.
        fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(stamp.modified()).unwrap();
        assert_eq!(digest(&mut memory), file_digest(&file).unwrap());
    }

    #[test]
    fn a_part_is_known_as_long_as_it_looks_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let place = Utf8Path::from_path(dir.path()).unwrap();
        let cache = Cache::open(place.join("cache")).unwrap();
        let file = dir.path().join("a");
        let found = || {
            vec![Entry {
                path: "a".into(),
                kind: Kind::File { file: file.clone(), stamp: stamp_of(&file) },
            }]
        };
        fs::write(&file, "one").unwrap();
        let known = || Whole::of(place, &found(), &cache).map(|whole| whole.name);
        Whole::save(place, &found(), stamp_of(&file).latest() + TICK / 2, "s1", &cache).unwrap();
        assert_eq!(known(), None);
        Whole::save(place, &found(), stamp_of(&file).latest() + TICK * 2, "s1", &cache).unwrap();
        assert_eq!(known().as_deref(), Some("s1"));
        fs::write(&file, "two").unwrap();
        assert_eq!(known(), None);
    }
}
