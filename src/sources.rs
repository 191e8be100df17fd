//! The files of a package, as a folder that a build can take as it is.
//!
//! A registry's crate is unpacked once and not meant to change: its own folder serves. Any other package is
//! copied into the cache, so that the build, and whoever repeats it later, sees one state of it, without
//! `.git` and target folders, and out of reach of a `.dockerignore`, which an engine would obey at the root
//! of what it is sent.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use crate::{
    cache::{Cache, digest, hex},
    dockerfile::Mount,
};

pub struct Sources {
    /// The folder on the host, and in the container.
    pub root: Utf8PathBuf,
    /// The context's name in a Dockerfile.
    pub name: String,
    /// The folder to send.
    pub context: Utf8PathBuf,
    /// Where in it `root` is: `""` or `/` and a name.
    prefix: &'static str,
}

impl Sources {
    /// The files below `root`. `cargo_home` tells what a registry unpacked.
    pub fn of(root: &Utf8Path, cargo_home: &Utf8Path, cache: &Cache) -> Result<Self> {
        let from_registry = root.starts_with(cargo_home.join("registry/src"));
        if from_registry && !root.join(".dockerignore").exists() {
            let name = format!("s{}", known_digest(root, cache)?);
            return Ok(Self { root: root.to_owned(), name, context: root.to_owned(), prefix: "" });
        }
        Self::copy(root, Extent::Sources, cache)
    }

    /// A copy of what is below a folder now.
    pub fn copy(root: &Utf8Path, extent: Extent, cache: &Cache) -> Result<Self> {
        let digest = tree_digest(root, extent)?;
        let context = cache.folder(&format!("sources/{digest}"), |new| copy_tree(root, extent, &new.join("p")))?;
        Ok(Self { root: root.to_owned(), name: format!("s{digest}"), context, prefix: "/p" })
    }

    /// Whether they offer macros to other crates, as far as one can tell without a parser.
    pub fn have_macros(&self, cache: &Cache) -> Result<bool> {
        let name = format!("macros/{}", self.name);
        if let Some(known) = cache.read(&name) {
            return Ok(known);
        }
        let found = self.mention(&["macro_export", "pub macro"])?;
        cache.write(&name, &found)?;
        Ok(found)
    }

