//! Files and folders in one file: what a client sends, and outcomes.
//!
//! An entry is a line of its kind, mode, length and path, and then its bytes. An entry of the kind
//! `end` shows that the pack is whole. Entries come in any order, but a folder comes before what
//! is in it. A pack may be based on another one, which its first entry names: then files that both
//! have are only listed.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::{self, BufRead, Read, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

const FILE: &str = "file";
const FOLDER: &str = "folder";
const LINK: &str = "link";
const BASE: &str = "base";
const SAME: &str = "same";
const END: &str = "end";

/// What is in a pack at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Folder {
        mode: u32,
    },
    Link {
        to: PathBuf,
    },
    /// Its bytes come next.
    File {
        mode: u32,
        length: u64,
    },
    /// The path is the name of the pack that this one is based on.
    Base,
    /// A file of the base.
    Same,
}

/// Writes a pack.
pub struct Writer<W: Write> {
    inner: W,
    /// Modes by path, where it is not that of the place.
    modes: HashMap<PathBuf, u32>,
}

impl<W: Write> Writer<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, modes: HashMap::new() }
    }

    /// One that writes other modes than those of places.
    pub fn with_modes(inner: W, modes: HashMap<PathBuf, u32>) -> Self {
        Self { inner, modes }
    }

    pub fn folder(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        self.head(FOLDER, mode, 0, path)
    }

    /// The folder at a place, without what is in it.
    pub fn folder_at(&mut self, place: &Path, path: &Path) -> io::Result<()> {
        self.folder(path, self.mode(path, &place.symlink_metadata()?))
    }

    /// The mode of what is at a place, as the pack has it at a path.
    fn mode(&self, path: &Path, data: &fs::Metadata) -> u32 {
        self.modes.get(path).copied().unwrap_or(data.permissions().mode() & 0o7777)
    }

    pub fn link(&mut self, path: &Path, to: &Path) -> io::Result<()> {
        let to = to.as_os_str().as_bytes();
        self.head(LINK, 0, to.len() as u64, path)?;
        self.inner.write_all(to)
    }

    /// Fails if there are not so many bytes.
    pub fn file(
        &mut self,
        path: &Path,
        mode: u32,
        length: u64,
        bytes: impl Read,
    ) -> io::Result<()> {
        self.head(FILE, mode, length, path)?;
        let copied = io::copy(&mut bytes.take(length), &mut self.inner)?;
        if copied == length { Ok(()) } else { Err(invalid("a file became shorter")) }
    }

    /// All that is in a folder. Files that are linked into the folder of the pack `base`, too, are
    /// not sent again.
    pub fn tree(&mut self, folder: &Path, base: Option<(&str, &Path)>) -> io::Result<()> {
        if let Some((name, _)) = base {
            self.head(BASE, 0, 0, Path::new(name))?;
        }
        let base = base.map(|(_, folder)| folder);
        names_in(folder)?
            .into_iter()
            .try_for_each(|name| self.below(&folder.join(&name), Path::new(&name), base))
    }

    /// What is in one place, as the pack has it at a path. What is neither a file, a folder nor a
    /// link is left out: nobody gets anything through it.
    pub fn below(&mut self, place: &Path, path: &Path, base: Option<&Path>) -> io::Result<()> {
        let data = place.symlink_metadata()?;
        let mode = self.mode(path, &data);
        if data.is_symlink() {
            return self.link(path, &fs::read_link(place)?);
        }
        let is_same = |other: &Path| {
            let other = other.join(path).symlink_metadata();
            other.is_ok_and(|other| (other.dev(), other.ino()) == (data.dev(), data.ino()))
        };
        if data.is_file() && base.is_some_and(is_same) {
            return self.head(SAME, 0, 0, path);
        }
        if data.is_file() {
            return self.file(path, mode, data.len(), File::open(place)?);
        }
        if !data.is_dir() {
            return Ok(());
        }
        self.folder(path, mode)?;
        names_in(place)?
            .into_iter()
            .try_for_each(|name| self.below(&place.join(&name), &path.join(&name), base))
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.head(END, 0, 0, Path::new(""))?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn head(&mut self, kind: &str, mode: u32, length: u64, path: &Path) -> io::Result<()> {
        write!(self.inner, "{kind} {mode:o} {length} ")?;
        self.inner.write_all(&escaped(path.as_os_str().as_bytes()))?;
        self.inner.write_all(b"\n")
    }
}

/// The names of what is in a folder, sorted.
pub fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A path without a line's end, as text is in a batch.
pub fn escaped(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.iter().any(|byte| b"\\\n".contains(byte)) {
        return path.into();
    }
    let escape = |byte: &u8| match byte {
        b'\\' => b"\\\\".to_vec(),
        b'\n' => b"\\n".to_vec(),
        other => vec![*other],
    };
    path.iter().flat_map(escape).collect()
}

