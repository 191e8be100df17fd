//! A ring of records in memory that processes share: many write, and one reads.
//!
//! Nothing of it is trusted: the reader is the worker, and the writers are units. A record is a
//! number of words. The first of them says that it is complete, its kind, and how many bytes of
//! text there are in the others. What was read is zero again before anybody may write there.
//!
//! Nothing of the standard library is used: the library that programs load has this file, too.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Of the memory, in bytes.
pub const SIZE: usize = 8 * (HEAD + WORDS as usize);
/// Words before those of records.
const HEAD: usize = 8;
/// Words for records: a power of two.
const WORDS: u64 = 1 << 15;
/// The longest text of a record, in bytes.
pub const LONGEST: usize = 2048;

/// The kind of a record: a path that a process of a program asks for. The program's name, a zero,
/// and the path follow.
pub const ASK: u8 = 1;
/// One that it opens to read.
pub const READ: u8 = 2;
/// One that it opens as a folder.
pub const LIST: u8 = 3;

const COMPLETE: u64 = 1 << 63;
const KIND: u32 = 32;

/// The words in the memory. All of it may be zero at first.
#[repr(C)]
pub struct Ring {
    /// What a call has in its last argument if there is a record of it.
    pub mark: AtomicU64,
    /// Words that were ever given to records.
    given: AtomicU64,
    /// Words that were ever read.
    read: AtomicU64,
    _rest: [AtomicU64; HEAD - 3],
    words: [AtomicU64; WORDS as usize],
}

impl Ring {
    fn word(&self, number: u64) -> Option<&AtomicU64> {
        self.words.get((number % WORDS) as usize)
    }

    /// Adds a record; returns whether there was room for it.
    pub fn add(&self, kind: u8, parts: &[&[u8]]) -> bool {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > LONGEST {
            return false;
        }
        let Some(first) = self.reserve(1 + length.div_ceil(8) as u64) else { return false };
        let (mut word, mut filled, mut at) = (0, 0, first);
        let mut store = |word: u64| {
            at = at.wrapping_add(1);
            if let Some(place) = self.word(at) {
                place.store(word, Relaxed);
            }
        };
        for byte in parts.iter().flat_map(|part| part.iter()) {
            word |= u64::from(*byte) << (8 * filled);
            filled += 1;
            if filled == 8 {
                store(word);
                (word, filled) = (0, 0);
            }
        }
        if filled > 0 {
            store(word);
        }
        if let Some(place) = self.word(first) {
            place.store(COMPLETE | u64::from(kind) << KIND | length as u64, Release);
        }
        true
    }

    fn reserve(&self, count: u64) -> Option<u64> {
        let mut given = self.given.load(Relaxed);
        loop {
            let in_use = given.wrapping_add(count).wrapping_sub(self.read.load(Acquire));
            if in_use > WORDS {
                return None;
            }
            let next = given.wrapping_add(count);
            match self.given.compare_exchange_weak(given, next, AcqRel, Relaxed) {
                Ok(_) => return Some(given),
                Err(now) => given = now,
            }
        }
    }

    /// Puts the text of the next record into `text`, and returns its kind; `None` if there is none
    /// that is complete. One reader at a time.
    pub fn next(&self, text: &mut [u8; LONGEST]) -> Option<(u8, usize)> {
        let read = self.read.load(Relaxed);
        let first = self.word(read)?;
        let head = first.load(Acquire);
        if head & COMPLETE == 0 {
            return None;
        }
        let length = (head as u32 as usize).min(LONGEST);
        for (number, part) in (1..).zip(text.get_mut(..length)?.chunks_mut(8)) {
            let bytes = self.word(read.wrapping_add(number))?.swap(0, Relaxed).to_le_bytes();
            part.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
        first.store(0, Relaxed);
        self.read.store(read.wrapping_add(1 + length.div_ceil(8) as u64), Release);
        Some(((head >> KIND) as u8, length))
    }

    /// Whether somebody began a record that is not complete, or that nobody has read.
    pub fn has_more(&self) -> bool {
        self.given.load(Acquire) != self.read.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn ring() -> Box<Ring> {
        let zeros = vec![0_u64; SIZE / 8].into_boxed_slice();
        assert_eq!(size_of::<Ring>(), SIZE);
        // SAFETY: so many words, of which zero is a value.
        unsafe { Box::from_raw(Box::into_raw(zeros).cast::<Ring>()) }
    }

    fn next(ring: &Ring) -> Option<(u8, Vec<u8>)> {
        let mut text = [0; LONGEST];
        ring.next(&mut text).map(|(kind, length)| (kind, text[..length].to_vec()))
    }

    #[test]
    fn records_come_as_they_were_added() {
        let ring = ring();
        for text in ["", "a", "12345678", "123456789", &"x".repeat(LONGEST)] {
            assert!(ring.add(7, &[text.as_bytes(), b""]));
            assert!(ring.add(1, &[b"/", text.as_bytes()].map(|part| &part[..part.len().min(9)])));
            assert!(ring.has_more());
            assert_eq!(next(&ring), Some((7, text.as_bytes().to_vec())));
            assert_eq!(next(&ring).unwrap().0, 1);
            assert!(next(&ring).is_none() && !ring.has_more());
        }
        assert!(!ring.add(1, &[&[b'x'; LONGEST], b"x"]));
    }

    #[test]
    fn a_full_ring_takes_no_more_until_some_was_read() {
        let ring = ring();
        for _ in 0..3 {
            let mut added = 0;
            while ring.add(1, &[&added.to_string().into_bytes()]) {
                added += 1;
            }
            assert!(added > 10_000);
            for number in 0..added {
                assert_eq!(next(&ring), Some((1, number.to_string().into_bytes())));
            }
            assert!(next(&ring).is_none());
        }
    }

    #[test]
    fn what_was_begun_and_not_ended_is_known() {
        let ring = ring();
        assert!(ring.reserve(2).is_some());
        assert!(ring.add(1, &[b"a"]));
        assert!(next(&ring).is_none() && ring.has_more());
    }

    #[test]
    fn nothing_that_a_unit_writes_there_makes_the_reader_fail() {
        let ring = ring();
        ring.words.iter().for_each(|word| word.store(u64::MAX, Relaxed));
        ring.read.store(u64::MAX - 5, Relaxed);
        for _ in 0..1000 {
            next(&ring);
        }
    }

    #[test]
    fn many_write_while_one_reads() {
        let ring = ring();
        let (writers, each) = (4, 20_000);
        let mut seen = vec![0; writers];
        thread::scope(|scope| {
            for writer in 0..writers {
                let ring = &ring;
                scope.spawn(move || {
                    for number in 0..each {
                        let text = number.to_string();
                        while !ring.add(writer as u8, &[text.as_bytes()]) {
                            thread::yield_now();
                        }
                    }
                });
            }
            while seen.iter().sum::<usize>() < writers * each {
                let Some((writer, text)) = next(&ring) else { continue };
                let of_writer = &mut seen[usize::from(writer)];
                assert_eq!(text, of_writer.to_string().into_bytes());
                *of_writer += 1;
            }
        });
        assert!(!ring.has_more());
    }
}
