//! Compression, in the LZ4 frame format. Any LZ4 decoder reads what is written here. What is read
//! here has independent blocks and no check sums. Source: its specifications,
//! `lz4_Frame_format.md` and `lz4_Block_format.md`.
//!
//! The worker has nothing but the standard library, and a client has a library for this.

use std::io::{self, BufRead, ErrorKind, Read, Write};

/// The frame's magic number; its version with independent blocks and no check sums; the largest
/// block; and the check sum of the latter two.
const HEAD: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x50, 0xfb];
/// The largest block that `HEAD` allows.
const BLOCK: usize = 256 << 10;
/// Marks the length of a block that is not compressed.
const IS_PLAIN: u32 = 1 << 31;

const HASH_BITS: u32 = 13;
/// The shortest repetition that is one.
const SHORTEST: usize = 4;
/// A repetition ends so many bytes before its block does, or earlier.
const LAST_LITERALS: usize = 5;
/// A repetition begins so many bytes before its block's end, or earlier.
const LAST_BEGINNING: usize = 12;
const LONGEST_DISTANCE: usize = 0xffff;
/// What a description of a frame has in its first byte, whose blocks are independent and without
/// check sums.
const INDEPENDENT: u8 = HEAD[4];

/// Compresses what is written to it.
pub struct Compressor<W: Write> {
    inner: W,
    block: Vec<u8>,
    compressed: Vec<u8>,
    /// By the hash of four bytes, where they were seen last.
    seen: Vec<u32>,
}

impl<W: Write> Compressor<W> {
    pub fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(&HEAD)?;
        let (block, compressed) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
        Ok(Self { inner, block, compressed, seen: vec![0; 1 << HASH_BITS] })
    }

    /// Writes what is left, and the frame's end.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.inner.write_all(&0u32.to_le_bytes())?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.flush()?;
        }
        Ok(count)
    }

    /// Ends a block.
    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.compressed.clear();
        self.seen.fill(0);
        compress(&self.block, &mut self.seen, &mut self.compressed);
        let (bytes, mark) = match self.compressed.len() < self.block.len() {
            true => (&self.compressed, 0),
            false => (&self.block, IS_PLAIN),
        };
        let length = u32::try_from(bytes.len()).expect("a block is short") | mark;
        self.inner.write_all(&length.to_le_bytes())?;
        self.inner.write_all(bytes)?;
        self.block.clear();
        Ok(())
    }
}

/// Reads what was compressed.
pub struct Decompressor<R: Read> {
    inner: R,
    /// How long a block is at most; nothing is known before the head was read.
    longest: Option<usize>,
    compressed: Vec<u8>,
    block: Vec<u8>,
    /// What of the block was read.
    read: usize,
    is_over: bool,
}

impl<R: Read> Decompressor<R> {
    pub fn new(inner: R) -> Self {
        let (compressed, block) = (Vec::new(), Vec::new());
        Self { inner, longest: None, compressed, block, read: 0, is_over: false }
    }

    fn read_head(&mut self) -> io::Result<usize> {
        let mut head = [0; HEAD.len()];
        self.inner.read_exact(&mut head)?;
        let size = head[5] >> 4;
        if head[..4] != HEAD[..4] || head[4] != INDEPENDENT || !(4..=7).contains(&size) {
            return Err(damaged());
        }
        Ok(1 << (2 * size + 8))
    }

    /// Reads the next block; there is none after the last.
    fn read_block(&mut self) -> io::Result<()> {
        let longest = match self.longest {
            Some(longest) => longest,
            None => self.read_head()?,
        };
        self.longest = Some(longest);
        let mut length = [0; 4];
        self.inner.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        self.block.clear();
        self.read = 0;
        if length == 0 {
            self.is_over = true;
            return Ok(());
        }
        let (is_plain, length) = (length & IS_PLAIN != 0, (length & !IS_PLAIN) as usize);
        if length > longest {
            return Err(damaged());
        }
        self.compressed.resize(length, 0);
        self.inner.read_exact(&mut self.compressed)?;
        if is_plain {
            std::mem::swap(&mut self.block, &mut self.compressed);
            return Ok(());
        }
        decompress(&self.compressed, longest, &mut self.block).ok_or_else(damaged)
    }
}

