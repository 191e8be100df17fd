//! What an image gets of this machine: the compiler, and programs, each with the libraries that it
//! loads and the image lacks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use object::{
    Endianness, Object,
    elf::{FileHeader64, PT_INTERP},
    read::elf::{ElfFile, ProgramHeader},
};
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::{
    engine::probe::Probed,
    rustc::toolchain::files_of,
    snapshot::scan::Stamp,
    util::process::{self, Cmd},
};

/// Where the compiler is in an image. Programs find libraries in its `lib`.
pub const ROOT: &str = "/usr/local/rustcbuildx";
/// Where programs are whose names have no folder.
const PROGRAMS: &str = "/usr/local/bin";
/// By this file, `ldconfig` knows the folder of the libraries.
const LOADER_CONFIG: &str = "/etc/ld.so.conf.d/rustcbuildx.conf";
/// The programs of a toolchain that units may start.
const TOOLCHAIN: &[&str] =
    &["cargo", "cargo-clippy", "cargo-fmt", "clippy-driver", "rustc", "rustdoc", "rustfmt"];

/// A program as it was found on this machine, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub name: String,
    pub file: Option<(Utf8PathBuf, Stamp)>,
}

impl Found {
    /// Looks for a program by its name on `PATH`, or for a file or folder by its path.
    pub fn of(name: &str) -> Self {
        let path = match name.starts_with('/') {
            true => Some(Utf8PathBuf::from(name)),
            false => which::which(name).ok().and_then(|path| Utf8PathBuf::from_path_buf(path).ok()),
        };
        let with_stamp = |path: Utf8PathBuf| {
            let stamp = Stamp::of(&fs::metadata(&path).ok()?);
            Some((path, stamp))
        };
        Self { name: name.to_owned(), file: path.and_then(with_stamp) }
    }

    pub fn is_current(&self) -> bool {
        Self::of(&self.name) == *self
    }
}

/// What changes when a toolchain is updated, built again, or gets another target.
pub fn signs_of_toolchain(sysroot: &Utf8Path) -> Vec<Found> {
    let targets = sysroot.join("lib/rustlib");
    let entries = targets.read_dir_utf8().into_iter().flatten().flatten();
    let mut libraries: Vec<_> = entries.map(|entry| entry.into_path().join("lib")).collect();
    libraries.sort();
    let paths = files_of(&sysroot.join("bin/rustc")).into_iter().chain([targets]).chain(libraries);
    paths.map(|path| Found::of(path.as_str())).filter(|found| found.file.is_some()).collect()
}

/// A folder that is laid out like the root of an image, and becomes a part of it.
pub struct Layout<'a> {
    pub root: &'a Utf8Path,
    /// The image as it is.
    pub image: &'a Probed,
}