/// The path that [`escaped`] was given.
pub fn unescaped(line: &[u8]) -> PathBuf {
    let (mut path, mut bytes) = (Vec::with_capacity(line.len()), line.iter());
    while let Some(byte) = bytes.next() {
        path.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    OsString::from_vec(path).into()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads a pack, entry by entry.
pub struct Reader<R: BufRead> {
    inner: R,
    /// What of the last file was not read.
    rest: u64,
    /// The paths of links, below which nothing may lie.
    links: HashSet<PathBuf>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, rest: 0, links: HashSet::new() }
    }

    /// The next path and what is there; `None` at the end of a pack that is whole.
    pub fn next_entry(&mut self) -> io::Result<Option<(PathBuf, Entry)>> {
        self.copy_to(&mut io::sink())?;
        let mut line = Vec::new();
        self.inner.read_until(b'\n', &mut line)?;
        let head = line.strip_suffix(b"\n").ok_or_else(cut_off)?;
        let mut words = head.splitn(4, |byte| *byte == b' ');
        let mut word = || words.next().ok_or_else(damaged);
        let (kind, mode, length, path) = (word()?, word()?, word()?, word()?);
        let text = |word| std::str::from_utf8(word).map_err(|_| damaged());
        let mode = u32::from_str_radix(text(mode)?, 8).map_err(|_| damaged())?;
        let length: u64 = text(length)?.parse().map_err(|_| damaged())?;
        let path = unescaped(path);
        let is_inside = !path.has_root()
            && path.iter().all(|part| part != "..")
            && !path.ancestors().skip(1).any(|above| self.links.contains(above));
        if !is_inside {
            return Err(invalid("a path leads out of the pack"));
        }
        let entry = match text(kind)? {
            FOLDER => Entry::Folder { mode },
            FILE => {
                self.rest = length;
                Entry::File { mode, length }
            }
            LINK => {
                let mut to = Vec::new();
                self.rest = length;
                self.copy_to(&mut to)?;
                self.links.insert(path.clone());
                Entry::Link { to: OsString::from_vec(to).into() }
            }
            BASE => Entry::Base,
            SAME => Entry::Same,
            END => return Ok(None),
            _ => return Err(damaged()),
        };
        Ok(Some((path, entry)))
    }

    /// Copies the bytes of the last entry.
    pub fn copy_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        while self.rest > 0 {
            let bytes = match self.inner.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            let count =
                usize::try_from(self.rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
            if count == 0 {
                return Err(cut_off());
            }
            to.write_all(&bytes[..count])?;
            self.inner.consume(count);
            self.rest -= count as u64;
        }
        Ok(())
    }

    /// Puts the last entry at a path where nothing is, in a folder that is there.
    pub fn unpack(&mut self, entry: &Entry, path: &Path) -> io::Result<()> {
        match entry {
            Entry::Base | Entry::Same => Err(damaged()),
            Entry::Folder { mode } => {
                fs::create_dir(path)?;
                fs::set_permissions(path, Permissions::from_mode(*mode))
            }
            Entry::Link { to } => symlink(to, path),
            Entry::File { mode, .. } => {
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                self.copy_to(&mut file)?;
                file.set_permissions(Permissions::from_mode(*mode))
            }
        }
    }
}

fn damaged() -> io::Error {
    invalid("the pack is damaged")
}

fn cut_off() -> io::Error {
    invalid("the pack is cut off")
}

