//! What a build brought back: an archive of a unit's outcome, and its files put in their place.

use std::{
    fs::{self, File},
    io::{Read, Write},
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use crate::stage::{FILES, NONCE, STATUS, STDERR, STDOUT};

/// The tar file of a build's result.
pub struct Archive {
    file: File,
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
}

impl Archive {
    pub fn new(file: File) -> Self {
        Self { file }
    }

    /// One file's bytes; fails if it is not there.
    pub fn read_file(&mut self, name: &str) -> Result<Vec<u8>> {
        let mut archive = self.rewound()?;
        for entry in archive.entries_with_seek().context("failed to read what the engine sent")? {
            let mut entry = entry.context("failed to read what the engine sent")?;
            if entry.path()?.as_os_str() == name {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).with_context(|| format!("failed to read `{name}` from the engine"))?;
                return Ok(bytes);
            }
        }
        bail!("failed to read what the engine sent: no `{name}` in it")
    }

    /// The outcome of a unit.
    pub fn outcome(&mut self) -> Result<Outcome> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        let status = text(self.read_file(STATUS)?);
        Ok(Outcome {
            status: status.parse().with_context(|| format!("failed to read the exit status `{status}`"))?,
            stdout: self.read_file(STDOUT)?,
            stderr: self.read_file(STDERR)?,
            nonce: text(self.read_file(NONCE)?),
        })
    }

    /// Unpacks the unit's files beside `out_dir`, whose folder is made where it is missing.
    pub fn unpack(&mut self, out_dir: &Utf8Path) -> Result<Unpacked> {
        let parent = out_dir.parent().unwrap_or(out_dir);
        let mut unpack = || -> Result<TempDir> {
            fs::create_dir_all(parent)?;
            let temp = tempfile::Builder::new().prefix(".rustcbuildx").tempdir_in(parent)?;
            let mut archive = self.rewound()?;
            archive.set_preserve_permissions(true);
            archive.set_preserve_mtime(false);
            for entry in archive.entries_with_seek()? {
                let mut entry = entry?;
                if entry.path()?.starts_with(FILES) {
                    entry.unpack_in(temp.path())?;
                }
            }
            Ok(temp)
        };
        let temp = unpack().with_context(|| format!("failed to unpack into `{parent}` (hint: is the disk full?)"))?;
        let root = Utf8Path::from_path(temp.path()).context("the target folder's name is not UTF-8")?.join(FILES);
        Ok(Unpacked { _temp: temp, root })
    }

    fn rewound(&mut self) -> Result<tar::Archive<&mut File>> {
        std::io::Seek::rewind(&mut self.file).context("failed to read what the engine sent")?;
        Ok(tar::Archive::new(&mut self.file))
    }
}

/// Files on the file system of their place, not there yet; deleted when dropped.
pub struct Unpacked {
    _temp: TempDir,
    /// The folder that holds them.
    pub root: Utf8PathBuf,
}

impl Unpacked {
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

    /// Drops the object files that a failed link leaves: rustc removes them in its next run, which will see
    /// another folder.
    pub fn drop_objects(&self) -> Result<()> {
        for name in self.names()?.iter().filter(|name| name.ends_with(".o")) {
            let path = self.root.join(name);
            fs::remove_file(&path).with_context(|| format!("failed to remove `{path}`"))?;
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