impl Layout<'_> {
    /// Adds the toolchain of a compiler, without what compiles nothing: documentation, sources.
    pub fn add_toolchain(&self, sysroot: &Utf8Path) -> Result<()> {
        let root = Utf8Path::new(ROOT);
        for name in TOOLCHAIN {
            let program = sysroot.join("bin").join(name);
            if program.is_file() {
                self.add(&program, &root.join("bin").join(name))?;
                self.add_libraries(&program)?;
            }
        }
        let targets = sysroot.join("lib/rustlib");
        let entries = targets.read_dir_utf8();
        let entries = entries.with_context(|| format!("failed to read the folder `{targets}`"))?;
        for target in entries {
            let target = target.with_context(|| format!("failed to read `{targets}`"))?.into_path();
            // Beside targets, there are sources and lists of files.
            if !target.join("lib").is_dir() {
                continue;
            }
            for entry in WalkDir::new(&target).follow_links(true).sort_by_file_name() {
                let entry = entry.with_context(|| format!("failed to read `{target}`"))?;
                let file = Utf8Path::from_path(entry.path());
                let file = file.context("the toolchain has a file whose name is not UTF-8")?;
                let inside = file.strip_prefix(sysroot).expect("it was found there");
                if entry.file_type().is_file() {
                    self.add(file, &root.join(inside))?;
                }
            }
        }
        Ok(())
    }

    /// Adds a program. It must be one for this machine's processor: a script may hold what is
    /// nobody else's, and names what the image may lack.
    pub fn add_program(&self, name: &str, file: &Utf8Path) -> Result<()> {
        if interpreter(file)?.is_none() {
            bail!(
                "`{file}` is no program of this machine's kind, such as a script (hint: image.dockerfile)"
            );
        }
        let target = match name.starts_with('/') {
            true => Utf8PathBuf::from(name),
            false => Utf8Path::new(PROGRAMS).join(name),
        };
        self.add(file, &target)?;
        self.add_libraries(file)
    }

    /// Adds the libraries that a program loads here and the image does not have.
    fn add_libraries(&self, program: &Utf8Path) -> Result<()> {
        let folder = Utf8Path::new(ROOT).join("lib");
        let libraries = libraries(program)?;
        // Programs of one toolchain load the same, of some hundred megabytes.
        let is_there = |name: &str| self.path(&folder.join(name)).is_ok_and(|path| path.exists());
        let lacks = |name: &str| !self.image.libraries.contains(name) && !is_there(name);
        let lacking: Vec<_> = libraries.iter().filter(|(name, _)| lacks(name)).collect();
        let files = lacking.iter().map(|(_, file)| file.as_path()).chain([program]);
        let mut needed = BTreeSet::new();
        for file in files {
            needed.extend(needed_libc(file)?.map(|version| (version, file)));
        }
        if let Some((version, file)) = needed
            .last()
            .filter(|(version, _)| glibc(&self.image.libc).is_none_or(|has| has < *version))
        {
            let has =
                if self.image.libc.is_empty() { "another C library" } else { &self.image.libc };
            bail!("`{file}` needs glibc {}.{}, and the image has {has}", version.0, version.1);
        }
        for (name, file) in lacking {
            self.add(file, &folder.join(name))?;
            let config = self.path(LOADER_CONFIG.into())?;
            fs::write(&config, format!("{ROOT}/lib\n"))
                .with_context(|| format!("failed to write `{config}`"))?;
        }
        Ok(())
    }

    /// Adds a copy of a file, or of what a link leads to, for all users of the image to read. A
    /// hard link would change the file's times, by which it is known ([`Found`]).
    fn add(&self, file: &Utf8Path, target: &Utf8Path) -> Result<()> {
        let place = self.path(target)?;
        if place.exists() {
            return Ok(());
        }
        let copy = || {
            fs::copy(file, &place)?;
            let mode = fs::metadata(&place)?.permissions().mode();
            let for_all = if mode & 0o100 == 0 { 0o444 } else { 0o555 };
            fs::set_permissions(&place, Permissions::from_mode(mode | for_all))
        };
        copy().with_context(|| format!("failed to copy `{file}` to `{place}`"))
    }

    /// A path of the image in this folder; the folders above it are made as an image has them.
    fn path(&self, target: &Utf8Path) -> Result<Utf8PathBuf> {
        let mut path = self.root.to_owned();
        let parts: Vec<&str> = target.as_str().split('/').filter(|part| !part.is_empty()).collect();
        let (name, folders) = parts.split_last().context("a file has no name")?;
        for folder in folders {
            path.push(folder);
            if !path.exists() {
                fs::create_dir(&path)
                    .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
                    .with_context(|| format!("failed to make the folder `{path}`"))?;
            }
        }
        Ok(path.join(name))
    }

    /// Whether `ldconfig` is to be run in the image.
    pub fn has_libraries(&self) -> bool {
        self.root.join(&LOADER_CONFIG[1..]).exists()
    }
}

type Elf<'data> = ElfFile<'data, FileHeader64<Endianness>>;

fn read(file: &Utf8Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("failed to read `{file}`"))
}

/// What starts a program; empty if nothing must. `None` if it is no program for this machine.
fn interpreter(file: &Utf8Path) -> Result<Option<String>> {
    let bytes = read(file)?;
    let Ok(elf) = Elf::parse(&*bytes) else { return Ok(None) };
    let is_ours = match elf.architecture() {
        object::Architecture::X86_64 => cfg!(target_arch = "x86_64"),
        object::Architecture::Aarch64 => cfg!(target_arch = "aarch64"),
        _ => false,
    };
    let endian = elf.endian();
    let headers = elf.elf_program_headers().iter();
    let mut names =
        headers.filter(|header| header.p_type(endian) == PT_INTERP).filter_map(|header| {
            let name = header.interpreter(endian, &*bytes).ok()??;
            Some(String::from_utf8_lossy(name).into_owned())
        });
    Ok(is_ours.then(|| names.next().unwrap_or_default()))
}

/// The libraries that a program loads on this machine, by their names.
///
/// The system's loader says so, and runs nothing of the program: `ldd` would have it started by
/// whatever loader it names.
fn libraries(program: &Utf8Path) -> Result<BTreeMap<String, Utf8PathBuf>> {
    let loader = interpreter(program)?.unwrap_or_default();
    let is_systems = |loader: &&String| {
        let path = Utf8Path::new(loader);
        loader.starts_with("/lib") && path.components().count() <= 4 && !loader.contains("..")
    };
    let Some(loader) = Some(loader).filter(|loader| is_systems(&loader)) else {
        return Ok(BTreeMap::new());
    };
    let finished = process::run(&Cmd::new(&loader, ["--list", program.as_str()]))?;
    let list = std::io::read_to_string(finished.stdout)
        .with_context(|| format!("failed to read what `{program}` loads"))?;
    // `	libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f…)`; of the loader itself, no name.
    let libraries = list.lines().filter_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let (path, _address) = rest.rsplit_once(" (")?;
        path.starts_with('/').then(|| (name.to_owned(), Utf8PathBuf::from(path)))
    });
    Ok(libraries.collect())
}

