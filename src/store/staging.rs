//! A unit's files before they are installed: on the file system that they belong to, so that a
//! rename installs each of them.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use crate::{
    step::protocol::FILES,
    util::{disk::OnDisk, process::HeldBack},
};

/// A temporary folder in a folder of the user's, which Ctrl-C does not leave there.
pub struct Staging {
    folder: TempDir,
    /// Dropped after it.
    _held: HeldBack,
}

impl Staging {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A folder on the same file system as `out_dir`, and the folder it is in.
pub fn beside(out_dir: &Utf8Path) -> Result<(Staging, &Utf8Path)> {
    let parent = out_dir.parent().unwrap_or(out_dir);
    let held = HeldBack::new();
    let folder = fs::create_dir_all(parent)
        .and_then(|()| tempfile::Builder::new().prefix(".rustcbuildx").tempdir_in(parent))
        .on_disk(parent, || format!("failed to make a folder in `{parent}`"))?;
    Ok((Staging { folder, _held: held }, parent))
}

/// Files on the file system of their place, not there yet; deleted when dropped.
pub struct Unpacked {
    _temp: Staging,
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

    /// Those in the folder `files` of a temporary folder.
    pub fn in_folder(temp: Staging) -> Result<Self> {
        let root = Utf8Path::from_path(temp.path())
            .context("the target folder's name is not UTF-8")?
            .join(FILES);
        Ok(Self { _temp: temp, root })
    }

    /// The names of the files, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        if !self.root.exists() {
            return Ok(vec![]);
        }
        let entries =
            self.root.read_dir_utf8().with_context(|| format!("failed to read `{}`", self.root))?;
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_owned()))
            .collect::<std::io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Drops what a failure leaves and the local compiler would not: the object files of a link,
    /// which rustc removes in its next run, which will see another folder, and empty files.
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
    pub fn move_files_into(&self, out_dir: &Utf8Path) -> Result<()> {
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
                Ok(renameat_with(
                    CWD,
                    self.root.as_std_path(),
                    CWD,
                    out_dir.as_std_path(),
                    RenameFlags::EXCHANGE,
                )?)
            })
            .with_context(|| format!("failed to replace `{out_dir}`"))
    }
}
