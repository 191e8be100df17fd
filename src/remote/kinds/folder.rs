//! A remote that is a folder: of this machine, of a network drive, or one that a CI system restores
//! and stores.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::NamedTempFile;

use super::remote::{BLOBS, HEAD, Remote};
use crate::remote::blob::Blob;

pub struct Folder {
    root: Utf8PathBuf,
}

impl Folder {
    pub fn new(root: Utf8PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, blob: &Blob) -> Utf8PathBuf {
        self.root.join(BLOBS).join(&blob.digest)
    }

    /// Writes a file; readers see the old one or the new one.
    fn write(&self, path: &Utf8Path, bytes: &[u8]) -> Result<()> {
        let write = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder)?;
            let file = NamedTempFile::new_in(folder)?;
            io::copy(&mut &bytes[..], &mut file.as_file())?;
            // A head must not be there before what it names.
            file.as_file().sync_all()?;
            // Others of the team read it, too.
            let mode = fs::metadata(folder)?.permissions().mode() & 0o666;
            file.as_file().set_permissions(Permissions::from_mode(mode))?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("failed to write `{path}`"))
    }
}

impl Remote for Folder {
    fn head(&self) -> Result<Option<String>> {
        let path = self.root.join(HEAD);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some).with_context(|| format!("failed to read `{path}`")),
        }
    }

    fn replace_head(&self, known: Option<&str>, new: &str) -> Result<bool> {
        let path = self.root.join("head.lock");
        let lock = || -> io::Result<File> {
            fs::create_dir_all(&self.root)?;
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        let _lock = lock().with_context(|| format!("failed to lock `{path}`"))?;
        if self.head()?.as_deref() != known {
            return Ok(false);
        }
        self.write(&self.root.join(HEAD), new.as_bytes())?;
        Ok(true)
    }

    fn read(&self, blob: &Blob, part: Option<Range<u64>>) -> Result<Vec<u8>> {
        let path = self.path(blob);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let mut bytes = Vec::new();
            match part {
                None => file.read_to_end(&mut bytes)?,
                Some(part) => {
                    file.seek(SeekFrom::Start(part.start))?;
                    file.take(part.end - part.start).read_to_end(&mut bytes)?
                }
            };
            Ok(bytes)
        };
        read().with_context(|| format!("failed to read `{path}`"))
    }

    fn add(&self, blob: &Blob, bytes: &[u8]) -> Result<()> {
        let path = self.path(blob);
        if fs::metadata(&path).is_ok_and(|data| data.len() == blob.size) {
            return Ok(());
        }
        self.write(&path, bytes)
    }

    fn remove(&self, blob: &Blob) -> Result<()> {
        let path = self.path(blob);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("failed to remove `{path}`")),
        }
    }

    fn list(&self) -> Result<Option<Vec<(Blob, u64)>>> {
        let folder = self.root.join(BLOBS);
        let Ok(entries) = folder.read_dir_utf8() else { return Ok(Some(vec![])) };
        let mut blobs = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to read `{folder}`"))?;
            let data = entry.metadata().with_context(|| format!("failed to read `{folder}`"))?;
            let age = data.modified()?.elapsed().unwrap_or_default().as_secs();
            blobs.push((Blob { digest: entry.file_name().to_owned(), size: data.len() }, age));
        }
        blobs.retain(|(blob, _)| blob.is_sound());
        Ok(Some(blobs))
    }
}
