//! Files and folders in one file, for a client to send and the worker to unpack.
//!
//! An entry is a line of its kind, mode, length and path, and then its bytes. An entry of the kind
//! `end` shows that the pack is whole. Entries come in any order, but a folder comes before what
//! is in it. A pack may be based on another one, which its first entry names: then files that both
//! have are only listed.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
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
        to: String,
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
}

impl<W: Write> Writer<W> {
    pub fn new(inner: W) -> Self {
        Self { inner }
    }

    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.head(FOLDER, mode, 0, path)
    }

    pub fn link(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.head(LINK, 0, to.len() as u64, path)?;
        self.inner.write_all(to.as_bytes())
    }

    /// Fails if there are not so many bytes.
    pub fn file(&mut self, path: &str, mode: u32, length: u64, bytes: impl Read) -> io::Result<()> {
        self.head(FILE, mode, length, path)?;
        let copied = io::copy(&mut bytes.take(length), &mut self.inner)?;
        if copied == length { Ok(()) } else { Err(invalid("a file became shorter")) }
    }

    /// All that is in a folder. Files that are linked into the folder of the pack `base`, too, are
    /// not sent again.
    pub fn tree(&mut self, folder: &Path, base: Option<(&str, &Path)>) -> io::Result<()> {
        if let Some((name, _)) = base {
            self.head(BASE, 0, 0, name)?;
        }
        self.below(folder, "", base.map(|(_, folder)| folder))
    }

    /// What is at a path of the pack.
    fn below(&mut self, folder: &Path, path: &str, base: Option<&Path>) -> io::Result<()> {
        let data = folder.symlink_metadata()?;
        let mode = data.permissions().mode() & 0o7777;
        if data.is_symlink() {
            return self.link(path, &text(fs::read_link(folder)?)?);
        }
        let is_same = |other: &Path| {
            let other = other.join(path).symlink_metadata();
            other.is_ok_and(|other| (other.dev(), other.ino()) == (data.dev(), data.ino()))
        };
        if data.is_file() && base.is_some_and(is_same) {
            return self.head(SAME, 0, 0, path);
        }
        if data.is_file() {
            return self.file(path, mode, data.len(), File::open(folder)?);
        }
        if !path.is_empty() {
            self.folder(path, mode)?;
        }
        let mut names: Vec<String> = fs::read_dir(folder)?
            .map(|entry| text(entry?.file_name().into()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            self.below(&folder.join(&name), &below, base)?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.head(END, 0, 0, "")?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn head(&mut self, kind: &str, mode: u32, length: u64, path: &str) -> io::Result<()> {
        if path.contains('\n') {
            return Err(invalid("a path has a line's end in it"));
        }
        writeln!(self.inner, "{kind} {mode:o} {length} {path}")
    }
}

fn text(path: PathBuf) -> io::Result<String> {
    path.into_os_string().into_string().map_err(|_| invalid("a name is not UTF-8"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads a pack, entry by entry.
pub struct Reader {
    inner: BufReader<File>,
    /// What of the last file was not read.
    rest: u64,
}

impl Reader {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { inner: BufReader::with_capacity(1 << 16, File::open(path)?), rest: 0 })
    }

    /// The next path and what is there; `None` at the end of a pack that is whole.
    pub fn next_entry(&mut self) -> io::Result<Option<(String, Entry)>> {
        let rest = i64::try_from(self.rest).map_err(|_| invalid("a file is too long"))?;
        self.inner.seek_relative(rest)?;
        self.rest = 0;
        let mut line = String::new();
        self.inner.read_line(&mut line)?;
        let head = line.strip_suffix('\n').ok_or_else(|| invalid("the pack is cut off"))?;
        let mut words = head.splitn(4, ' ');
        let mut word = || words.next().ok_or_else(|| invalid("the pack is damaged"));
        let (kind, mode, length, path) = (word()?, word()?, word()?, word()?);
        let mode = u32::from_str_radix(mode, 8).map_err(|_| invalid("the pack is damaged"))?;
        let length: u64 = length.parse().map_err(|_| invalid("the pack is damaged"))?;
        let is_inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
        if !is_inside {
            return Err(invalid("a path leads out of the pack"));
        }
        let entry = match kind {
            FOLDER => Entry::Folder { mode },
            FILE => {
                self.rest = length;
                Entry::File { mode, length }
            }
            LINK => {
                let mut to = String::new();
                (&mut self.inner).take(length).read_to_string(&mut to)?;
                Entry::Link { to }
            }
            BASE => Entry::Base,
            SAME => Entry::Same,
            END => return Ok(None),
            _ => return Err(invalid("the pack is damaged")),
        };
        Ok(Some((path.to_owned(), entry)))
    }

    /// Copies the bytes of the last entry.
    pub fn copy_to(&mut self, to: &mut impl Write) -> io::Result<()> {
        let copied = io::copy(&mut (&mut self.inner).take(self.rest), to)?;
        let is_whole = copied == self.rest;
        self.rest -= copied;
        if is_whole { Ok(()) } else { Err(invalid("the pack is cut off")) }
    }
}

/// Puts an entry at a path where nothing is, in a folder that is there. All users may read it,
/// because each task has a user of its own.
fn unpack(reader: &mut Reader, entry: &Entry, path: &Path) -> io::Result<()> {
    match entry {
        Entry::Base | Entry::Same => Err(invalid("the pack is damaged")),
        Entry::Folder { mode } => {
            fs::create_dir(path)?;
            fs::set_permissions(path, Permissions::from_mode(*mode | 0o555))
        }
        Entry::Link { to } => symlink(to, path),
        Entry::File { mode, .. } => {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            reader.copy_to(&mut file)?;
            file.set_permissions(Permissions::from_mode(*mode | 0o444))
        }
    }
}

/// Unpacks all of a pack into a folder, which is made. `folder_of` has what is in other packs, for
/// one that is based on them.
pub fn unpack_all(
    pack: &Path,
    folder: &Path,
    folder_of: impl Fn(&str) -> PathBuf,
) -> io::Result<()> {
    fs::create_dir(folder)?;
    let mut reader = Reader::open(pack)?;
    let mut base = None;
    while let Some((path, entry)) = reader.next_entry()? {
        match (&entry, &base) {
            (Entry::Base, None) => base = Some(folder_of(&path)),
            (Entry::Same, Some(base)) => fs::hard_link(base.join(&path), folder.join(&path))?,
            _ => unpack(&mut reader, &entry, &folder.join(path))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("pack-{}-{name}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
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
        let alone = |_: &str| unreachable!("it has no base");
        unpack_all(&scratch.path("pack"), &to, alone).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/script")).unwrap(), "one\ntwo");
        assert_eq!(to.join("a/script").metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert!(to.join("a/empty").is_dir());
        assert_eq!(to.join("z").metadata().unwrap().len(), 0);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("nowhere"));
        // Cut off anywhere, it is no pack.
        let whole = fs::read(scratch.path("pack")).unwrap();
        for length in 0..whole.len() {
            fs::write(scratch.path("cut"), &whole[..length]).unwrap();
            let folder = scratch.path(&format!("to{length}"));
            assert!(unpack_all(&scratch.path("cut"), &folder, alone).is_err(), "{length} bytes");
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
        unpack_all(&scratch.path("pack"), &to, |name| scratch.path(name)).unwrap();
        let text = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        assert_eq!(["a/same", "a/changed", "new"].map(text), ["the same", "after", "new"]);
        // Without the base, it is no pack.
        let (other, none) = (scratch.path("other"), scratch.path("none"));
        assert!(unpack_all(&scratch.path("pack"), &other, |_| none.clone()).is_err());
    }

    #[test]
    fn no_path_leads_out() {
        let scratch = Scratch::new("no_path_leads_out");
        for path in ["../a", "a/../../b", "/etc/passwd"] {
            let mut writer = Writer::new(File::create(scratch.path("pack")).unwrap());
            writer.file(path, 0o644, 1, &b"x"[..]).unwrap();
            writer.finish().unwrap();
            let error = Reader::open(&scratch.path("pack")).unwrap().next_entry().unwrap_err();
            assert!(error.to_string().contains("leads out"), "{path}");
        }
    }
}
