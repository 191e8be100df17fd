//! What a build brought back: an archive of a unit's outcome, and its files put in their place.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use crate::{
    disk::{self, OnDisk},
    repository::CALLED,
    stage::{FILES, LEFT, NONCE, STATUS, STDERR, STDOUT},
};

/// The tar file of a build's result, read once from its start.
pub struct Archive<R: Read> {
    tar: tar::Archive<R>,
}

/// How a unit's process ended and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit status as a shell gives it: 128 and the signal's number for a killed process.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The number of the build in which it ran.
    pub nonce: String,
    /// Whether it called git, as far as it is a build script.
    pub called_git: bool,
    /// Whether its artifacts were left in the engine.
    pub is_left: bool,
}

impl Outcome {
    /// Whether the process spoke of a path.
    pub fn names(&self, path: &str) -> bool {
        [&self.stdout, &self.stderr].iter().any(|text| memchr::memmem::find(text, path.as_bytes()).is_some())
    }

    /// Writes into a folder, which is made, what a step left of it beside the files.
    pub fn write(&self, folder: &Utf8Path) -> Result<()> {
        let status = self.status.to_string();
        let mut said = vec![
            (STATUS, status.as_bytes()),
            (STDOUT, &self.stdout),
            (STDERR, &self.stderr),
            (NONCE, self.nonce.as_bytes()),
        ];
        said.extend(self.called_git.then_some((CALLED, &[][..])));
        fs::create_dir_all(folder)
            .and_then(|()| said.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes)))
            .on_disk(folder, || format!("failed to write into `{folder}`"))
    }
}

/// A unit's outcome and its files.
pub struct Received {
    pub outcome: Outcome,
    pub files: Unpacked,
}

impl<R: Read> Archive<R> {
    pub fn new(reader: R) -> Self {
        Self { tar: tar::Archive::new(reader) }
    }