impl<R: Read> BufRead for Decompressor<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.read == self.block.len() && !self.is_over {
            self.read_block()?;
        }
        Ok(&self.block[self.read..])
    }

    fn consume(&mut self, count: usize) {
        self.read += count;
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the compressed data is damaged")
}

/// `None` if that is no block, or becomes more than `longest` bytes.
fn decompress(bytes: &[u8], longest: usize, to: &mut Vec<u8>) -> Option<()> {
    let mut bytes = bytes.iter();
    loop {
        let token = usize::from(*bytes.next()?);
        let count = length(token >> 4, &mut bytes)?;
        if to.len() + count > longest {
            return None;
        }
        to.extend_from_slice(bytes.as_slice().get(..count)?);
        bytes = bytes.as_slice()[count..].iter();
        let Some(low) = bytes.next() else { return Some(()) };
        let distance = usize::from(u16::from_le_bytes([*low, *bytes.next()?]));
        let mut left = SHORTEST + length(token & 15, &mut bytes)?;
        let from = to.len().checked_sub(distance).filter(|_| distance > 0)?;
        if to.len() + left > longest {
            return None;
        }
        // What it repeats may go on into what it adds.
        while left > 0 {
            let count = left.min(to.len() - from);
            to.extend_from_within(from..from + count);
            left -= count;
        }
    }
}

/// The whole of a length that begins with four bits.
fn length(begun: usize, bytes: &mut std::slice::Iter<'_, u8>) -> Option<usize> {
    let mut length = begun;
    let mut is_all = begun < 15;
    while !is_all {
        let byte = *bytes.next()?;
        length += usize::from(byte);
        is_all = byte < 255;
    }
    Some(length)
}

