//! Lists what counts as source below a folder: names, kinds and times, without reading the
//! contents.

use std::{
    ffi::OsString,
    fs::{self, DirEntry},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{snapshot::cargo_target, util::digest::digest};

/// How much of what is below a folder counts; sockets and the like never do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent {
    /// All but target folders, the repository's own version control and this tool's cache.
    Sources,
    /// What a unit made. Links in it stay links: where they lead is decided in the unit's
    /// container.
    Everything,
}

/// What decides whether something counts.
pub struct Rules<'a> {
    pub extent: Extent,
    /// The target folder of the build: no source, even before anything lies in it.
    pub target: Option<&'a Utf8Path>,
    /// This tool's cache folder, which may lie in a package.
    pub cache: &'a Utf8Path,
    /// Files and folders that count wherever they lie.
    pub wanted: &'a [Utf8PathBuf],
    /// The tree around the root in which links are followed.
    pub reach: &'a Utf8Path,
    /// Whether links to files are followed wherever they lead: the user put them into a package of
    /// their own.
    pub is_own: bool,
}

#[derive(Clone, Debug)]
pub struct Entry {
    /// Below the root.
    pub path: Utf8PathBuf,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Folder,
    /// A file, and where it really is: a link out of the root stands for the file that it leads to.
    File {
        file: PathBuf,
        stamp: Stamp,
    },
    /// A link and its text.
    Link(String),
}

/// What changes whenever somebody writes to a file or puts another one in its place. Times are in
/// nanoseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub size: u64,
    pub mode: u32,
    modified: i64,
    changed: i64,
    inode: u64,
}

impl Stamp {
    pub fn of(data: &fs::Metadata) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: data.len(),
            mode: data.mode() & 0o777,
            modified: nanos(data.mtime(), data.mtime_nsec()),
            changed: nanos(data.ctime(), data.ctime_nsec()),
            inode: data.ino(),
        }
    }

    #[cfg(test)]
    pub fn sized(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    #[cfg(test)]
    pub fn modified(&self) -> std::time::SystemTime {
        std::time::UNIX_EPOCH + std::time::Duration::from_nanos(self.modified as u64)
    }

    /// When it was last changed in any way.
    pub fn latest(&self) -> i64 {
        self.modified.max(self.changed)
    }
}

/// Lists everything below a folder: each folder comes before what is in it. What cannot be read, or
/// has a name that cannot be sent, is omitted, because it only matters if a unit needs it. Fails
/// only if the folder itself cannot be listed.
pub fn scan(root: &Utf8Path, rules: &Rules<'_>) -> Result<Vec<Entry>> {
    let real_root =
        root.canonicalize().with_context(|| format!("failed to find the folder `{root}`"))?;
    let names =
        list(root.as_std_path()).with_context(|| format!("failed to read the folder `{root}`"))?;
    let (around, entries) = (vec![real_root.clone()], vec![]);
    let mut walk = Walk { root, real_root, rules, around, entries };
    walk.all_in(root.as_std_path(), Utf8Path::new(""), names, false);
    Ok(walk.entries)
}

/// A digest of the entries and their stamps, and the time of the latest change among them.
pub fn fingerprint(entries: &[Entry]) -> (String, i64) {
    let mut latest = i64::MIN;
    let parts = entries.iter().map(|Entry { path, kind }| match kind {
        Kind::Folder => format!("d\0{path}"),
        Kind::Link(text) => format!("l\0{path}\0{text}"),
        Kind::File { stamp, .. } => {
            latest = latest.max(stamp.latest());
            let Stamp { size, mode, modified, changed, inode } = stamp;
            format!("f\0{path}\0{size} {mode} {modified} {changed} {inode}")
        }
    });
    (digest(parts), latest)
}

/// Whether something below a root, and all that is in it, does not count as source, unless it is
/// wanted by itself.
pub fn is_excluded(root: &Utf8Path, place: &Utf8Path, rules: &Rules<'_>) -> bool {
    is_own_version_control(place.strip_prefix(root).unwrap_or(place))
        || place.is_dir()
            && list(place.as_std_path()).is_ok_and(|names| rules.leave_out(place, &names))
}

/// The version control of the root itself. That of a folder in it, as of a fixture, is a source.
fn is_own_version_control(relative: &Utf8Path) -> bool {
    relative == ".git"
}

/// How many links to folders are followed within each other.
const DEEPEST: usize = 8;

type Names = Vec<(OsString, DirEntry)>;