    /// One file's bytes; fails if it is not there.
    pub fn file(mut self, name: &str) -> Result<Vec<u8>> {
        for entry in self.tar.entries().context(DAMAGED)? {
            let mut entry = entry.context(DAMAGED)?;
            if entry.path()?.as_os_str() == name {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).context(DAMAGED)?;
                return Ok(bytes);
            }
        }
        bail!("{DAMAGED}: no `{name}` in it")
    }

    /// The outcome of a unit, without its files.
    pub fn outcome(self) -> Result<Outcome> {
        self.read(|_, _| Ok(()))
    }

    /// The outcome of a unit, and the text of the dep-info among its files.
    pub fn told(self) -> Result<(Outcome, String)> {
        let mut dep_info = Vec::new();
        let outcome = self.read(|entry, path| {
            if path.ends_with(".d") {
                entry.read_to_end(&mut dep_info).context(DAMAGED)?;
            }
            Ok(())
        })?;
        Ok((outcome, String::from_utf8_lossy(&dep_info).into_owned()))
    }

    /// The outcome of a unit, its files unpacked beside `out_dir`, whose folder is made where it is missing.
    pub fn receive(mut self, out_dir: &Utf8Path) -> Result<Received> {
        let (temp, parent) = beside(out_dir)?;
        self.tar.set_preserve_permissions(true);
        self.tar.set_preserve_mtime(false);
        let outcome = self.read(|entry, path| {
            let unpacked = entry.unpack_in(temp.path());
            unpacked.map(drop).on_disk(parent, || format!("failed to unpack `{path}` into `{parent}`"))
        })?;
        Ok(Received { outcome, files: Unpacked::in_folder(temp)? })
    }

    /// The outcome; `each` gets the unit's files, and their paths.
    fn read(mut self, mut each: impl FnMut(&mut tar::Entry<'_, R>, &str) -> Result<()>) -> Result<Outcome> {
        let mut said: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in self.tar.entries().context(DAMAGED)? {
            let mut entry = entry.context(DAMAGED)?;
            let path = entry.path().context(DAMAGED)?.to_string_lossy().into_owned();
            if Utf8Path::new(&path).starts_with(FILES) {
                each(&mut entry, &path)?;
            } else {
                entry.read_to_end(said.entry(path).or_default()).context(DAMAGED)?;
            }
        }
        let (called_git, is_left) = (said.contains_key(CALLED), said.contains_key(LEFT));
        let mut said = |name: &str| said.remove(name).with_context(|| format!("{DAMAGED}: no `{name}` in it"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        let status = text(said(STATUS)?);
        let status = status.parse().with_context(|| format!("failed to read the exit status `{status}`"))?;
        Ok(Outcome {
            status,
            stdout: said(STDOUT)?,
            stderr: said(STDERR)?,
            nonce: text(said(NONCE)?),
            called_git,
            is_left,
        })
    }
}

/// Takes an archive with a folder for each unit apart: `each` gets a folder's name and an archive of what is in it, which is
/// whole, even where the archive that it is taken from is not.
pub fn split(mut archive: impl Read, mut each: impl FnMut(&str, File) -> Result<()>) -> Result<()> {
    let mut current: Option<(String, tar::Builder<File>)> = None;
    let mut finish = |current: Option<(String, tar::Builder<File>)>| -> Result<()> {
        let Some((name, builder)) = current else { return Ok(()) };
        let mut file = disk::temporary(builder.into_inner())?;
        file.rewind()?;
        each(&name, file)
    };
    let mut tar = tar::Archive::new(&mut archive);
    for entry in tar.entries().context(DAMAGED)? {
        let mut entry = entry.context(DAMAGED)?;
        let path = entry.path().context(DAMAGED)?.into_owned();
        let mut parts = path.components();
        let name = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
        let below = parts.as_path().to_owned();
        if current.as_ref().is_none_or(|(current, _)| *current != name) {
            finish(current.take())?;
            current = Some((name, tar::Builder::new(disk::temporary(tempfile::tempfile())?)));
        }
        if let Some((_, builder)) = &mut current
            && !below.as_os_str().is_empty()
        {
            let mut header = alike(entry.header())?;
            let is_hard = header.entry_type().is_hard_link();
            let written = match entry.link_name().context(DAMAGED)? {
                // That of a hard link begins with the unit's folder, too.
                Some(target) if is_hard => {
                    builder.append_link(&mut header, below, target.components().skip(1).collect::<PathBuf>())
                }
                Some(target) => builder.append_link(&mut header, below, &target),
                None => builder.append_data(&mut header, below, &mut entry),
            };
            disk::temporary(written)?;
        }
    }
    // Of the two empty blocks at an archive's end, the second is still to be read.
    if io::copy(&mut archive, &mut io::sink()).context(DAMAGED)? == 0 {
        bail!("{DAMAGED}: it is cut off");
    }
    finish(current)
}

/// A header for the same entry at another path: a copy of the header itself might keep the front part of a long path.
fn alike(header: &tar::Header) -> Result<tar::Header> {
    let mut alike = tar::Header::new_gnu();
    alike.set_entry_type(header.entry_type());
    alike.set_mode(header.mode().context(DAMAGED)?);
    alike.set_size(header.size().context(DAMAGED)?);
    alike.set_mtime(header.mtime().context(DAMAGED)?);
    Ok(alike)
}

/// A folder on the same file system as `out_dir`, and the folder it is in.
fn beside(out_dir: &Utf8Path) -> Result<(TempDir, &Utf8Path)> {
    let parent = out_dir.parent().unwrap_or(out_dir);
    let temp = fs::create_dir_all(parent)
        .and_then(|()| tempfile::Builder::new().prefix(".rustcbuildx").tempdir_in(parent))
        .on_disk(parent, || format!("failed to make a folder in `{parent}`"))?;
    Ok((temp, parent))
}

const DAMAGED: &str = "failed to read the archive of a unit's outcome";

/// Files on the file system of their place, not there yet; deleted when dropped.
pub struct Unpacked {
    _temp: TempDir,
    /// The folder that holds them.
    pub root: Utf8PathBuf,
}

impl Unpacked {
    /// No files, for `out_dir`.
    pub fn empty(out_dir: &Utf8Path) -> Result<Self> {
        let (temp, _) = beside(out_dir)?;
        let files = Self::in_folder(temp)?;
        fs::create_dir(&files.root).with_context(|| format!("failed to make `{}`", files.root))?;
        Ok(files)
    }

    fn in_folder(temp: TempDir) -> Result<Self> {
        let root = Utf8Path::from_path(temp.path()).context("the target folder's name is not UTF-8")?.join(FILES);
        Ok(Self { _temp: temp, root })
    }

    /// The names of the files, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        if !self.root.exists() {
            return Ok(vec![]);
        }
        let entries = self.root.read_dir_utf8().with_context(|| format!("failed to read `{}`", self.root))?;
        let mut names = entries.map(|entry| Ok(entry?.file_name().to_owned())).collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Drops what a failure leaves and the local compiler would not: the object files of a link, which rustc
    /// removes in its next run, which will see another folder, and the empty files for other steps.
    pub fn drop_leftovers(&self) -> Result<()> {
        for name in self.names()? {
            let path = self.root.join(&name);
            let is_empty = fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() == 0);
            if is_empty || name.ends_with(".o") {
                fs::remove_file(&path).with_context(|| format!("failed to remove `{path}`"))?;
            }
        }
        Ok(())
    }

    /// Moves each file into `out_dir`, over what has its name.
    pub fn place_files(&self, out_dir: &Utf8Path) -> Result<()> {
        fs::create_dir_all(out_dir).with_context(|| format!("failed to make `{out_dir}`"))?;
        for name in self.names()? {
            let (from, to) = (self.root.join(&name), out_dir.join(&name));
            if from.is_dir() {
                let _ = fs::remove_dir_all(&to);
            }
            fs::rename(from, &to).with_context(|| format!("failed to write `{to}`"))?;
        }
        Ok(())
    }

    /// Puts the whole folder in the place of `out_dir`.
    pub fn replace_folder(&self, out_dir: &Utf8Path) -> Result<()> {
        fs::create_dir_all(out_dir)
            .and_then(|()| fs::create_dir_all(&self.root))
            .and_then(|()| {
                Ok(renameat_with(CWD, self.root.as_std_path(), CWD, out_dir.as_std_path(), RenameFlags::EXCHANGE)?)
            })
            .with_context(|| format!("failed to replace `{out_dir}`"))
    }
}