fn compress(bytes: &[u8], seen: &mut [u32], to: &mut Vec<u8>) {
    let end = bytes.len().saturating_sub(LAST_BEGINNING);
    // Where the next literals begin.
    let mut literals = 0;
    let mut at = 0;
    while at < end {
        let word = four(bytes, at);
        let slot = &mut seen[(word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize];
        let before = std::mem::replace(slot, at as u32) as usize;
        let is_near = before < at && at - before <= LONGEST_DISTANCE;
        if !is_near || four(bytes, before) != word {
            // The longer nothing repeats, the less is looked at.
            at += 1 + ((at - literals) >> 6);
            continue;
        }
        let rest = &bytes[at..bytes.len() - LAST_LITERALS];
        let length = SHORTEST + in_common(&bytes[before + SHORTEST..], &rest[SHORTEST..]);
        add_sequence(to, &bytes[literals..at], Some((at - before, length)));
        at += length;
        literals = at;
    }
    add_sequence(to, &bytes[literals..], None);
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// How many bytes two texts begin with alike.
fn in_common(a: &[u8], b: &[u8]) -> usize {
    let mut count = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let differences = word(a) ^ word(b);
        if differences != 0 {
            return count + differences.trailing_zeros() as usize / 8;
        }
        count += 8;
    }
    count + a[count..].iter().zip(&b[count..]).take_while(|(a, b)| a == b).count()
}

/// Adds literals and a repetition: how far back it is, and how long. The last sequence has none.
fn add_sequence(to: &mut Vec<u8>, literals: &[u8], repetition: Option<(usize, usize)>) {
    let more = repetition.map_or(0, |(_, length)| length - SHORTEST);
    to.push((literals.len().min(15) << 4 | more.min(15)) as u8);
    add_rest(to, literals.len());
    to.extend_from_slice(literals);
    if let Some((distance, _)) = repetition {
        to.extend_from_slice(&(distance as u16).to_le_bytes());
        add_rest(to, more);
    }
}

/// What of a length is not in the first four bits.
fn add_rest(to: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(15) else { return };
    while rest >= 255 {
        to.push(255);
        rest -= 255;
    }
    to.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use lz4_flex::frame::{FrameDecoder, FrameEncoder};
    use proptest::prelude::*;

    use super::*;

    fn comes_back(bytes: &[u8], compressed: &[u8]) {
        let mut decoded = Vec::new();
        Decompressor::new(compressed).read_to_end(&mut decoded).unwrap();
        assert!(decoded == bytes, "{} bytes became {}", bytes.len(), decoded.len());
    }

    fn case(bytes: &[u8]) -> usize {
        let mut compressor = Compressor::new(Vec::new()).unwrap();
        compressor.write_all(bytes).unwrap();
        let compressed = compressor.finish().unwrap();
        let mut decoded = Vec::new();
        FrameDecoder::new(&compressed[..]).read_to_end(&mut decoded).unwrap();
        assert!(decoded == bytes, "{} bytes became {}", bytes.len(), decoded.len());
        comes_back(bytes, &compressed);
        let mut other = FrameEncoder::new(Vec::new());
        other.write_all(bytes).unwrap();
        comes_back(bytes, &other.finish().unwrap());
        compressed.len()
    }

    #[test]
    fn a_decoder_reads_it() {
        case(b"");
        // What repeats goes on to each of the last bytes, and across blocks.
        for length in (1..40).chain(250..300).chain(BLOCK - 2..BLOCK + 3).chain([3 * BLOCK]) {
            assert!(case(&vec![7; length]) <= length / 200 + 50, "{length}");
            let words: Vec<u8> = (0..length).map(|at| (at % 3) as u8).collect();
            assert!(case(&words) <= length / 200 + 50, "{length}");
        }
        // As far back as a repetition may be, and one byte more.
        for distance in [LONGEST_DISTANCE, LONGEST_DISTANCE + 1] {
            let mut bytes = vec![0; distance + 40];
            bytes[..8].copy_from_slice(b"abcdefgh");
            bytes[distance..distance + 8].copy_from_slice(b"abcdefgh");
            case(&bytes);
        }
        let source = include_bytes!("../batch/mod.rs");
        let mut other = FrameEncoder::new(Vec::new());
        other.write_all(source).unwrap();
        assert!(case(source) < other.finish().unwrap().len() * 11 / 10);
    }

    #[test]
    fn what_does_not_repeat_grows_little() {
        let mut word = 1u64;
        let mut random = || {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word as u8
        };
        let bytes: Vec<u8> = (0..BLOCK + 1000).map(|_| random()).collect();
        assert!(case(&bytes) <= bytes.len() + 7 + 3 * 4);
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let source = include_bytes!("../batch/mod.rs");
        let mut compressor = Compressor::new(Vec::new()).unwrap();
        compressor.write_all(source).unwrap();
        let whole = compressor.finish().unwrap();
        let read = |bytes: &[u8]| Decompressor::new(bytes).read_to_end(&mut Vec::new());
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        // Whatever it becomes, it ends.
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 0x55;
            let _ = read(&other);
        }
        assert!(read(b"\x04\x22\x4d\x18\x64\x50\xfb\0\0\0\0").is_err(), "it has check sums");
        assert!(
            read(b"\x04\x22\x4d\x18\x60\x50\xfb\x04\0\0\0\x10a\x02\0").is_err(),
            "too far back"
        );
        assert!(read(b"\x04\x22\x4d\x18\x60\x50\xfb\x04\0\0\0\x10a\0\0").is_err(), "no distance");
    }

    proptest! {
        #[test]
        fn anything_comes_back(parts in prop::collection::vec((0usize..6, 1usize..5000), 0..40)) {
            let texts: [&[u8]; 6] = [b"a", b"ab", b"\0\0\0\x01", b"abcdefghijklmnop", b"/./", b"\xff"];
            let mut bytes = Vec::new();
            for (text, count) in parts {
                bytes.extend(texts[text].iter().cycle().take(count));
            }
            case(&bytes);
        }
    }
}
