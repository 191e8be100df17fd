//! What a file or folder is, by its bytes and by its times.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, Result};
use camino::Utf8Path;
use sha2::{Digest, Sha256};
use twox_hash::xxhash3_128;
use walkdir::WalkDir;

use crate::util::digest::{digest, hex};

/// SHA-256 of a file's bytes, as hex.
pub fn file_digest(path: &Path) -> io::Result<String> {
    Ok(digest_while_copying(path, &mut io::sink())?.0)
}

/// SHA-256 of bytes, as hex.
pub fn bytes_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// XXH3 of a file's bytes, as hex: faster, and enough where nobody makes two files alike on
/// purpose.
pub fn file_checksum(path: &Path) -> io::Result<String> {
    let mut hasher = xxhash3_128::Hasher::new();
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 17]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(format!("{:032x}", hasher.finish_128())),
            Ok(count) => hasher.write(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Copies a file; returns the digest of the very bytes that were copied, and the file's mode.
pub fn digest_while_copying(from: &Path, to: &mut impl Write) -> io::Result<(String, u32)> {
    let mut file = File::open(from)?;
    let data = file.metadata()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; data.len().clamp(1 << 12, 1 << 18) as usize];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hex(&hasher.finalize()), data.permissions().mode())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                to.write_all(&buffer[..count])
                    .map_err(|error| io::Error::new(error.kind(), Unwritten(error)))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An error of the copy, and not of what is copied.
#[derive(Debug)]
pub struct Unwritten(io::Error);

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unwritten {}

/// What changes when somebody writes to a file, or to any file below a folder: sizes and times.
pub fn stamp(path: &Utf8Path) -> Result<String> {
    let mut parts = Vec::new();
    for entry in WalkDir::new(path).sort_by_file_name() {
        let entry = entry.with_context(|| format!("failed to read `{path}`"))?;
        let data = entry.metadata().with_context(|| format!("failed to read `{path}`"))?;
        let name =
            entry.path().strip_prefix(path).unwrap_or(entry.path()).to_string_lossy().into_owned();
        parts.push(format!("{name}\0{}\0{}.{}", data.len(), data.mtime(), data.mtime_nsec()));
    }
    Ok(digest(parts))
}
