//! A unit's files before they are installed: on the file system that they belong to, so that a
//! rename installs each of them.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};
use tempfile::TempDir;

use crate::{
    step::protocol::FILES,
    util::{disk::OnDisk, process::HeldBack},
};

/// A temporary folder in a folder of the user's, which Ctrl-C does not leave there. What a kill
/// leaves, the next one in the same folder removes.
pub struct Staging {
    folder: TempDir,
    /// Whoever has the lock of such a folder may remove it: nobody has that of a process that was
    /// killed.
    _locked: File,
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
    let (folder, locked) = fs::create_dir_all(parent)
        .and_then(|()| remove_leftovers(parent))
        .and_then(|()| make_locked(parent))
        .on_disk(parent, || format!("failed to make a folder in `{parent}`"))?;
    Ok((Staging { folder, _locked: locked, _held: held }, parent))
}

/// What begins like this is ours, and may be removed.
const PREFIX: &str = ".rustcbuildx-staging-";

fn remove_leftovers(parent: &Utf8Path) -> io::Result<()> {
    for entry in parent.read_dir()? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && let Ok(folder) = File::open(entry.path())
            && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            // What cannot be removed is only in the way of who looks for it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn make_locked(parent: &Utf8Path) -> io::Result<(TempDir, File)> {
    loop {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        // Another process may take it for a leftover before it is locked.
        let locked = match File::open(folder.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        // A file system without locks has no leftovers removed.
        let is_taken =
            flock(&locked, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK);
        if !is_taken && folder.path().exists() {
            return Ok((folder, locked));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let out_dir = Utf8Path::from_path(dir.path()).unwrap().join("deps/out");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let (staging, _) = beside(&out_dir).unwrap();
                        assert!(staging.path().exists());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path().join("deps")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let out_dir = Utf8Path::from_path(dir.path()).unwrap().join("deps");
        let leftover = dir.path().join(format!("{PREFIX}abc"));
        // A folder of the user's with our name.
        let own = dir.path().join(".rustcbuildx");
        fs::create_dir(&own).unwrap();
        fs::create_dir_all(leftover.join("files")).unwrap();
        let (one, _) = beside(&out_dir).unwrap();
        assert!(!leftover.exists());
        let (other, _) = beside(&out_dir).unwrap();
        assert!(one.path().exists() && other.path().exists(), "both are in use");
        drop((one, other));
        assert!(own.exists());
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
}
