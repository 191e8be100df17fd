//! What a task wrote outside of its output folder, gathered as outcomes have it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    files,
    protocol::INDEX,
    touched::{FileState, Written, encode_written},
    view::{Lent, View},
};

/// Copies what a task wrote to what was lent to it into a folder, which is made anew; `None` if
/// there is nothing.
pub fn gather(view: &View<'_>, lent: &[Lent<'_>], to: &Path) -> io::Result<Option<PathBuf>> {
    let mut all = Vec::new();
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    for (path, was_there) in view.written(lent)? {
        let data = path.symlink_metadata().ok();
        let what = match &data {
            None if was_there => FileState::Nothing,
            Some(data) if data.is_file() => {
                FileState::File { mode: data.permissions().mode() & 0o7777 }
            }
            Some(data) if data.is_dir() => FileState::Folder,
            Some(data) if data.is_symlink() => {
                let Some(target) = fs::read_link(&path)?.to_str().map(str::to_owned) else {
                    continue;
                };
                FileState::Link(target)
            }
            // A pipe or a socket serves nobody once its process is gone.
            _ => continue,
        };
        // Nobody else could tell such a name.
        let Some(name) = path.to_str() else { continue };
        if let FileState::File { .. } = what {
            fs::create_dir_all(to)?;
            files::copy_tree(&path, &to.join(all.len().to_string()))?;
        }
        all.push(Written { path: name.to_owned(), what });
    }
    if all.is_empty() {
        return Ok(None);
    }
    fs::create_dir_all(to)?;
    fs::write(to.join(INDEX), encode_written(&all))?;
    Ok(Some(to.to_owned()))
}