    /// Whether one of these words stands in a Rust file.
    fn mention(&self, words: &[&str]) -> Result<bool> {
        for entry in WalkDir::new(&self.context) {
            let entry = entry.with_context(|| format!("failed to read the package `{}`", self.root))?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
                let text = fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
                if words.iter().any(|word| memchr::memmem::find(&text, word.as_bytes()).is_some()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Mounts that show the files at their place and leave `holes` to others: a folder with a hole in it
    /// is mounted entry by entry, for nothing can be put into a mounted one.
    pub fn mounts(&self, holes: &[Utf8PathBuf], writable: bool) -> Result<Vec<Mount>> {
        let mut mounts = Vec::new();
        self.cover(Utf8Path::new(""), holes, writable, &mut mounts)?;
        Ok(mounts)
    }

    fn cover(&self, relative: &Utf8Path, holes: &[Utf8PathBuf], writable: bool, mounts: &mut Vec<Mount>) -> Result<()> {
        let here = match relative.as_str() {
            "" => self.root.clone(),
            _ => self.root.join(relative),
        };
        if here.as_str().contains(char::is_control) {
            bail!("failed to send `{}`: its name holds a control character", here.as_str().escape_debug());
        }
        if !holes.iter().any(|hole| hole.starts_with(&here)) {
            let source = match relative.as_str() {
                "" if self.prefix.is_empty() => "/".to_owned(),
                "" => self.prefix.to_owned(),
                _ => format!("{}/{relative}", self.prefix),
            };
            mounts.push(Mount::Bind { from: self.name.clone(), source, target: here.into_string(), writable });
            return Ok(());
        }
        let dir = self.context.join(self.prefix.trim_start_matches('/')).join(relative);
        if holes.contains(&here) || !dir.is_dir() {
            return Ok(());
        }
        let mut names =
            dir.read_dir_utf8()?.map(|entry| Ok(entry?.file_name().to_owned())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        names.iter().try_for_each(|name| self.cover(&relative.join(name), holes, writable, mounts))
    }
}

/// The digest of a folder that hardly ever changes, computed again only if somebody wrote to it.
fn known_digest(root: &Utf8Path, cache: &Cache) -> Result<String> {
    let name = format!("trees/{}", digest([root.as_str()]));
    let stamp = stamp(root)?;
    if let Some((known, digest)) = cache.read::<(String, String)>(&name)
        && known == stamp
    {
        return Ok(digest);
    }
    let digest = tree_digest(root, Extent::Everything)?;
    cache.write(&name, &(stamp, &digest))?;
    Ok(digest)
}

/// How much of what is below a folder counts; sockets and the like never do.
#[derive(Clone, Copy, PartialEq)]
pub enum Extent {
    /// All but version control and target folders.
    Sources,
    Everything,
}

/// What counts below a folder, in a fixed order.
fn entries(root: &Utf8Path, extent: Extent) -> impl Iterator<Item = walkdir::Result<DirEntry>> {
    WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().filter_entry(move |entry| {
        let kind = entry.file_type();
        let is_target = kind.is_dir() && entry.path().join("CACHEDIR.TAG").exists();
        let is_readable = kind.is_dir() || kind.is_file() || kind.is_symlink();
        is_readable && (extent == Extent::Everything || entry.file_name() != ".git" && !is_target)
    })
}

fn relative<'a>(entry: &'a DirEntry, root: &Utf8Path) -> Result<&'a Utf8Path> {
    let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
    Utf8Path::from_path(path)
        .with_context(|| format!("failed to send `{}`: its name is not UTF-8", entry.path().display()))
}

/// A digest of the names, kinds, modes and contents below a folder.
pub fn tree_digest(root: &Utf8Path, extent: Extent) -> Result<String> {
    let mut parts = Vec::new();
    for entry in entries(root, extent) {
        let entry = entry.with_context(|| format!("failed to read the package `{root}`"))?;
        let path = relative(&entry, root)?;
        let (kind, content) = match followed(&entry, root)? {
            Kind::Folder => ("d".to_owned(), String::new()),
            Kind::Link(target) => ("l".to_owned(), target),
            Kind::File => (format!("f{:o}", mode(entry.path())?), file_digest(entry.path())?),
        };
        parts.push(format!("{kind}\0{path}\0{content}"));
    }
    Ok(digest(parts))
}

fn copy_tree(root: &Utf8Path, extent: Extent, target: &Utf8Path) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("failed to make `{target}`"))?;
    for entry in entries(root, extent) {
        let entry = entry.with_context(|| format!("failed to read the package `{root}`"))?;
        let to = target.join(relative(&entry, root)?);
        let copied = match followed(&entry, root)? {
            Kind::Folder => fs::create_dir(&to),
            Kind::Link(link) => symlink(link, &to),
            Kind::File => fs::copy(entry.path(), &to).map(drop),
        };
        copied.with_context(|| {
            format!("failed to copy `{}` into the cache (hint: is the disk full?)", entry.path().display())
        })?;
    }
    Ok(())
}

enum Kind {
    Folder,
    File,
    Link(String),
}

/// What an entry is to a reader: a link that leads out of the package counts as the file it leads to.
fn followed(entry: &DirEntry, root: &Utf8Path) -> Result<Kind> {
    let path = entry.path();
    let kind = entry.file_type();
    if kind.is_dir() {
        return Ok(Kind::Folder);
    }
    if kind.is_file() {
        return Ok(Kind::File);
    }
    let leads_to_file = path.canonicalize().is_ok_and(|target| target.is_file() && !target.starts_with(root));
    if leads_to_file {
        return Ok(Kind::File);
    }
    let target = fs::read_link(path).with_context(|| format!("failed to read the link `{}`", path.display()))?;
    Ok(Kind::Link(target.to_string_lossy().into_owned()))
}

