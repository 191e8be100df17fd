//! What came of the units of all builds: a line each, at the end of one file.

use std::{
    fs::{self, File},
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{step::key::Key, util::state_dir::Cache};

/// How a build got an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// The store had it.
    Stored,
    /// A remote had it.
    Fetched,
    /// The engine made it: nothing like it was made before.
    New,
    /// The engine made it: files are not as they were, but the rest is.
    Changed,
    /// The engine made it again: the store no longer had it.
    Gone,
}

impl Came {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Stored, "stored"),
        (Self::Fetched, "fetched"),
        (Self::New, "new"),
        (Self::Changed, "changed"),
        (Self::Gone, "gone"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(came, _)| *came == self).map_or("", |(_, name)| name)
    }
}

/// One line.
pub struct Event {
    /// In seconds since 1970.
    pub time: u64,
    pub came: Came,
    pub key: Key,
}

const FILE: &str = "statistics";
/// What was written before the file was too long.
const EARLIER: &str = "statistics.earlier";
const LONG: u64 = 4 << 20;

/// Notes how an outcome came. A build is right without it.
pub fn note(cache: &Cache, came: Came, key: &str) {
    let path = cache.path(FILE);
    let note = || -> std::io::Result<()> {
        let mut file = File::options().create(true).append(true).open(&path)?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // In one call of the system, so that lines of several processes stay whole.
        file.write_all(format!("{time} {} {key}\n", came.name()).as_bytes())?;
        // By its name: another process may have begun a new file.
        if fs::metadata(&path)?.len() > LONG {
            fs::rename(&path, cache.path(EARLIER))?;
        }
        Ok(())
    };
    note().unwrap_or_else(|error| log::warn!("failed to write `{path}`: {error}"));
}

/// All that is known, the oldest first.
pub fn all(cache: &Cache) -> Vec<Event> {
    let texts = [EARLIER, FILE].map(|name| fs::read_to_string(cache.path(name)));
    let texts: String = texts.into_iter().flatten().collect();
    texts.lines().filter_map(parsed).collect()
}

fn parsed(line: &str) -> Option<Event> {
    let mut words = line.split(' ');
    let (time, name, key) = (words.next()?, words.next()?, words.next()?);
    let (came, _) = Came::ALL.into_iter().find(|(_, known)| *known == name)?;
    Some(Event { time: time.parse().ok()?, came, key: key.to_owned() })
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn events_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Utf8Path::from_path(dir.path()).unwrap().join("c")).unwrap();
        fs::write(cache.path(EARLIER), "1 new u0\nno line\n").unwrap();
        for (came, name) in Came::ALL {
            note(&cache, came, name);
        }
        let events = all(&cache);
        let names: Vec<_> = events.iter().map(|event| event.key.as_str()).collect();
        assert_eq!(names, ["u0", "stored", "fetched", "new", "changed", "gone"]);
        assert!(events[1..].iter().all(|event| event.came.name() == event.key && event.time > 1));
    }
}
