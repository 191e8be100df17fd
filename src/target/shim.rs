//! Shims: what cargo finds in place of a build script's program.
//!
//! Cargo runs a build script by its path. For that run to reach the engine, too, the file at that
//! path is a copy of rustcbuildx, followed by the real program and a trailer. Under
//! `RUSTC_WRAPPER=rustcbuildx`, the copy calls the wrapper; otherwise it starts the real program,
//! so a target folder remains usable without the wrapper.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{
    config::env,
    step::key::Key,
    target::stub,
    util::{digest::hex, disk::OnDisk},
};
use camino::{Utf8Path, Utf8PathBuf};

/// The word that a shim puts before its own path when it calls the wrapper.
pub const COMMAND: &str = "--run-build-script";

/// Ends a shim's file; before it the lengths of the program and of the path, 8 bytes each.
const MAGIC: &[u8; 16] = b"rustcbuildx-shim";
const TRAILER: u64 = 32;

/// A shim's file, taken apart; the program is read when asked for.
pub struct Shim {
    file: File,
    /// Where rustc wrote the program: cargo runs it under another name.
    pub compiled: Utf8PathBuf,
    start: u64,
    length: u64,
}

impl Shim {
    /// Opens the shim at `path`; `None` if the file is something else.
    pub fn open(path: &Utf8Path) -> Result<Option<Self>> {
        let named_so = path.file_name().is_some_and(|name| name.starts_with("build"));
        if !named_so || !path.is_file() {
            return Ok(None);
        }
        Self::read(path).with_context(|| format!("failed to read the build script `{path}`"))
    }

    fn read(path: &Utf8Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut trailer = [0; TRAILER as usize];
        if size < TRAILER {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(size - TRAILER))?;
        file.read_exact(&mut trailer)?;
        if !trailer.ends_with(MAGIC) {
            return Ok(None);
        }
        let number =
            |at: usize| u64::from_le_bytes(trailer[at..at + 8].try_into().expect("8 bytes"));
        let (length, name_length) = (number(0), number(8));
        let before_name = (size - TRAILER).checked_sub(name_length);
        let Some(start) = before_name.and_then(|end| end.checked_sub(length)) else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(start + length))?;
        let mut name = String::new();
        (&mut file).take(name_length).read_to_string(&mut name)?;
        Ok(Some(Self { file, compiled: name.into(), start, length }))
    }

    /// The step that made the real program, if that stayed in the engine.
    pub fn maker(&mut self) -> Option<Key> {
        stub::named_in(self.program().ok()?)
    }

    /// The real program, or what stands in for it.
    pub fn program(&mut self) -> io::Result<impl Read> {
        self.file.seek(SeekFrom::Start(self.start))?;
        Ok((&mut self.file).take(self.length))
    }

    /// Copies the real program into `to`.
    fn copy_program(&mut self, to: &mut impl Write) -> io::Result<u64> {
        io::copy(&mut self.program()?, to)
    }

    /// SHA-256 of the real program.
    pub fn digest(&mut self) -> Result<String> {
        let mut hasher = Sha256::new();
        self.copy_program(&mut hasher)
            .with_context(|| format!("failed to read `{}`", self.compiled))?;
        Ok(hex(&hasher.finalize()))
    }

    /// Writes the real program to a new file at `to`.
    pub fn unpack(&mut self, to: &Utf8Path) -> Result<()> {
        let mut file = File::create(to)?;
        self.copy_program(&mut file)?;
        Ok(file.set_permissions(fs::Permissions::from_mode(0o755))?)
    }

    /// Starts the real program in place of this one; returns only on failure.
    pub fn exec(mut self, arguments: Vec<std::ffi::OsString>) -> Result<std::convert::Infallible> {
        if self.maker().is_some() {
            bail!(
                "failed to run the build script `{}`: its program was left in the engine (hint: \
                 with RUSTC_WRAPPER=rustcbuildx it runs there)",
                self.compiled
            );
        }
        let memory = rustix::fs::memfd_create("build-script", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut memory = File::from(memory);
        self.copy_program(&mut memory).context("failed to unpack the build script")?;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
        crate::util::process::exec(path.as_ref(), arguments)
    }
}

/// Where rustc wrote, or is to write, the file at `path`, which cargo may know by another name.
pub fn compiled(path: &Utf8Path) -> Result<Utf8PathBuf> {
    Ok(Shim::open(path)?.map_or_else(|| path.to_owned(), |shim| shim.compiled))
}

/// Turns the program at `path`, which cargo is to know as `compiled`, into a shim that starts as
/// the program `front`.
pub fn wrap(path: &Utf8Path, compiled: &Utf8Path, mut front: impl Read) -> Result<()> {
    let mut wrap = || -> io::Result<()> {
        let program = fs::read(path)?;
        let mode = fs::metadata(path)?.permissions().mode();
        fs::remove_file(path)?;
        let mut file = File::create(path)?;
        io::copy(&mut front, &mut file)?;
        file.write_all(&program)?;
        file.write_all(compiled.as_str().as_bytes())?;
        file.write_all(&(program.len() as u64).to_le_bytes())?;
        file.write_all(&(compiled.as_str().len() as u64).to_le_bytes())?;
        file.write_all(MAGIC)?;
        file.set_permissions(fs::Permissions::from_mode(mode))
    };
    wrap().on_disk(path, || format!("failed to write the build script `{compiled}`"))
}

/// Turns the build script at `path` into a shim for the place `compiled`.
pub fn wrap_program(path: &Utf8Path, compiled: &Utf8Path) -> Result<()> {
    let own = env::current_exe()?;
    let front = File::open(&own).with_context(|| format!("failed to read `{own}`"))?;
    wrap(path, compiled, front)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_gives_its_program_back() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let path = dir.join("build_script_build-1");
        fs::write(&path, "program").unwrap();
        wrap(&path, Utf8Path::new("/t/ü"), &b"wrapper"[..]).unwrap();
        let mut shim = Shim::open(&path).unwrap().unwrap();
        let mut program = Vec::new();
        shim.copy_program(&mut program).unwrap();
        assert_eq!((&program[..], shim.compiled.as_str()), (&b"program"[..], "/t/ü"));
    }

    #[test]
    fn other_files_are_no_shims() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("build-script-build");
        let damaged = [&[0xff; 16][..], MAGIC].concat();
        for content in [&b""[..], &b"short"[..], &[b'x'; 100][..], &damaged] {
            fs::write(&path, content).unwrap();
            assert!(Shim::open(&path).unwrap().is_none());
        }
    }
}
