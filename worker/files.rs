//! Files and folders as tasks need them: copied, owned, and open to users that are not their maker.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown},
    path::Path,
};

use crate::report::{Explain, Result};

/// Copies a file, a link or a whole folder to where nothing is, with modes.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let data = from.symlink_metadata()?;
    if data.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if data.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
        return fs::set_permissions(to, data.permissions());
    }
    if !data.is_file() {
        // Nobody gets anything through a pipe or a socket that is left behind.
        return Ok(());
    }
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create_new(true).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.set_permissions(data.permissions())
}

/// Makes a user the owner of all that is at a path; links lead elsewhere, and are not followed.
pub fn give_to(path: &Path, user: u32) -> io::Result<()> {
    each_below(path, &|_| false, &mut |path, data| own(path, data, user))
}

/// Lets every user read what is at a path, as its owner may: each task has a user of its own.
pub fn open_to_all(path: &Path) -> io::Result<()> {
    each_below(path, &|_| false, &mut |path, data| {
        let mode = data.permissions().mode() & 0o7777;
        let opened = match data {
            data if data.is_symlink() => mode,
            data if data.is_dir() => mode | 0o555,
            _ => opened(mode),
        };
        if opened == mode {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(opened))
    })
}

/// The mode of a file that all may read, and start if its owner may.
pub fn opened(mode: u32) -> u32 {
    mode | 0o444 | if mode & 0o100 == 0 { 0 } else { 0o111 }
}

pub fn own(path: &Path, data: &fs::Metadata, user: u32) -> io::Result<()> {
    if data.uid() == user { Ok(()) } else { lchown(path, Some(user), Some(user)) }
}

/// `each` gets a path and all below it, but for what is left out.
pub fn each_below(
    path: &Path,
    is_left_out: &dyn Fn(&Path) -> bool,
    each: &mut dyn FnMut(&Path, &fs::Metadata) -> io::Result<()>,
) -> io::Result<()> {
    let data = path.symlink_metadata()?;
    each(path, &data)?;
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            if !is_left_out(&path) {
                each_below(&path, is_left_out, each)?;
            }
        }
    }
    Ok(())
}

pub fn make_parents(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => make_folder(parent),
        None => Ok(()),
    }
}

/// Makes a folder that everybody may go through, as those around it.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path)
        .explain(|| format!("failed to make the folder `{}`", path.display()))?;
    for folder in path.ancestors() {
        let mode =
            folder.metadata().map(|data| data.permissions().mode() & 0o7777).unwrap_or(0o755);
        if mode & 0o011 != 0o011 {
            let opened = fs::set_permissions(folder, Permissions::from_mode(mode | 0o011));
            opened.explain(|| format!("failed to open the folder `{}`", folder.display()))?;
        }
    }
    Ok(())
}

/// Makes a folder that one user may write to.
pub fn make_private_folder(path: &Path, user: u32) -> Result<()> {
    let make = || -> io::Result<()> {
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::create_dir_all(path)?;
        chown(path, Some(user), Some(user))?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
    };
    make().explain(|| format!("failed to make the folder `{}`", path.display()))
}

/// Whether two files have the same bytes, or two links the same target.
pub fn is_same(a: &fs::Metadata, at: &Path, b: &fs::Metadata, other: &Path) -> io::Result<bool> {
    if a.file_type() != b.file_type() || a.len() != b.len() {
        return Ok(false);
    }
    if a.is_symlink() {
        return Ok(fs::read_link(at)? == fs::read_link(other)?);
    }
    Ok(fs::read(at)? == fs::read(other)?)
}
