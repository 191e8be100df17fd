//! Which files a process may touch, by the kernel's Landlock: it holds the process to them for
//! good, and all that the process starts.
//!
//! Source: the kernel's `Documentation/userspace-api/landlock.rst` and
//! `include/uapi/linux/landlock.h`.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use crate::sys;

const CREATE_RULESET: i64 = 444;
const ADD_RULE: i64 = 445;
const RESTRICT_SELF: i64 = 446;
const VERSION_FLAG: usize = 1;
const PATH_BENEATH: usize = 1;
const O_PATH: i32 = 0o10000000;
const O_CLOEXEC: i32 = 0o2000000;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// What may be allowed of a file that is no folder.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
pub const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// Only the names in folders.
pub const LIST: u64 = READ_DIR;
/// All that there is, of which a kernel knows a part.
pub const WRITE: u64 = (1 << 16) - 1;

/// What this kernel's Landlock can hold a process to; `None` if it has none.
#[derive(Clone, Copy)]
pub struct Abi(usize);

impl Abi {
    pub fn of_kernel() -> Option<Self> {
        let version = sys::call(CREATE_RULESET, [0, 0, VERSION_FLAG, 0]).ok()?;
        (version > 0).then_some(Self(version))
    }

    fn files(self) -> u64 {
        match self.0 {
            1 => (1 << 13) - 1,
            2 => (1 << 14) - 1,
            3 | 4 => (1 << 15) - 1,
            _ => WRITE,
        }
    }
}

#[repr(C)]
struct RulesetAttr {
    files: u64,
    network: u64,
    scopes: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// A file or folder, opened so that it can be named in rules.
pub struct OpenPath {
    file: File,
    is_folder: bool,
}

impl OpenPath {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(O_PATH | O_CLOEXEC).open(path)?;
        let is_folder = file.metadata()?.is_dir();
        Ok(Self { file, is_folder })
    }
}

/// What a process may do; all that is not allowed is not.
pub struct Ruleset {
    fd: OwnedFd,
    abi: Abi,
}

impl Ruleset {
    pub fn new(abi: Abi) -> io::Result<Self> {
        // TCP, unix sockets by name and signals to others: as far as the kernel can.
        let attr = RulesetAttr { files: abi.files(), network: 3, scopes: 3 };
        let size = match abi.0 {
            1..=3 => 8,
            4 | 5 => 16,
            _ => 24,
        };
        let fd = sys::call(CREATE_RULESET, [&attr as *const RulesetAttr as usize, size, 0, 0])?;
        let fd = i32::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // SAFETY: the kernel has just made it for us.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) }, abi })
    }

    /// Allows something of a file, or of all that is in a folder.
    pub fn allow(&self, place: &OpenPath, access: u64) -> io::Result<()> {
        let possible = if place.is_folder { self.abi.files() } else { self.abi.files() & OF_FILES };
        let rule = PathBeneath { allowed: access & possible, parent: place.file.as_raw_fd() };
        let fd = self.fd.as_raw_fd() as usize;
        sys::call(ADD_RULE, [fd, PATH_BENEATH, &rule as *const PathBeneath as usize, 0]).map(drop)
    }

    /// Holds this process to it. Calls nothing that is not safe between `fork` and `exec`.
    pub fn restrict_self(&self) -> io::Result<()> {
        sys::call(RESTRICT_SELF, [self.fd.as_raw_fd() as usize, 0, 0, 0]).map(drop)
    }
}
