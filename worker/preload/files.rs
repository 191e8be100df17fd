//! Calls that ask for a path, or open one to read: each is announced in memory that all processes
//! of a task share with the worker, and made with a mark, by which the kernel does not have it wait
//! until the worker has looked at it.
//!
//! What is not announced for any reason has no mark: the worker looks at it as at a call of any
//! other library, or of a program that calls the kernel by itself. So nothing is lost where this
//! library does not know a function. And the worker reads what was announced before it looks at a
//! call: none that changes a file overtakes it.
//!
//! Source: the manual pages of the functions.

use core::{
    ffi::{c_char, c_int, c_uint, c_void},
    ptr, slice,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::{
    kernel::{
        AT_FDCWD, AT_SYMLINK_NOFOLLOW, CALLS, NO_MARK, O_CLOEXEC, O_DIRECTORY, O_PATH, O_RDWR,
        PATH_MAX, call, close, kernel, own_path,
    },
    ring_buffer::{self, ASK, LIST, READ, Ring},
};

extern "C" {
    pub fn strlen(text: *const c_char) -> usize;
}

/// Flags to write, create, or truncate.
const CHANGES: c_int = 0o3 | 0o100 | 0o1000;
/// As the worker expects it.
const SHARED: &[u8] = b"/rustcbuildx/shared\0";

const UNKNOWN: usize = 0;
const NONE: usize = 1;
/// Where the memory is that this process shares with the worker.
static SHARED_AT: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// The memory that this process shares with the worker, if it does. Its file is not open after
/// this, since programs close files that they do not know.
unsafe fn shared() -> Option<&'static Ring> {
    let mut at = SHARED_AT.load(Ordering::Acquire);
    if at == UNKNOWN {
        at = map();
        // Another thread may have done the same: both are right.
        SHARED_AT.store(at, Ordering::Release);
    }
    if at == NONE { None } else { (at as *const Ring).as_ref() }
}

unsafe fn map() -> usize {
    const READ_WRITE: usize = 3;
    const MAP_SHARED: usize = 1;
    let (path, flags) = (SHARED.as_ptr() as usize, (O_RDWR | O_CLOEXEC) as usize);
    // The worker looks at this call, and opens the memory instead.
    let file = kernel(&NO_MARK, CALLS.open, [AT_FDCWD as usize, path, flags, 0, 0]);
    if file < 0 {
        return NONE;
    }
    // The last argument, from where in the file, is zero as well.
    let arguments = [0, ring_buffer::SIZE, READ_WRITE, MAP_SHARED, file as usize];
    let at = kernel(&NO_MARK, CALLS.map, arguments);
    close(file);
    if at < 0 { NONE } else { at as usize }
}

/// Announces a path to the worker; returns the mark for the call, which is none if the worker is to
/// look at it.
pub unsafe fn announced(kind: u8, folder: c_int, path: *const c_char) -> &'static AtomicU64 {
    // No program has anything there, and the kernel has a word for that.
    const FIRST_PAGES: usize = 1 << 16;
    if (path as usize) < FIRST_PAGES || *path == 0 {
        return &NO_MARK;
    }
    let Some(shared) = shared() else { return &NO_MARK };
    let path = slice::from_raw_parts(path.cast::<u8>(), strlen(path));
    // What these lead to is another file for each process, and they have more than one name.
    let is_of_process = path.starts_with(b"/proc") || path.starts_with(b"/dev/fd");
    let has_other_names = path.first() == Some(&b'/')
        && (path.windows(2).any(|bytes| bytes == b"//")
            || path.windows(3).any(|bytes| bytes == b"/./"));
    if is_of_process || has_other_names {
        return &NO_MARK;
    }
    let name = name(&shared.mark);
    let is_announced = if path.first() == Some(&b'/') {
        shared.add(kind, &[name, b"\0", path])
    } else if folder == AT_FDCWD {
        let mut current = [0_u8; PATH_MAX];
        let arguments = [current.as_mut_ptr() as usize, PATH_MAX, 0, 0, 0];
        let length = kernel(&NO_MARK, CALLS.current_folder, arguments);
        // It counts the zero at the end. Of a folder that is out of reach, it has no whole path.
        match current.get(..(length - 1).max(0) as usize) {
            Some(current) if current.first() == Some(&b'/') => {
                shared.add(kind, &[name, b"\0", current, b"/", path])
            }
            _ => false,
        }
    } else {
        false
    };
    if is_announced { &shared.mark } else { &NO_MARK }
}

/// The name of this process's program, once it is known.
static mut NAME: [u8; LONGEST_NAME] = [0; LONGEST_NAME];
static NAME_LENGTH: AtomicUsize = AtomicUsize::new(0);
const LONGEST_NAME: usize = 256;

