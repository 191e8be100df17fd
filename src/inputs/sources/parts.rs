//! Splits a large tree into parts: a heavy file or folder in it is mounted separately, because it
//! rarely changes when its neighbours are edited.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};

use crate::snapshot::scan::{Entry, Kind};

/// When a folder counts as heavy: an engine would take some tenths of a second to receive as much
/// with each call.
const FILES: u64 = 1000;
const BYTES: u64 = 8 << 20;
/// So many heavy files and folders are mounted for a package at most: each mount takes a while.
const MOST: usize = 8;

#[derive(Clone, Copy, Default)]
struct Weight {
    files: u64,
    bytes: u64,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }

    fn is_heavy(self) -> bool {
        self.files >= FILES || self.bytes >= BYTES
    }
}

/// The files and folders that are heavy by themselves, without what is heavy below them, each with
/// all that is in it. Instead of many in one folder, that folder.
pub fn heavy(entries: &[Entry]) -> Vec<Utf8PathBuf> {
    let mut weights: HashMap<&Utf8Path, Weight> = HashMap::new();
    let mut heavy = Vec::new();
    // What is in a folder comes behind it.
    for Entry { path, kind } in entries.iter().rev() {
        let weight = match kind {
            Kind::Folder => weights.get(path.as_path()).copied().unwrap_or_default(),
            Kind::File { stamp, .. } => Weight { files: 1, bytes: stamp.size },
            Kind::Link(_) => Weight { files: 1, bytes: 0 },
        };
        match path.parent() {
            _ if weight.is_heavy() => heavy.push(path.clone()),
            Some(folder) => weights.entry(folder).or_default().add(weight),
            None => {}
        }
    }
    heavy.sort();
    heavy.dedup_by(|path, folder| path.starts_with(folder));
    while heavy.len() > MOST
        && let Some(folder) = folder_of_most(&heavy)
    {
        heavy.retain(|path| !path.starts_with(&folder));
        heavy.push(folder);
        heavy.sort();
    }
    heavy
}

/// The folder in the package that most of these lie in; of several, one that lies deepest.
fn folder_of_most(paths: &[Utf8PathBuf]) -> Option<Utf8PathBuf> {
    let folders = paths.iter().filter_map(|path| path.parent());
    let mut counts: HashMap<&Utf8Path, usize> = HashMap::new();
    folders.for_each(|folder| *counts.entry(folder).or_default() += 1);
    counts.remove(Utf8Path::new(""));
    let most = counts
        .into_iter()
        .max_by_key(|(folder, count)| (*count, folder.components().count(), *folder));
    most.map(|(folder, _)| folder.to_owned())
}

/// The entries outside heavy folders, and then those of each heavy folder, by paths below it.
pub fn split(entries: Vec<Entry>, heavy: &[Utf8PathBuf]) -> Vec<Vec<Entry>> {
    let mut parts = vec![Vec::new(); heavy.len() + 1];
    for mut entry in entries {
        // Of those that sort before it, it can only be in the last.
        let number = heavy.partition_point(|place| *place <= entry.path);
        let place = number
            .checked_sub(1)
            .map(|at| &heavy[at])
            .filter(|place| entry.path.starts_with(place));
        match place {
            None => parts[0].push(entry),
            Some(place) if entry.path == *place && matches!(entry.kind, Kind::Folder) => {
                parts[0].push(entry)
            }
            Some(place) if entry.path == *place => {
                entry.path = entry.path.file_name().unwrap_or_default().into();
                parts[number].push(entry);
            }
            Some(place) => {
                entry.path = entry.path.strip_prefix(place).unwrap_or(&entry.path).to_owned();
                parts[number].push(entry);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::scan::Stamp;

    fn tree(files: &[(&str, u64)]) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for (path, size) in files {
            let folders =
                Utf8Path::new(path).ancestors().skip(1).filter(|dir| !dir.as_str().is_empty());
            for dir in folders.collect::<Vec<_>>().into_iter().rev() {
                if entries.iter().all(|entry| entry.path != *dir) {
                    entries.push(Entry { path: dir.to_owned(), kind: Kind::Folder });
                }
            }
            let kind = Kind::File { file: path.into(), stamp: Stamp::sized(*size) };
            entries.push(Entry { path: path.into(), kind });
        }
        entries
    }

    #[track_caller]
    fn case(files: &[(&str, u64)], expected: &[&str]) {
        assert_eq!(heavy(&tree(files)), expected);
    }

    #[test]
    fn the_smallest_folder_that_is_heavy_by_itself_is_given_apart() {
        case(&[("a/b/c", BYTES / 2), ("a/b/d", 1)], &[]);
        case(&[("a/b/c", BYTES - 1), ("a/b/d", 1)], &["a/b"]);
        case(&[("a/b/c", BYTES / 2), ("a/d/e", BYTES / 2)], &["a"]);
        case(&[("a/b/c", BYTES / 2), ("d/e", BYTES / 2)], &[]);
        case(&[("a/b", BYTES), ("a/c", 1), ("d", BYTES)], &["a/b", "d"]);
        case(&[("a/b/c", BYTES), ("a/d/e", BYTES - 1), ("a/f", 1)], &["a"]);
    }

    #[test]
    fn instead_of_many_in_one_folder_that_is_given() {
        let of = |places: &[&str]| -> Vec<Utf8PathBuf> {
            let files: Vec<(&str, u64)> = places.iter().map(|place| (*place, BYTES)).collect();
            heavy(&tree(&files))
        };
        let data: Vec<String> = (0..MOST).map(|number| format!("data/{number}")).collect();
        let data: Vec<&str> = data.iter().map(String::as_str).collect();
        assert_eq!(of(&data).len(), MOST);
        assert_eq!(of(&[&data[..], &["a/b"]].concat()), ["a/b", "data"]);
        let apart: Vec<String> = (0..=MOST).map(|number| format!("data/{number}/x")).collect();
        let apart: Vec<&str> = apart.iter().map(String::as_str).collect();
        assert_eq!(of(&apart).len(), 1);
        // The package itself is edited.
        let root: Vec<String> = (0..=MOST).map(|number| format!("{number}")).collect();
        let root: Vec<&str> = root.iter().map(String::as_str).collect();
        assert_eq!(of(&root).len(), MOST + 1);
    }

    #[test]
    fn all_is_in_one_part() {
        let parts = split(
            tree(&[("a/b/c", 1), ("a/b/d/e", 1), ("a/b.x", 1), ("f", 1)]),
            &["a/b".into(), "f".into()],
        );
        let paths =
            |part: &Vec<Entry>| part.iter().map(|entry| entry.path.to_string()).collect::<Vec<_>>();
        let paths: Vec<_> = parts.iter().map(paths).collect();
        assert_eq!(paths, [vec!["a", "a/b", "a/b.x"], vec!["c", "d", "d/e"], vec!["f"]]);
    }
}