/// Unpacks all of a pack into a folder, which is made. `folder_of` has what is in other packs, for
/// one that is based on them.
pub fn unpack_all(
    pack: impl BufRead,
    folder: &Path,
    folder_of: impl Fn(&OsStr) -> PathBuf,
) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut reader = Reader::new(pack);
    let mut base = None;
    while let Some((path, entry)) = reader.next_entry()? {
        match (&entry, &base) {
            (Entry::Base, None) => base = Some(folder_of(path.as_os_str())),
            (Entry::Same, Some(base)) => fs::hard_link(base.join(&path), folder.join(&path))?,
            _ => reader.unpack(&entry, &folder.join(path))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch {
        root: PathBuf,
    }

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("pack-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self { root: folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn a_tree_comes_back() {
        let scratch = Scratch::new("a_tree_comes_back");
        let from = scratch.path("from");
        fs::create_dir_all(from.join("a/empty")).unwrap();
        fs::write(from.join("a/script"), "one\ntwo").unwrap();
        fs::set_permissions(from.join("a/script"), Permissions::from_mode(0o755)).unwrap();
        fs::write(from.join("z"), "").unwrap();
        symlink("nowhere", from.join("link")).unwrap();
        let mut writer = Writer::new(File::create(scratch.path("pack")).unwrap());
        writer.tree(&from, None).unwrap();
        writer.finish().unwrap();
        let to = scratch.path("to");
        let alone = |_: &OsStr| unreachable!("it has no base");
        unpack_all(&fs::read(scratch.path("pack")).unwrap()[..], &to, alone).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/script")).unwrap(), "one\ntwo");
        assert_eq!(to.join("a/script").metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert!(to.join("a/empty").is_dir());
        assert_eq!(to.join("z").metadata().unwrap().len(), 0);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("nowhere"));
        // Cut off anywhere, it is no pack.
        let whole = fs::read(scratch.path("pack")).unwrap();
        for length in 0..whole.len() {
            let folder = scratch.path(&format!("to{length}"));
            assert!(unpack_all(&whole[..length], &folder, alone).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_the_base_has_is_not_sent() {
        let scratch = Scratch::new("what_the_base_has_is_not_sent");
        let [base, next] = ["s1", "s2"].map(|name| scratch.path(name));
        for folder in [&base, &next] {
            fs::create_dir_all(folder.join("a")).unwrap();
        }
        fs::write(base.join("a/same"), "the same").unwrap();
        fs::hard_link(base.join("a/same"), next.join("a/same")).unwrap();
        fs::write(base.join("a/changed"), "before").unwrap();
        fs::write(next.join("a/changed"), "after").unwrap();
        fs::write(next.join("new"), "new").unwrap();
        let mut writer = Writer::new(Vec::new());
        writer.tree(&next, Some(("s1", &base))).unwrap();
        let pack = writer.finish().unwrap();
        assert!(!String::from_utf8_lossy(&pack).contains("the same"));
        fs::write(scratch.path("pack"), pack).unwrap();
        let to = scratch.path("to");
        unpack_all(&fs::read(scratch.path("pack")).unwrap()[..], &to, |name| {
            scratch.root.join(name)
        })
        .unwrap();
        let text = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        assert_eq!(["a/same", "a/changed", "new"].map(text), ["the same", "after", "new"]);
        // Without the base, it is no pack.
        let (other, none) = (scratch.path("other"), scratch.path("none"));
        assert!(
            unpack_all(&fs::read(scratch.path("pack")).unwrap()[..], &other, |_| none.clone())
                .is_err()
        );
    }

    #[test]
    fn odd_names_come_back() {
        let scratch = Scratch::new("odd_names_come_back");
        let from = scratch.path("from");
        fs::create_dir(&from).unwrap();
        let names = ["a\nb", "a\\nb", "a\\", " ", "ü"].map(|name| name.as_bytes().to_vec());
        let names: Vec<Vec<u8>> = names.into_iter().chain([vec![0xff, b'a']]).collect();
        for name in &names {
            fs::write(from.join(OsStr::from_bytes(name)), name).unwrap();
            let link = [&name[..], b"-link"].concat();
            symlink(OsStr::from_bytes(name), from.join(OsStr::from_bytes(&link))).unwrap();
        }
        std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let mut writer = Writer::new(File::create(scratch.path("pack")).unwrap());
        writer.tree(&from, None).unwrap();
        writer.finish().unwrap();
        let to = scratch.path("to");
        unpack_all(&fs::read(scratch.path("pack")).unwrap()[..], &to, |_| {
            unreachable!("it has no base")
        })
        .unwrap();
        for name in &names {
            let link = to.join(OsStr::from_bytes(&[&name[..], b"-link"].concat()));
            assert_eq!(fs::read_link(&link).unwrap().as_os_str().as_bytes(), name);
            assert_eq!(&fs::read(link).unwrap(), name);
        }
        assert_eq!(fs::read_dir(&to).unwrap().count(), 2 * names.len());
    }

    #[test]
    fn no_path_leads_out() {
        let error = |write: &dyn Fn(&mut Writer<Vec<u8>>) -> io::Result<()>| {
            let mut writer = Writer::new(Vec::new());
            write(&mut writer).unwrap();
            let pack = writer.finish().unwrap();
            let mut reader = Reader::new(&pack[..]);
            loop {
                match reader.next_entry() {
                    Ok(entry) => assert!(entry.is_some(), "all is inside"),
                    Err(error) => return error.to_string(),
                }
            }
        };
        for path in ["../a", "a/../../b", "/etc/passwd"] {
            let error = error(&|writer| writer.file(path.as_ref(), 0o644, 1, &b"x"[..]));
            assert!(error.contains("leads out"), "{path}: {error}");
        }
        let error = error(&|writer| {
            writer.link("a".as_ref(), "/etc".as_ref())?;
            writer.file("a/b/passwd".as_ref(), 0o644, 1, &b"x"[..])
        });
        assert!(error.contains("leads out"), "{error}");
    }
}
