//! Check sums.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// A sum of a file's bytes, eight at a time: as FNV-1a does with one.
pub fn sum_of(path: &Path) -> io::Result<u64> {
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
