//! What is in a folder, with sizes and check sums, so that damage is noticed. It is against disks
//! that lose something, and not against people.

use std::{fs, io, path::Path};

use crate::{bytes::sum::sum_of, store::LISTING};

/// Writes down what is in a folder.
pub fn write(folder: &Path) -> io::Result<()> {
    let mut text = String::new();
    add(folder, "", &mut text)?;
    fs::write(folder.join(LISTING), text + END)
}

/// Whether a folder has the files that were written down, of the same sizes and, if their bytes are
/// to be looked at, with the same sums.
pub fn is_as_listed(folder: &Path, looks_at_bytes: bool) -> bool {
    let Ok(text) = fs::read_to_string(folder.join(LISTING)) else { return false };
    let Some(lines) = text.strip_suffix(END) else { return false };
    lines.lines().all(|line| is_as_line(folder, line, looks_at_bytes).unwrap_or(false))
}

/// The last line: the listing itself is whole.
const END: &str = "end\n";

/// A line: size, sum and path of a file.
fn is_as_line(folder: &Path, line: &str, looks_at_bytes: bool) -> Option<bool> {
    let (size, rest) = line.split_once(' ')?;
    let (sum, path) = rest.split_once(' ')?;
    let path = folder.join(path);
    let data = path.symlink_metadata().ok()?;
    let is_same_size = data.is_file() && data.len() == size.parse().ok()?;
    Some(is_same_size && (!looks_at_bytes || format!("{:x}", sum_of(&path).ok()?) == sum))
}

fn add(folder: &Path, below: &str, text: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        // Of a name with a line's end, nothing can be written down.
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.contains('\n')) else { continue };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        let data = entry.path().symlink_metadata()?;
        if data.is_dir() {
            add(folder, &path, text)?;
        } else if data.is_file() {
            *text += &format!("{} {:x} {path}\n", data.len(), sum_of(&entry.path())?);
        }
    }
    Ok(())
}
