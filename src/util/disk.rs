//! Errors of writing to a disk, with a hint where the error tells the way out.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
};

use anyhow::{Error, Result};
use camino::{Utf8Path, Utf8PathBuf};

/// For results of what writes to a path or below it.
pub trait OnDisk<T> {
    /// Says what failed, and what to do about it where the disk itself is to blame.
    fn on_disk(self, path: &Utf8Path, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> OnDisk<T> for Result<T, E> {
    fn on_disk(self, path: &Utf8Path, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let (error, what) = (error.into(), what());
            match hint(&error, path) {
                Some(hint) => error.context(format!("{what} (hint: {hint})")),
                None => error.context(what),
            }
        })
    }
}

/// Says what failed of a file that only this process sees.
pub fn temporary<T, E: Into<Error>>(result: Result<T, E>) -> Result<T> {
    let folder = Utf8PathBuf::from_path_buf(tempfile::env::temp_dir()).unwrap_or_default();
    result.on_disk(&folder, || "failed to write a temporary file".to_owned())
}

/// Source of the kinds: write(2), open(2), `std::io::ErrorKind`.
fn hint(error: &Error, path: &Utf8Path) -> Option<String> {
    let kind = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>())?.kind();
    let hint = match kind {
        ErrorKind::StorageFull => {
            format!("is the disk full? The file system at `{}` has no room left", file_system(path))
        }
        ErrorKind::QuotaExceeded => {
            format!(
                "is the disk full? Your share of the file system at `{}` is used up",
                file_system(path)
            )
        }
        ErrorKind::PermissionDenied => format!("may this user write to `{path}`?"),
        ErrorKind::ReadOnlyFilesystem => {
            format!("the file system at `{}` can only be read", file_system(path))
        }
        _ => return None,
    };
    Some(hint)
}

/// Where the file system begins that a path is in, be it there or not.
fn file_system(path: &Utf8Path) -> &Utf8Path {
    let device = |path: &Utf8Path| fs::metadata(path).ok().map(|data| data.dev());
    let mut there = path.ancestors().skip_while(|path| device(path).is_none());
    let Some(mut found) = there.next() else { return path };
    for above in there {
        if device(above) != device(found) {
            break;
        }
        found = above;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(error: impl Into<Error>, expected: &str) {
        let failed: Result<()> = Err(error.into());
        let error = failed
            .on_disk("/proc/self/none/file".into(), || "failed to write `f`".to_owned())
            .unwrap_err();
        assert!(format!("{error:#}").starts_with(expected), "{error:#}");
    }

    #[test]
    fn the_disk_is_blamed_where_it_is_to_blame() {
        let number = |errno: rustix::io::Errno| io::Error::from(errno);
        case(
            number(rustix::io::Errno::NOSPC),
            "failed to write `f` (hint: is the disk full? The file system at `/proc` has",
        );
        case(
            number(rustix::io::Errno::DQUOT),
            "failed to write `f` (hint: is the disk full? Your share of",
        );
        case(
            number(rustix::io::Errno::ACCESS),
            "failed to write `f` (hint: may this user write to `/proc/self/none/file`?)",
        );
        case(number(rustix::io::Errno::PERM), "failed to write `f` (hint: may this user write to ");
        case(
            number(rustix::io::Errno::ROFS),
            "failed to write `f` (hint: the file system at `/proc` can only be read)",
        );
        case(number(rustix::io::Errno::NOENT), "failed to write `f`: No such file");
        case(anyhow::anyhow!("a damaged archive"), "failed to write `f`: a damaged archive");
        // What others wrap is seen as well.
        let wrapped = Error::from(number(rustix::io::Errno::NOSPC)).context("failed to copy");
        case(wrapped, "failed to write `f` (hint: is the disk full?");
        let kind = io::Error::new(ErrorKind::StorageFull, "of tempfile's");
        case(kind, "failed to write `f` (hint: is the disk full?");
    }
}
