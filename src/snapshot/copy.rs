//! Copies of sources. A unit is never sent the user's own folder, which may change while it is
//! sent. A copy is digested while it is written, so its name is the digest of the very bytes in it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    snapshot::content::{Unwritten, digest_while_copying},
    util::{digest::digest, disk::OnDisk, state_dir::Cache},
};

/// Something to be copied, as it was found.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is in a copy. A folder comes before what is in it.
    pub path: Utf8PathBuf,
    pub item: Item,
    /// Where a file really is.
    pub file: PathBuf,
}

/// Something in a copy. What it says, and its path, are all that a copy's name depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    Folder,
    File { mode: u32, digest: String },
    Link(String),
}

/// What is in a copy, by path.
pub type Listing = Vec<(Utf8PathBuf, Item)>;

/// The name of the copy within its folder. It is not at the root of what is sent, because an engine
/// would obey a `.dockerignore` there.
pub const INSIDE: &str = "p";
/// If a copy has more files than this, only what differs from an earlier one is sent.
const LARGE: usize = 100;

/// The name of a copy with these items.
fn name_of<'a>(items: impl Iterator<Item = (&'a Utf8PathBuf, &'a Item)>) -> String {
    let parts = items.map(|(path, item)| match item {
        Item::Folder => format!("d\0{path}"),
        Item::Link(text) => format!("l\0{path}\0{text}"),
        Item::File { mode, digest } => format!("f{mode:o}\0{path}\0{digest}"),
    });
    format!("s{}", digest(parts))
}

pub fn name_of_sources(sources: &[Source]) -> String {
    name_of(sources.iter().map(|source| (&source.path, &source.item)))
}

pub fn folder_of(name: &str, cache: &Cache) -> Utf8PathBuf {
    cache.path(&format!("sources/{name}"))
}

/// Copies sources, which may have changed since they were listed, and returns what is in the copy.
/// Files that did not change since the copy `last` are shared with it.
pub fn copy(sources: &[Source], last: Option<&str>, cache: &Cache) -> Result<(String, Listing)> {
    let base = last;
    let last = last.map(|last| Last::of(last, cache)).unwrap_or_default();
    let mut listing = Listing::new();
    let folder = cache.folder_named_by("sources", |new| {
        let inside = new.join(INSIDE);
        fs::create_dir(&inside).on_disk(new, || format!("failed to make `{inside}`"))?;
        for source in sources {
            let copied = copy_one(source, &inside.join(&source.path), &last);
            let item = copied.on_disk(new, || {
                format!("failed to copy `{}` into the cache", source.file.display())
            })?;
            listing.extend(item.map(|item| (source.path.clone(), item)));
        }
        Ok(name_of(listing.iter().map(|(path, item)| (path, item))))
    })?;
    let name = folder.file_name().unwrap_or_default().to_owned();
    save_listing(&name, cache, || listing.clone())?;
    if listing.len() > LARGE
        && let Some(base) = base.filter(|base| *base != name)
    {
        cache.write(&format!("bases/{name}"), &base)?;
    }
    Ok((name, listing))
}

/// An earlier copy, which shares files with this one.
pub fn base_of(name: &str, cache: &Cache) -> Option<String> {
    cache.read(&format!("bases/{name}"))
}

fn listing_of(name: &str) -> String {
    format!("listings/{name}")
}

/// What is in the copy of this name, whether there is one or not, if that was ever saved.
pub fn listing(name: &str, cache: &Cache) -> Option<Listing> {
    cache.read(&listing_of(name))
}

fn save_listing(name: &str, cache: &Cache, listing: impl FnOnce() -> Listing) -> Result<()> {
    match cache.path(&listing_of(name)).exists() {
        true => Ok(()),
        false => cache.write(&listing_of(name), &listing()),
    }
}

/// The name that the copy of sources will have, whose listing is saved under it.
pub fn name_to_be(sources: &[Source], cache: &Cache) -> Result<String> {
    let name = name_of_sources(sources);
    let items = sources.iter().map(|source| (source.path.clone(), source.item.clone()));
    save_listing(&name, cache, || items.collect())?;
    Ok(name)
}

/// `None` if the source is gone, or cannot be read.
fn copy_one(source: &Source, to: &Utf8Path, last: &Last) -> io::Result<Option<Item>> {
    match &source.item {
        Item::Folder => fs::create_dir(to)?,
        Item::Link(text) => symlink(text, to)?,
        item if last.share(&source.path, item, to) => {}
        Item::File { .. } => return copy_file(source, to),
    }
    Ok(Some(source.item.clone()))
}

fn copy_file(source: &Source, to: &Utf8Path) -> io::Result<Option<Item>> {
    let mut copy = File::create_new(to)?;
    match digest_while_copying(&source.file, &mut copy) {
        Ok((digest, mode)) => {
            copy.set_permissions(fs::Permissions::from_mode(mode_of(mode)))?;
            Ok(Some(Item::File { mode: mode_of(mode), digest }))
        }
        Err(error) if is_no_file(&error) => fs::remove_file(to).map(|()| None),
        Err(error) => Err(error),
    }
}

/// Whether an error means that there is no such file to send, and not that something is wrong with
/// this machine.
pub fn is_no_file(error: &io::Error) -> bool {
    let kinds = [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::IsADirectory];
    kinds.contains(&error.kind()) && !error.get_ref().is_some_and(|error| error.is::<Unwritten>())
}

/// The mode of a file's copy, which its owner must be able to read.
pub fn mode_of(mode: u32) -> u32 {
    mode & 0o777 | 0o400
}

/// An earlier copy of the same folder.
#[derive(Default)]
struct Last {
    inside: Utf8PathBuf,
    items: HashMap<Utf8PathBuf, Item>,
}

impl Last {
    fn of(name: &str, cache: &Cache) -> Self {
        let listing = listing(name, cache).unwrap_or_default();
        Self { inside: folder_of(name, cache).join(INSIDE), items: listing.into_iter().collect() }
    }

    /// Hard-links a file of this copy into another copy, if it is the same file. Nobody writes to
    /// either.
    fn share(&self, path: &Utf8Path, item: &Item, to: &Utf8Path) -> bool {
        self.items.get(path) == Some(item) && fs::hard_link(self.inside.join(path), to).is_ok()
    }
}
