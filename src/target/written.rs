//! What a unit wrote outside of its output folder, put where plain cargo would have had it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
};

use anyhow::Result;
use camino::Utf8Path;

use crate::{
    step::touched::{FileState, Written},
    store::archive::WrittenFile,
    util::disk::OnDisk,
};

/// Puts all of it in place, by rename; what is there already is left as it is.
pub fn put(all: &[WrittenFile]) -> Result<()> {
    for written in all.iter().filter(|written| !is_there(written)) {
        let path = Utf8Path::new(&written.at.path);
        put_one(written, path).on_disk(path, || format!("failed to write `{path}`"))?;
    }
    Ok(())
}

/// Whether all of it is in place.
pub fn are_there(all: &[WrittenFile]) -> bool {
    all.iter().all(is_there)
}

fn is_there(WrittenFile { at: Written { path, what }, content }: &WrittenFile) -> bool {
    let Ok(data) = fs::symlink_metadata(path) else { return *what == FileState::Nothing };
    match what {
        FileState::Nothing => false,
        FileState::Folder => data.is_dir(),
        FileState::Link(target) => {
            data.is_symlink()
                && fs::read_link(path).is_ok_and(|there| there.as_os_str() == &**target)
        }
        FileState::File { mode } => {
            data.is_file()
                && data.permissions().mode() & 0o7777 == *mode
                && data.len() == content.len() as u64
                && fs::read(path).is_ok_and(|there| there == *content)
        }
    }
}

fn put_one(
    WrittenFile { at: Written { what, .. }, content }: &WrittenFile,
    path: &Utf8Path,
) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let there = fs::symlink_metadata(path).ok();
    if let (FileState::Nothing, Some(data)) = (what, &there) {
        // Of a folder, only what it saw of it is gone.
        return if data.is_dir() { fs::remove_dir(path).or(Ok(())) } else { fs::remove_file(path) };
    }
    if *what == FileState::Folder {
        // A link may lead to a folder somewhere else.
        if there.is_some() {
            fs::remove_file(path)?;
        }
        return fs::create_dir_all(path);
    }
    fs::create_dir_all(folder)?;
    let new = tempfile::Builder::new().prefix(".rustcbuildx-").tempdir_in(folder)?;
    let file = new.path().join("new");
    match what {
        FileState::Link(target) => symlink(target, &file)?,
        FileState::File { mode } => {
            fs::write(&file, content)?;
            fs::set_permissions(&file, Permissions::from_mode(*mode))?;
        }
        FileState::Folder | FileState::Nothing => {}
    }
    fs::rename(file, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_put_in_place_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        fs::write(root.join("old"), "").unwrap();
        let written = |path: &str, what, content: &str| WrittenFile {
            at: Written { path: root.join(path).into_string(), what },
            content: content.into(),
        };
        let all = [
            written("gen", FileState::Folder, ""),
            written("gen/a.sh", FileState::File { mode: 0o755 }, "a"),
            written("link", FileState::Link("gen/a.sh".to_owned()), ""),
            written("old", FileState::Nothing, ""),
        ];
        assert!(!are_there(&all));
        put(&all).unwrap();
        assert!(are_there(&all));
        assert_eq!(fs::read_to_string(root.join("link")).unwrap(), "a");
        assert!(!root.join("old").exists());
        let stamp = || fs::metadata(root.join("gen/a.sh")).unwrap().modified().unwrap();
        let before = stamp();
        put(&all).unwrap();
        assert_eq!(stamp(), before);
        fs::write(root.join("gen/a.sh"), "edited").unwrap();
        put(&all).unwrap();
        assert_eq!(fs::read_to_string(root.join("gen/a.sh")).unwrap(), "a");
        assert_eq!(fs::read_dir(root).unwrap().count(), 2);
        let folder = [written("link", FileState::Folder, "")];
        put(&folder).unwrap();
        assert!(are_there(&folder) && root.join("gen/a.sh").exists());
    }
}
