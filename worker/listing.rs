//! What is in a folder, with sizes and check sums, so that damage is noticed. It is against disks
//! that lose something, and not against people.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::store::LISTING;

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

/// A sum of a file's bytes, eight at a time: as FNV-1a does with one.
fn sum_of(path: &Path) -> io::Result<u64> {
    const PRIME: u64 = 0x0100_0000_01b3;
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 17]);
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    loop {
        let count = read_full(&mut file, &mut buffer)?;
        let words = buffer[..count].chunks_exact(8);
        let rest = words.remainder();
        for word in words {
            let word = word.try_into().expect("eight bytes");
            sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(PRIME).rotate_left(23);
        }
        for byte in rest {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        if count < buffer.len() {
            return Ok(sum);
        }
    }
}

/// Fills a buffer, but at the end of a file.
fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