/// Says what the process said.
pub fn replay(outcome: &Outcome) -> Result<()> {
    let replay = || -> std::io::Result<()> {
        std::io::stdout().write_all(&outcome.stdout)?;
        std::io::stdout().flush()?;
        std::io::stderr().write_all(&outcome.stderr)
    };
    replay().context("failed to pass on the compiler's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_whole(bytes: &[u8]) -> (Vec<(String, String)>, Result<()>) {
        let mut parts = Vec::new();
        let end = split(bytes, |key, part| {
            parts.push((key.to_owned(), String::from_utf8(Archive::new(part).file("files/f")?)?));
            Ok(())
        });
        (parts, end)
    }

    /// Archives have two fields for a path of more than 100 bytes.
    #[test]
    fn long_paths_are_whole() {
        let (key, name) = ("u".repeat(60), "f".repeat(60));
        let mut tar = tar::Builder::new(Vec::new());
        for path in [format!("{key}/files/{name}"), format!("{key}/status")] {
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, &b"0"[..]).unwrap();
        }
        let mut found = Vec::new();
        split(&tar.into_inner().unwrap()[..], |_, part| {
            let mut archive = tar::Archive::new(part);
            found.extend(archive.entries()?.map(|entry| entry.unwrap().path().unwrap().display().to_string()));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [format!("files/{name}"), "status".to_owned()]);
    }

    /// The engine may die while it sends.
    #[test]
    fn what_is_cut_off_is_no_outcome() {
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["u1/files/f", "u1/status", "u2/files/f", "u2/status"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, name.as_bytes()).unwrap();
        }
        let whole = tar.into_inner().unwrap();
        let part = |key: &str| (key.to_owned(), format!("{key}/files/f"));
        let (parts, end) = split_whole(&whole);
        assert!(parts == [part("u1"), part("u2")] && end.is_ok(), "{parts:?}");
        for length in (0..whole.len() - 512).step_by(256) {
            let (parts, end) = split_whole(&whole[..length]);
            // Each file takes two blocks, and another one's beginning tells that one is whole.
            let expected = if length >= 5 * 512 { &[part("u1")][..] } else { &[] };
            assert!(parts == expected && end.is_err(), "{length} bytes: {parts:?}");
        }
    }
}
