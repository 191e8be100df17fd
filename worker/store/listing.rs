//! What is in a folder, with sizes and check sums, so that damage is noticed, and with the modes
//! that its maker gave it. It is against disks that lose something, and not against people.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    bytes::sum::sum_of,
    pack::{escaped, unescaped},
    store::LISTING,
};

/// Writes down what is in a folder.
pub fn write(folder: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    add(folder, Path::new(""), &mut text)?;
    text.extend(END);
    fs::write(folder.join(LISTING), text)
}

/// Whether a folder has the files that were written down, of the same sizes and, if their bytes are
/// to be looked at, with the same sums.
pub fn is_as_listed(folder: &Path, looks_at_bytes: bool) -> bool {
    let Ok(text) = fs::read(folder.join(LISTING)) else { return false };
    let Some(lines) = text.strip_suffix(END) else { return false };
    let is_there = |line: Line| line.is_in(folder, looks_at_bytes).unwrap_or(false);
    let mut lines = lines_of(lines);
    lines.all(|line| line.is_some_and(is_there))
}

/// The modes of files and folders when they were written down, by their paths in the folder.
pub fn modes(folder: &Path) -> HashMap<PathBuf, u32> {
    let text = fs::read(folder.join(LISTING)).unwrap_or_default();
    let lines = lines_of(text.strip_suffix(END).unwrap_or_default());
    lines.flatten().map(|line| (line.path, line.mode)).collect()
}

/// The last line: the listing itself is whole.
const END: &[u8] = b"end\n";

/// A line: the mode of a file or folder, the size and the sum of a file, and the path.
struct Line {
    mode: u32,
    file: Option<(u64, u64)>,
    path: PathBuf,
}

fn lines_of(text: &[u8]) -> impl Iterator<Item = Option<Line>> + '_ {
    text.split_inclusive(|byte| *byte == b'\n').map(Line::decode)
}

impl Line {
    fn of(path: PathBuf, place: &Path, data: &fs::Metadata) -> io::Result<Self> {
        let file = if data.is_file() { Some((data.len(), sum_of(place)?)) } else { None };
        Ok(Self { mode: data.permissions().mode() & 0o7777, file, path })
    }

    fn encode(&self) -> Vec<u8> {
        let file = self.file.map_or("folder -".to_owned(), |(size, sum)| format!("{size} {sum:x}"));
        let head = format!("{:o} {file} ", self.mode);
        [head.as_bytes(), &escaped(self.path.as_os_str().as_bytes()), b"\n"].concat()
    }

    fn decode(line: &[u8]) -> Option<Self> {
        let mut words = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
        let mut word = || words.next();
        let (mode, size, sum, path) = (word()?, word()?, word()?, word()?);
        let text = |word| std::str::from_utf8(word).ok();
        let mode = u32::from_str_radix(text(mode)?, 8).ok()?;
        let file = match text(size)? {
            "folder" => None,
            size => Some((size.parse().ok()?, u64::from_str_radix(text(sum)?, 16).ok()?)),
        };
        Some(Self { mode, file, path: unescaped(path) })
    }

    fn is_in(&self, folder: &Path, looks_at_bytes: bool) -> io::Result<bool> {
        let path = folder.join(&self.path);
        let data = path.symlink_metadata()?;
        let Some((size, sum)) = self.file else { return Ok(data.is_dir()) };
        let is_same_size = data.is_file() && data.len() == size;
        Ok(is_same_size && (!looks_at_bytes || sum_of(&path)? == sum))
    }
}

fn add(folder: &Path, below: &Path, text: &mut Vec<u8>) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let (path, data) = (below.join(entry.file_name()), entry.path().symlink_metadata()?);
        if data.is_dir() {
            add(folder, &path, text)?;
        }
        if data.is_dir() || data.is_file() {
            text.extend(Line::of(path, &entry.path(), &data)?.encode());
        }
    }
    Ok(())
}