fn mode(path: &Path) -> Result<u32> {
    let data = fs::metadata(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    Ok(data.permissions().mode() & 0o777)
}

/// What changes when somebody writes to a file, or to any file below a folder: sizes and times.
pub fn stamp(path: &Utf8Path) -> Result<String> {
    let mut parts = Vec::new();
    for entry in WalkDir::new(path).sort_by_file_name() {
        let entry = entry.with_context(|| format!("failed to read `{path}`"))?;
        let data = entry.metadata().with_context(|| format!("failed to read `{path}`"))?;
        let name = entry.path().strip_prefix(path).unwrap_or(entry.path()).to_string_lossy().into_owned();
        parts.push(format!("{name}\0{}\0{}.{}", data.len(), data.mtime(), data.mtime_nsec()));
    }
    Ok(digest(parts))
}

/// SHA-256 of a file's bytes, as hex.
pub fn file_digest(path: &Path) -> Result<String> {
    let read = || -> io::Result<String> {
        let mut file = fs::File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        Ok(hex(&hasher.finalize()))
    };
    read().with_context(|| format!("failed to read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> (tempfile::TempDir, Utf8PathBuf, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
        for (path, text) in [
            (".dockerignore", "*"),
            (".git/HEAD", "x"),
            ("src/lib.rs", "fn f() {}"),
            ("target/CACHEDIR.TAG", ""),
            ("target/debug/a", "x"),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let cache = Cache::open(root.parent().unwrap().join("cache")).unwrap();
        (dir, root, cache)
    }

    fn targets(mounts: &[Mount], root: &Utf8Path) -> Vec<String> {
        let target = |mount: &Mount| match mount {
            Mount::Bind { target, .. } => target.strip_prefix(root.as_str()).unwrap().to_owned(),
            other => panic!("{other:?}"),
        };
        mounts.iter().map(target).collect()
    }

    #[test]
    fn a_copy_holds_what_cargo_builds_from() {
        let (_dir, root, cache) = package();
        let sources = Sources::of(&root, Utf8Path::new("/none"), &cache).unwrap();
        let mut names: Vec<_> =
            sources.context.join("p").read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned()).collect();
        names.sort();
        assert_eq!(names, [".dockerignore", "src"]);
        assert!(!sources.context.join(".dockerignore").exists());
    }

    #[test]
    fn an_edit_makes_another_copy_and_a_build_does_not() {
        let (_dir, root, cache) = package();
        let name = || Sources::of(&root, Utf8Path::new("/none"), &cache).unwrap().name;
        let before = name();
        fs::write(root.join("target/debug/b"), "y").unwrap();
        assert_eq!(name(), before);
        fs::write(root.join("src/lib.rs"), "fn g() {}").unwrap();
        assert_ne!(name(), before);
    }

    #[test]
    fn a_hole_opens_every_folder_above_it() {
        let (_dir, root, cache) = package();
        let sources = Sources::of(&root, Utf8Path::new("/none"), &cache).unwrap();
        let mounts = |holes: &[Utf8PathBuf]| targets(&sources.mounts(holes, false).unwrap(), &root);
        assert_eq!(mounts(&[]), [""]);
        assert_eq!(mounts(&[root.join("target/debug/deps")]), ["/.dockerignore", "/src"]);
        assert_eq!(mounts(&[root.join("src/gen/out")]), ["/.dockerignore", "/src/lib.rs"]);
    }

    #[test]
    fn a_link_out_of_the_package_is_its_file() {
        let (_dir, root, cache) = package();
        fs::write(root.parent().unwrap().join("LICENSE"), "mit").unwrap();
        symlink("../LICENSE", root.join("LICENSE")).unwrap();
        symlink("lib.rs", root.join("src/other.rs")).unwrap();
        let sources = Sources::of(&root, Utf8Path::new("/none"), &cache).unwrap();
        let copy = sources.context.join("p");
        assert!(copy.join("LICENSE").symlink_metadata().unwrap().is_file());
        assert_eq!(copy.join("src/other.rs").read_link_utf8().unwrap(), "lib.rs");
    }
}