/// The names in a folder, sorted.
fn list(dir: &Path) -> io::Result<Names> {
    let entries = fs::read_dir(dir)?.map(|entry| entry.map(|entry| (entry.file_name(), entry)));
    let mut names = entries.collect::<io::Result<Names>>()?;
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(names)
}

impl<'a> Rules<'a> {
    /// Rules by which everything below a root counts.
    pub fn everything(root: &'a Utf8Path, cache: &'a Utf8Path) -> Self {
        Self {
            extent: Extent::Everything,
            target: None,
            cache,
            wanted: &[],
            reach: root,
            is_own: false,
        }
    }

    fn leave_out(&self, dir: &Utf8Path, names: &Names) -> bool {
        self.extent == Extent::Sources
            && (Some(dir) == self.target
                || dir == self.cache
                || cargo_target::is_one(
                    dir.as_std_path(),
                    names.iter().map(|(name, _)| name.as_os_str()),
                ))
    }

    fn wants(&self, path: &Utf8Path) -> bool {
        self.wanted.iter().any(|wanted| wanted == path)
    }

    fn wants_something_in(&self, dir: &Utf8Path) -> bool {
        self.wanted.iter().any(|wanted| wanted != dir && wanted.starts_with(dir))
    }
}

struct Walk<'a> {
    root: &'a Utf8Path,
    real_root: PathBuf,
    rules: &'a Rules<'a>,
    /// Where the folders around the current one really are, links resolved.
    around: Vec<PathBuf>,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    /// Adds the entries of a folder. In one that `is_excluded`, only what is wanted by itself
    /// counts.
    fn all_in(&mut self, dir: &Path, relative: &Utf8Path, names: Names, is_excluded: bool) {
        for (name, entry) in names {
            let (Ok(kind), Some(name)) = (entry.file_type(), name.to_str()) else { continue };
            let (path, relative) = (dir.join(name), relative.join(name));
            let place = self.root.join(&relative);
            let is_excluded = is_excluded
                || self.rules.extent == Extent::Sources && is_own_version_control(&relative);
            let is_excluded = is_excluded && !self.rules.wants(&place);
            if is_excluded && !self.rules.wants_something_in(&place) {
                continue;
            }
            if kind.is_dir() {
                self.folder(&path, relative, is_excluded);
            } else if is_excluded {
                continue;
            } else if kind.is_file() {
                self.file(path, relative, entry.metadata());
            } else if kind.is_symlink() {
                self.link(&path, relative);
            }
        }
    }

    fn folder(&mut self, dir: &Path, relative: Utf8PathBuf, is_excluded: bool) {
        let Ok(names) = list(dir) else { return };
        let place = self.root.join(&relative);
        let is_excluded =
            is_excluded || !self.rules.wants(&place) && self.rules.leave_out(&place, &names);
        if is_excluded && !self.rules.wants_something_in(&place) {
            return;
        }
        self.entries.push(Entry { path: relative.clone(), kind: Kind::Folder });
        self.all_in(dir, &relative, names, is_excluded);
    }

    fn file(&mut self, file: PathBuf, path: Utf8PathBuf, data: io::Result<fs::Metadata>) {
        // It may have vanished meanwhile.
        let Ok(data) = data else { return };
        self.entries.push(Entry { path, kind: Kind::File { file, stamp: Stamp::of(&data) } });
    }

    /// A link within the root stays one. One that leads out, but not too far, counts as what it
    /// leads to.
    fn link(&mut self, link: &Path, relative: Utf8PathBuf) {
        let Some(text) =
            fs::read_link(link).ok().and_then(|text| text.into_os_string().into_string().ok())
        else {
            return;
        };
        let target = link.canonicalize().ok().filter(|target| {
            self.rules.extent == Extent::Sources && !target.starts_with(&self.real_root)
        });
        let stays = Entry { path: relative.clone(), kind: Kind::Link(text) };
        let Some(target) = target else { return self.entries.push(stays) };
        let is_within_reach =
            target.starts_with(self.rules.reach) || self.rules.is_own && target.is_file();
        if !is_within_reach {
            return self.entries.push(stays);
        }
        // A folder that holds the link has no end, and links that lead to each other's folders have
        // many.
        let is_around = self.around.len() > DEEPEST
            || self.around.iter().any(|around| around.starts_with(&target));
        match fs::metadata(&target) {
            Ok(data) if data.is_file() => self.file(target, relative, Ok(data)),
            Ok(data) if data.is_dir() && !is_around => {
                self.around.push(target.clone());
                self.folder(&target, relative, false);
                self.around.pop();
            }
            _ => self.entries.push(stays),
        }
    }
}
