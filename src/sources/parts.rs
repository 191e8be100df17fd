//! A large tree in parts: what is heavy in it is given apart, for it rarely changes where people edit.

use std::collections::HashMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::snapshot::{Item, Source};

/// What makes a folder heavy: to send as much with each call would take an engine some tenths of a second.
const FILES: u64 = 1000;
const BYTES: u64 = 8 << 20;

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

/// The files and folders that are heavy by themselves, without what is heavy below them, each with all that is in it.
pub fn heavy(sources: &[Source]) -> Vec<Utf8PathBuf> {
    let mut weights: HashMap<&Utf8Path, Weight> = HashMap::new();
    let mut heavy = Vec::new();
    // What is in a folder comes behind it.
    for Source { path, item, size, .. } in sources.iter().rev() {
        let weight = match item {
            Item::Folder => weights.get(path.as_path()).copied().unwrap_or_default(),
            _ => Weight { files: 1, bytes: *size },
        };
        match path.parent() {
            _ if weight.is_heavy() => heavy.push(path.clone()),
            Some(folder) => weights.entry(folder).or_default().add(weight),
            None => {}
        }
    }
    heavy.sort();
    heavy.dedup_by(|path, folder| path.starts_with(folder));
    heavy
}

/// The sources without what is in heavy places, each of which is empty there, and then what is in each of these, by paths below it.
pub fn split(sources: Vec<Source>, heavy: &[Utf8PathBuf]) -> Vec<Vec<Source>> {
    let mut parts = vec![Vec::new(); heavy.len() + 1];
    for mut source in sources {
        // Of those that sort before it, it can only be in the last.
        let number = heavy.partition_point(|place| *place <= source.path);
        let place = number.checked_sub(1).map(|at| &heavy[at]).filter(|place| source.path.starts_with(place));
        match place {
            None => parts[0].push(source),
            Some(place) if source.path == *place => {
                parts[0].push(source.emptied());
                if source.item != Item::Folder {
                    source.path = source.path.file_name().unwrap_or_default().into();
                    parts[number].push(source);
                }
            }
            Some(place) => {
                source.path = source.path.strip_prefix(place).unwrap_or(&source.path).to_owned();
                parts[number].push(source);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, u64)]) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        let source = |path: &Utf8Path, item, size| Source { path: path.to_owned(), item, file: path.into(), size };
        for (path, size) in files {
            let folders = Utf8Path::new(path).ancestors().skip(1).filter(|dir| !dir.as_str().is_empty());
            for dir in folders.collect::<Vec<_>>().into_iter().rev() {
                if sources.iter().all(|source| source.path != *dir) {
                    sources.push(source(dir, Item::Folder, 0));
                }
            }
            sources.push(source(Utf8Path::new(path), Item::File { mode: 0o644, digest: "1".into() }, *size));
        }
        sources
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
    fn all_is_in_one_part() {
        let parts = split(tree(&[("a/b/c", 1), ("a/b/d/e", 1), ("a/b.x", 1), ("f", 1)]), &["a/b".into(), "f".into()]);
        let paths = |part: &Vec<Source>| part.iter().map(|source| source.path.to_string()).collect::<Vec<_>>();
        let paths: Vec<_> = parts.iter().map(paths).collect();
        assert_eq!(paths, [vec!["a", "a/b", "a/b.x", "f"], vec!["c", "d", "d/e"], vec!["f"]]);
        assert_eq!(parts[0][3].item, Item::empty());
    }
}
