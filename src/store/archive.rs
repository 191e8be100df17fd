//! A unit's outcome as a build brings it back: the archive, the outcome in it, and its files,
//! staged next to where they belong.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use crate::{
    step::protocol::{BUILD_ID, CALLED_GIT, DEFERRED, FILES, STATUS, STDERR, STDOUT},
    store::staging::{Unpacked, beside},
    util::disk::{self, OnDisk},
};

/// The tar file of a build's result, read once from its start.
pub struct Archive<R: Read> {
    tar: tar::Archive<R>,
}

/// How a unit's process ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit status as a shell gives it: 128 and the signal's number for a killed process.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The number of the call in which it ran.
    pub build_id: String,
    /// Whether it called git, as far as it is a build script.
    pub called_git: bool,
    /// Whether its artifacts stayed in the engine.
    pub is_deferred: bool,
}

impl Outcome {
    /// Writes an outcome into a folder, which is made, as a step leaves it beside the files.
    pub fn write(&self, folder: &Utf8Path) -> Result<()> {
        let status = self.status.to_string();
        let mut said = vec![
            (STATUS, status.as_bytes()),
            (STDOUT, &self.stdout),
            (STDERR, &self.stderr),
            (BUILD_ID, self.build_id.as_bytes()),
        ];
        said.extend(self.called_git.then_some((CALLED_GIT, &[][..])));
        fs::create_dir_all(folder)
            .and_then(|()| {
                said.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
            })
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

    /// The bytes of all files, by their paths.
    pub fn files(mut self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for entry in self.tar.entries().context(DAMAGED)? {
            let mut entry = entry.context(DAMAGED)?;
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).context(DAMAGED)?;
            files.insert(entry.path().context(DAMAGED)?.to_string_lossy().into_owned(), bytes);
        }
        Ok(files)
    }

    /// The outcome of a unit, without its files.
    pub fn outcome(self) -> Result<Outcome> {
        self.read(|_, _| Ok(()))
    }

    /// The outcome of a unit, and the text of the dep-info among its files.
    pub fn outcome_and_dep_info(self) -> Result<(Outcome, String)> {
        let mut dep_info = Vec::new();
        let outcome = self.read(|entry, path| {
            if path.ends_with(".d") {
                entry.read_to_end(&mut dep_info).context(DAMAGED)?;
            }
            Ok(())
        })?;
        Ok((outcome, String::from_utf8_lossy(&dep_info).into_owned()))
    }

    /// The outcome of a unit, its files unpacked beside `out_dir`, whose folder is made where it is
    /// missing.
    pub fn receive(mut self, out_dir: &Utf8Path) -> Result<Received> {
        let (temp, parent) = beside(out_dir)?;
        self.tar.set_preserve_permissions(true);
        self.tar.set_preserve_mtime(false);
        let outcome = self.read(|entry, path| {
            let unpacked = entry.unpack_in(temp.path());
            unpacked
                .map(drop)
                .on_disk(parent, || format!("failed to unpack `{path}` into `{parent}`"))
        })?;
        Ok(Received { outcome, files: Unpacked::in_folder(temp)? })
    }

    /// The outcome; `each` gets the unit's files, and their paths.
    fn read(
        mut self,
        mut each: impl FnMut(&mut tar::Entry<'_, R>, &str) -> Result<()>,
    ) -> Result<Outcome> {
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
        let (called_git, is_deferred) =
            (said.contains_key(CALLED_GIT), said.contains_key(DEFERRED));
        let mut said =
            |name: &str| said.remove(name).with_context(|| format!("{DAMAGED}: no `{name}` in it"));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        let status = text(said(STATUS)?);
        let status =
            status.parse().with_context(|| format!("failed to read the exit status `{status}`"))?;
        Ok(Outcome {
            status,
            stdout: said(STDOUT)?,
            stderr: said(STDERR)?,
            build_id: text(said(BUILD_ID)?),
            called_git,
            is_deferred,
        })
    }
}

/// Splits an archive that has a folder for each unit. `each` gets the folder's name and an archive
/// of what is in it. That archive is whole even if the one it comes from is cut off later.
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
        let name = parts
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .unwrap_or_default();
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
                Some(target) if is_hard => builder.append_link(
                    &mut header,
                    below,
                    target.components().skip(1).collect::<PathBuf>(),
                ),
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

/// A header for the same entry at another path. A copy of the header itself might keep the front
/// part of a long path.
fn alike(header: &tar::Header) -> Result<tar::Header> {
    let mut alike = tar::Header::new_gnu();
    alike.set_entry_type(header.entry_type());
    alike.set_mode(header.mode().context(DAMAGED)?);
    alike.set_size(header.size().context(DAMAGED)?);
    alike.set_mtime(header.mtime().context(DAMAGED)?);
    Ok(alike)
}

const DAMAGED: &str = "failed to read the archive of a unit's outcome";

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
            found.extend(
                archive
                    .entries()?
                    .map(|entry| entry.unwrap().path().unwrap().display().to_string()),
            );
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
