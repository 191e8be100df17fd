//! The memory of processes that wait for an answer.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

const PAGE: u64 = 4096;
/// So much is read at once: few paths are longer.
const PART: u64 = 256;
/// The longest path, in bytes.
pub const LONGEST_PATH: usize = 4096;

/// The memory of the threads of one task's processes.
#[derive(Default)]
pub struct Memory {
    open: HashMap<u32, File>,
}

impl Memory {
    /// The text at an address, which ends with a zero, or the start of one that is longer than any
    /// path; `None` if it cannot be read.
    pub fn text(&mut self, thread: u32, address: u64) -> Option<Vec<u8>> {
        self.start_of_text(thread, address, LONGEST_PATH)
    }

    /// The text at an address, as far as it can be read, and so much of it at most; `None` if
    /// nothing can be read.
    pub fn start_of_text(&mut self, thread: u32, address: u64, most: usize) -> Option<Vec<u8>> {
        let (mut text, mut part) = (Vec::new(), [0; PART as usize]);
        while text.len() < most {
            let from = address.saturating_add(text.len() as u64);
            let room = (PAGE - from % PAGE).min(PART) as usize;
            let Some(count) = self.read(thread, from, &mut part[..room]) else {
                if text.is_empty() {
                    return None;
                }
                break;
            };
            match part[..count].iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend(&part[..end]);
                    break;
                }
                None => text.extend(&part[..count]),
            }
        }
        text.truncate(most);
        Some(text)
    }

    /// So many bytes at an address, or fewer; `None` if there are none.
    pub fn bytes(&mut self, thread: u32, address: u64, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        let count = self.read(thread, address, &mut bytes)?;
        bytes.truncate(count);
        Some(bytes)
    }

    fn read(&mut self, thread: u32, address: u64, bytes: &mut [u8]) -> Option<usize> {
        let mut read = |file: &File| file.read_at(bytes, address).ok().filter(|count| *count > 0);
        if let Some(count) = self.open.get(&thread).and_then(&mut read) {
            return Some(count);
        }
        let file = File::open(format!("/proc/{thread}/mem")).ok()?;
        let count = read(&file)?;
        self.open.insert(thread, file);
        Some(count)
    }

    /// Forgets the memory of all: one of them is about to get another one.
    pub fn forget(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_over_the_end_of_a_page() {
        let long = [vec![b'x'; 3 * PAGE as usize / 4], vec![0], vec![b'y'; 5000], vec![0]].concat();
        let thread = std::process::id();
        let mut memory = Memory::default();
        let mut text = |at: usize| memory.text(thread, long[at..].as_ptr() as u64);
        assert_eq!(text(0).map(|text| text.len()), Some(3 * PAGE as usize / 4));
        assert_eq!(text(3072).map(|text| text.len()), Some(0));
        assert_eq!(text(3073).map(|text| text.len()), Some(LONGEST_PATH));
        assert_eq!(text(3073 + 4000).map(|text| text.len()), Some(1000));
        assert!(memory.text(thread, 16).is_none());
    }
}
