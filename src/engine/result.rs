//! What a build's result holds, as the engine's command writes it: a tar file.

use std::io::{self, Read};

use anyhow::{Context, Result, ensure};
use camino::Utf8Path;

/// Hands on the files of a result one by one, as they come, with their paths. What is cut off
/// cannot be read to its end.
pub fn each_file(
    mut result: impl Read,
    mut each: impl FnMut(&Utf8Path, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let mut tar = tar::Archive::new(&mut result);
    for entry in tar.entries().context(DAMAGED)? {
        let entry = entry.context(DAMAGED)?;
        if entry.header().entry_type().is_file() {
            let path = entry.path().context(DAMAGED)?.into_owned();
            let path = Utf8Path::from_path(&path).context(DAMAGED)?;
            let rest = entry.size();
            each(path.strip_prefix(".").unwrap_or(path), &mut Whole { inner: entry, rest })?;
        }
    }
    // Of the two empty blocks at an archive's end, the second is still to be read.
    let rest = io::copy(&mut result, &mut io::sink()).context(DAMAGED)?;
    ensure!(rest > 0, "{DAMAGED}: it is cut off");
    Ok(())
}

/// A file of which nothing may be missing.
struct Whole<R> {
    inner: R,
    rest: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.rest = self.rest.saturating_sub(count as u64);
        if count == 0 && self.rest > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off"));
        }
        Ok(count)
    }
}

const DAMAGED: &str = "failed to read the result of a build";

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A result with these files, by their paths.
    pub fn result_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn result() -> Vec<u8> {
        result_of(&["./u1", "report/lacking", "u2"].map(|name| (name, name)))
    }

    fn files(result: &[u8]) -> (Vec<String>, Result<()>) {
        let mut files = Vec::new();
        let end = each_file(result, |path, bytes| {
            let mut text = String::new();
            bytes.read_to_string(&mut text)?;
            assert!(text.ends_with(path.as_str()), "{path}: {text}");
            files.push(text);
            Ok(())
        });
        (files, end)
    }

    /// The engine may die while it sends.
    #[test]
    fn what_is_cut_off_is_noticed() {
        let whole = result();
        let (found, end) = files(&whole);
        assert!(found == ["./u1", "report/lacking", "u2"] && end.is_ok(), "{found:?} {end:?}");
        for length in 0..whole.len() - 512 {
            let (found, end) = files(&whole[..length]);
            assert!(end.is_err(), "{length} bytes");
            // Each takes a block for its header, and one for what is in it.
            let is_whole = [516, 1024 + 526, 2048 + 514].map(|end| length >= end);
            assert_eq!(found.len(), is_whole.iter().filter(|is_whole| **is_whole).count());
        }
    }
}