/// The newest version of glibc whose symbols a file needs.
fn needed_libc(file: &Utf8Path) -> Result<Option<(u32, u32)>> {
    let bytes = read(file)?;
    let versions = || -> object::read::Result<Vec<(u32, u32)>> {
        let elf = Elf::parse(&*bytes)?;
        let (endian, sections) = (elf.endian(), elf.elf_section_table());
        let Some((mut needs, link)) = sections.gnu_verneed(endian, &*bytes)? else {
            return Ok(vec![]);
        };
        let strings = sections.strings(endian, &*bytes, link)?;
        let mut versions = Vec::new();
        while let Some((_, mut names)) = needs.next()? {
            while let Some(name) = names.next()? {
                let name = String::from_utf8_lossy(name.name(endian, strings)?).into_owned();
                versions.extend(name.strip_prefix("GLIBC_").and_then(version));
            }
        }
        Ok(versions)
    };
    Ok(versions().unwrap_or_default().into_iter().max())
}

/// The version in `glibc 2.36`, as `getconf GNU_LIBC_VERSION` prints it.
pub fn glibc(text: &str) -> Option<(u32, u32)> {
    version(text.trim().strip_prefix("glibc ")?)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert!(glibc("glibc 2.36\n") > glibc("glibc 2.4"));
        assert_eq!(glibc(""), None);
        assert_eq!(version("2.2.5"), Some((2, 2)));
        assert_eq!(version("PRIVATE"), None);
    }

    #[test]
    fn what_a_program_loads_comes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let own = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
        let names = libraries(&own).unwrap();
        assert!(names.contains_key("libc.so.6"), "{names:?}");
        assert!(needed_libc(&own).unwrap() >= Some((2, 17)));
        let image = Probed { libc: "glibc 99.0".to_owned(), ..Probed::default() };
        let layout = Layout { root, image: &image };
        assert!(!layout.has_libraries());
        layout.add_program("tool", &own).unwrap();
        assert!(layout.has_libraries());
        for path in ["usr/local/bin/tool", "usr/local/rustcbuildx/lib/libc.so.6"] {
            assert!(root.join(path).is_file(), "{path}");
        }
        let old = Probed { libc: "glibc 2.2".to_owned(), ..Probed::default() };
        let error = Layout { root, image: &old }.add_program("tool", &own).unwrap_err();
        assert!(error.to_string().contains("and the image has glibc 2.2"), "{error}");
    }

    /// As after an installation with a umask that shuts others out.
    #[test]
    fn what_only_its_user_may_read_is_for_all_in_an_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let layout = Layout { root, image: &Probed::default() };
        for (mode, expected) in [(0o700, 0o755), (0o600, 0o644), (0o755, 0o755)] {
            let (file, target) = (root.join(format!("{mode:o}")), format!("/in/{mode:o}"));
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            layout.add(&file, Utf8Path::new(&target)).unwrap();
            let added = fs::metadata(root.join(&target[1..])).unwrap().permissions().mode();
            assert_eq!(added & 0o777, expected, "{mode:o}");
        }
    }

    /// It could be a file of the user's that a workspace is curious about.
    #[test]
    fn a_script_is_no_program_to_send() {
        let dir = tempfile::tempdir().unwrap();
        let script = Utf8Path::from_path(dir.path()).unwrap().join("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let image = Probed::default();
        let layout = Layout { root: Utf8Path::from_path(dir.path()).unwrap(), image: &image };
        let error = layout.add_program("script", &script).unwrap_err();
        assert!(error.to_string().contains("is no program of this machine's kind"), "{error}");
    }

    #[test]
    fn what_changed_is_no_longer_what_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(dir.path()).unwrap().join("tool");
        let absent = Found::of(file.as_str());
        assert!(absent.file.is_none() && absent.is_current());
        fs::write(&file, "1").unwrap();
        assert!(!absent.is_current());
        let found = Found::of(file.as_str());
        assert!(found.is_current());
        fs::write(&file, "22").unwrap();
        assert!(!found.is_current());
    }

    #[test]
    fn another_target_is_a_change_of_the_toolchain() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        for folder in ["bin", "lib/rustlib/one/lib", "lib/rustlib/two"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("bin/rustc"), "").unwrap();
        let signs = signs_of_toolchain(root);
        assert_eq!(signs.len(), 3, "{signs:?}");
        let is_same = || signs.iter().all(Found::is_current);
        assert!(is_same());
        // A file system's clock ticks every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(50));
        fs::write(root.join("lib/rustlib/one/lib/libstd.rlib"), "").unwrap();
        assert!(!is_same());
    }
}
