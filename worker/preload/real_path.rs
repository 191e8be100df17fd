//! C's `realpath`, with three calls of the kernel, where the C library asks for each folder.
//!
//! Source: realpath(3).

use core::{
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::atomic::AtomicU64,
};

use crate::{
    __errno_location,
    files::{announced, strlen},
    kernel::{
        AT_FDCWD, AT_SYMLINK_NOFOLLOW, CALLS, NO_MARK, O_CLOEXEC, O_PATH, PATH_MAX, close, kernel,
        own_path,
    },
    next,
    ring_buffer::ASK,
};

extern "C" {
    fn malloc(size: usize) -> *mut c_void;
}

const ENOENT: c_int = 2;
/// It, `EACCES`, `ENOTDIR`, and `ELOOP`.
const ERRORS_OF_PATHS: [c_int; 4] = [ENOENT, 13, 20, 40];

/// # Safety
///
/// As C's `realpath`.
#[no_mangle]
pub unsafe extern "C" fn realpath(path: *const c_char, found: *mut c_char) -> *mut c_char {
    type RealPath = unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut c_char;
    let mark = announced(ASK, AT_FDCWD, path);
    if !ptr::eq(mark, &NO_MARK) {
        if let Some(real) = kernels_path(path, found, mark) {
            return real;
        }
    }
    // It asks for each folder by itself.
    let next = next(b"realpath\0");
    if next.is_null() {
        return ptr::null_mut();
    }
    let next: RealPath = core::mem::transmute(next);
    next(path, found)
}

/// What C's `realpath` returns, by what the kernel says of a file that is opened by this path;
/// `None` if that does not tell.
unsafe fn kernels_path(
    path: *const c_char,
    found: *mut c_char,
    mark: &AtomicU64,
) -> Option<*mut c_char> {
    let flags = (O_PATH | O_CLOEXEC) as usize;
    let file = kernel(mark, CALLS.open, [AT_FDCWD as usize, path as usize, flags, 0, 0]);
    if file < 0 {
        let error = -file as c_int;
        let is_known = if found.is_null() {
            ERRORS_OF_PATHS.contains(&error)
        } else {
            error == ENOENT && first_missing(path, found)
        };
        return is_known.then(|| {
            *__errno_location() = error;
            ptr::null_mut()
        });
    }
    let mut real = [0_u8; PATH_MAX];
    let real = kernels_name(file, mark, &mut real);
    if real.is_empty() || real.len() >= PATH_MAX {
        return None;
    }
    let to = if found.is_null() { malloc(real.len() + 1).cast() } else { found };
    if !to.is_null() {
        write_path(&[real], to);
    }
    Some(to)
}

/// Leaves what C's `realpath` leaves of a path where nothing is: the first file on it that is
/// missing, in its real folder. Returns whether it could.
unsafe fn first_missing(path: *const c_char, found: *mut c_char) -> bool {
    let mut text = [0_u8; PATH_MAX];
    let mut length = strlen(path).min(PATH_MAX - 1);
    ptr::copy_nonoverlapping(path.cast(), text.as_mut_ptr(), length);
    loop {
        let slash = text.iter().rposition(|byte| *byte == b'/');
        let start = slash.map_or(0, |at| at + 1);
        let name = text.get(start..length).unwrap_or_default();
        if matches!(name, b"" | b"." | b"..") {
            return false;
        }
        let mut own_name = [0_u8; 256];
        let Some(room) = own_name.get_mut(..name.len()) else { return false };
        room.copy_from_slice(name);
        let mark = announced(ASK, AT_FDCWD, text.as_ptr().cast());
        if ptr::eq(mark, &NO_MARK) {
            return false;
        }
        let mut status = [0_u64; 64];
        let (at, status) = (text.as_ptr() as usize, status.as_mut_ptr() as usize);
        let arguments = [AT_FDCWD as usize, at, status, AT_SYMLINK_NOFOLLOW as usize, 0];
        // Where it is there, it is a link that leads nowhere.
        let is_missing = kernel(mark, CALLS.stat, arguments) == -(ENOENT as isize);
        let Some(end) = text.get_mut(start..length) else { return false };
        end.fill(0);
        let folder = if start == 0 { b".\0".as_ptr() } else { text.as_ptr() } as usize;
        let arguments = [AT_FDCWD as usize, folder, (O_PATH | O_CLOEXEC) as usize, 0, 0];
        let file = kernel(mark, CALLS.open, arguments);
        if file >= 0 {
            let mut real = [0_u8; PATH_MAX];
            let real = kernels_name(file, mark, &mut real);
            let parts = [if real == b"/" { b"" } else { real }, b"/", own_name.as_slice()];
            return is_missing && !real.is_empty() && write_path(&parts, found);
        }
        if file != -(ENOENT as isize) || start == 0 {
            return false;
        }
        length = start - 1;
        if let Some(slash) = text.get_mut(length) {
            *slash = 0;
        }
    }
}

/// The path that the kernel has for a file, which is closed; empty if it has none.
unsafe fn kernels_name<'t>(
    file: isize,
    mark: &AtomicU64,
    text: &'t mut [u8; PATH_MAX],
) -> &'t [u8] {
    let length = own_path(mark, &number_of(file), text);
    close(file);
    let name = text.get(..length).unwrap_or_default();
    // Of what was removed by now, the kernel says that.
    let is_path = name.first() == Some(&b'/') && !name.ends_with(b" (deleted)");
    if is_path { name } else { b"" }
}

/// Writes a path that has these parts, each up to a zero; returns whether it is short enough.
unsafe fn write_path(parts: &[&[u8]], to: *mut c_char) -> bool {
    let bytes = || parts.iter().flat_map(|part| part.iter().take_while(|byte| **byte != 0));
    if bytes().count() >= PATH_MAX {
        return false;
    }
    for (at, byte) in bytes().chain(b"\0").enumerate() {
        *to.add(at) = *byte as c_char;
    }
    true
}

/// `fd/` and the number of an open file, with zeros at the end.
fn number_of(file: isize) -> [u8; 16] {
    let mut text = *b"fd/\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let (mut digits, mut rest) = (1, file as usize / 10);
    while rest > 0 {
        (digits, rest) = (digits + 1, rest / 10);
    }
    rest = file as usize;
    for place in text.iter_mut().skip(3).take(digits).rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    text
}
