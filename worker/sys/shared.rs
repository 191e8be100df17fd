//! Memory that this program shares with processes that it did not start itself.

use std::{
    ffi::{c_int, c_long, c_void},
    fs::File,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::Ordering,
};

use crate::{
    bytes::ring_buffer::{Ring, SIZE},
    sys,
};

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        size: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn munmap(at: *mut c_void, size: usize) -> c_int;
}

/// A ring, in a file that has no name. It is unmapped when this is dropped.
pub struct SharedRing {
    file: File,
    ring: NonNull<Ring>,
}

// SAFETY: a ring is made of atomic words.
unsafe impl Send for SharedRing {}

impl SharedRing {
    /// An empty one, with a mark that nobody can guess.
    pub fn new() -> io::Result<Self> {
        const READ_WRITE: c_int = 3;
        const MAP_SHARED: c_int = 1;
        let file = memory_file()?;
        file.set_len(SIZE as u64)?;
        seal(&file)?;
        // SAFETY: nothing is there yet, and the file keeps its size.
        let at =
            unsafe { mmap(ptr::null_mut(), SIZE, READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0) };
        let ring = NonNull::new(at.cast()).filter(|_| at as isize != -1);
        let shared = Self { file, ring: ring.ok_or_else(io::Error::last_os_error)? };
        let random = RandomState::new().build_hasher().finish();
        // Neither half of it is a number that calls have.
        shared.ring().mark.store(random | 1 << 63 | 1 << 31, Ordering::Relaxed);
        Ok(shared)
    }

    pub fn ring(&self) -> &Ring {
        // SAFETY: it is mapped as long as this lives, so large, and all bytes are values of it.
        unsafe { self.ring.as_ref() }
    }

    pub fn mark(&self) -> u64 {
        self.ring().mark.load(Ordering::Relaxed)
    }
}

impl AsFd for SharedRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SharedRing {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into it any more.
        unsafe { munmap(self.ring.as_ptr().cast(), SIZE) };
    }
}

fn memory_file() -> io::Result<File> {
    const CREATE: c_long = if cfg!(target_arch = "aarch64") { 279 } else { 319 };
    const CLOSED_BY_PROGRAMS: usize = 1;
    const CAN_BE_SEALED: usize = 2;
    let name = c"rustcbuildx".as_ptr() as usize;
    let fd = sys::call(CREATE, [name, CLOSED_BY_PROGRAMS | CAN_BE_SEALED, 0, 0])?;
    let fd = c_int::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) }.into())
}

/// Has a file keep its size for good: who reads what is no longer there is ended.
fn seal(file: &File) -> io::Result<()> {
    const FCNTL: c_long = if cfg!(target_arch = "aarch64") { 25 } else { 72 };
    const ADD_SEALS: usize = 1033;
    const SEALS_SHRINKING_GROWING: usize = 1 | 2 | 4;
    let fd = file.as_raw_fd() as usize;
    sys::call(FCNTL, [fd, ADD_SEALS, SEALS_SHRINKING_GROWING, 0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_its_size() {
        let shared = SharedRing::new().unwrap();
        assert!(shared.file.set_len(0).is_err());
        assert!(shared.file.set_len(1 << 30).is_err());
        assert!(shared.ring().add(1, &[b"a"]) && shared.ring().has_more());
        assert_ne!(shared.mark(), SharedRing::new().unwrap().mark());
    }
}