/// The name of the file of this process's program.
unsafe fn name(mark: &AtomicU64) -> &'static [u8] {
    let mut length = NAME_LENGTH.load(Ordering::Acquire);
    if length == 0 {
        let mut path = [0_u8; PATH_MAX];
        let found = own_path(mark, b"exe", &mut path);
        let path = path.get(..found).unwrap_or_default();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        length = name.len().min(LONGEST_NAME);
        // Threads that are here at once write the same.
        ptr::copy_nonoverlapping(name.as_ptr(), (&raw mut NAME).cast(), length);
        NAME_LENGTH.store(length, Ordering::Release);
    }
    slice::from_raw_parts((&raw const NAME).cast(), length)
}

/// Announces that a path was asked for, without a call of the kernel; returns whether it did.
pub unsafe fn announce(path: *const c_char) -> bool {
    !ptr::eq(announced(ASK, AT_FDCWD, path), &NO_MARK)
}

/// A function of the C library under both of its names: the other one is for large files, of which
/// this kernel has no calls of their own.
macro_rules! under_both_names {
    ($name:ident, $large:ident, ($($argument:ident: $kind:ty),*), $body:expr) => {
        /// # Safety
        ///
        /// As C's function of this name.
        #[no_mangle]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> c_int {
            $body
        }

        /// # Safety
        ///
        /// As C's function of this name.
        #[no_mangle]
        pub unsafe extern "C" fn $large($($argument: $kind),*) -> c_int {
            $body
        }
    };
}

type Path = *const c_char;

unsafe fn open_at(folder: c_int, path: Path, flags: c_int, mode: c_uint) -> c_int {
    let kind = if flags & O_DIRECTORY != 0 { LIST } else { READ };
    let kind = if flags & O_PATH != 0 { ASK } else { kind };
    let mark = if flags & CHANGES == 0 { announced(kind, folder, path) } else { &NO_MARK };
    let arguments = [folder as usize, path as usize, flags as usize, mode as usize, 0];
    call(mark, CALLS.open, arguments) as c_int
}

// The mode is there or not: functions of a fixed number of arguments find those of others in the
// same registers.
under_both_names!(
    open,
    open64,
    (path: Path, flags: c_int, mode: c_uint),
    open_at(AT_FDCWD, path, flags, mode)
);
under_both_names!(
    openat,
    openat64,
    (folder: c_int, path: Path, flags: c_int, mode: c_uint),
    open_at(folder, path, flags, mode)
);

unsafe fn stat_at(folder: c_int, path: Path, found: *mut c_void, flags: c_int) -> c_int {
    let mark = announced(ASK, folder, path);
    let arguments = [folder as usize, path as usize, found as usize, flags as usize, 0];
    call(mark, CALLS.stat, arguments) as c_int
}

under_both_names!(
    stat,
    stat64,
    (path: Path, found: *mut c_void),
    stat_at(AT_FDCWD, path, found, 0)
);
under_both_names!(
    lstat,
    lstat64,
    (path: Path, found: *mut c_void),
    stat_at(AT_FDCWD, path, found, AT_SYMLINK_NOFOLLOW)
);
under_both_names!(
    fstatat,
    fstatat64,
    (folder: c_int, path: Path, found: *mut c_void, flags: c_int),
    stat_at(folder, path, found, flags)
);

/// # Safety
///
/// As C's `statx`.
#[no_mangle]
pub unsafe extern "C" fn statx(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    found: *mut c_void,
) -> c_int {
    let mark = announced(ASK, folder, path);
    let arguments =
        [folder as usize, path as usize, flags as usize, mask as usize, found as usize];
    call(mark, CALLS.statx, arguments) as c_int
}

/// # Safety
///
/// As C's `access`.
#[no_mangle]
pub unsafe extern "C" fn access(path: *const c_char, mode: c_int) -> c_int {
    let mark = announced(ASK, AT_FDCWD, path);
    let arguments = [AT_FDCWD as usize, path as usize, mode as usize, 0, 0];
    call(mark, CALLS.access, arguments) as c_int
}

/// # Safety
///
/// As C's `readlink`.
#[no_mangle]
pub unsafe extern "C" fn readlink(path: *const c_char, text: *mut c_char, size: usize) -> isize {
    readlinkat(AT_FDCWD, path, text, size)
}

/// # Safety
///
/// As C's `readlinkat`.
#[no_mangle]
pub unsafe extern "C" fn readlinkat(
    folder: c_int,
    path: *const c_char,
    text: *mut c_char,
    size: usize,
) -> isize {
    let mark = announced(ASK, folder, path);
    let arguments = [folder as usize, path as usize, text as usize, size, 0];
    call(mark, CALLS.read_link, arguments)
}
