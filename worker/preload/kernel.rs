//! Calls of the kernel, each with a mark or without.
//!
//! Source: the kernel's tables of calls (`syscall_64.tbl`, `asm-generic/unistd.h`).

use core::{
    arch::asm,
    ffi::{c_int, c_long},
    sync::atomic::AtomicU64,
};

use crate::__errno_location;

pub struct Numbers {
    pub open: c_long,
    pub stat: c_long,
    pub statx: c_long,
    pub access: c_long,
    pub read_link: c_long,
    pub current_folder: c_long,
    pub map: c_long,
    pub close: c_long,
}

pub const CALLS: Numbers = if cfg!(target_arch = "aarch64") {
    Numbers {
        open: 56,
        stat: 79,
        statx: 291,
        access: 48,
        read_link: 78,
        current_folder: 17,
        map: 222,
        close: 57,
    }
} else {
    Numbers {
        open: 257,
        stat: 262,
        statx: 332,
        access: 269,
        read_link: 267,
        current_folder: 79,
        map: 9,
        close: 3,
    }
};

/// What a call has as its last argument that the worker is to look at.
pub static NO_MARK: AtomicU64 = AtomicU64::new(0);

/// Calls the kernel. The mark is in no register but its own, and not even there afterwards: one
/// that was left behind could get into a later call, which nobody announced.
#[inline(always)]
pub unsafe fn kernel(mark: &AtomicU64, number: c_long, arguments: [usize; 5]) -> isize {
    let [a, b, c, d, e] = arguments;
    let mark = mark.as_ptr();
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    asm!(
        "mov r9, [{mark}]",
        "syscall",
        "xor r9d, r9d",
        mark = in(reg) mark,
        inout("rax") number as isize => result,
        in("rdi") a,
        in("rsi") b,
        in("rdx") c,
        in("r10") d,
        in("r8") e,
        out("r9") _,
        out("rcx") _,
        out("r11") _,
        options(nostack),
    );
    #[cfg(target_arch = "aarch64")]
    asm!(
        "ldr x5, [{mark}]",
        "svc 0",
        "mov x5, xzr",
        mark = in(reg) mark,
        in("x8") number,
        inout("x0") a as isize => result,
        in("x1") b,
        in("x2") c,
        in("x3") d,
        in("x4") e,
        out("x5") _,
        options(nostack),
    );
    result
}

/// Calls the kernel as a function of the C library does, which leaves an error for who asks.
pub unsafe fn call(mark: &AtomicU64, number: c_long, arguments: [usize; 5]) -> isize {
    const LAST_ERROR: isize = -4095;
    let result = kernel(mark, number, arguments);
    if (LAST_ERROR..0).contains(&result) {
        *__errno_location() = -result as c_int;
        return -1;
    }
    result
}

pub const AT_FDCWD: c_int = -100;
pub const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
pub const O_RDWR: c_int = 2;
pub const O_CLOEXEC: c_int = 0o2000000;
pub const O_PATH: c_int = 0o10000000;
pub const O_DIRECTORY: c_int = if cfg!(target_arch = "aarch64") { 0o40000 } else { 0o200000 };
pub const PATH_MAX: usize = 4096;

pub unsafe fn close(file: isize) {
    kernel(&NO_MARK, CALLS.close, [file as usize, 0, 0, 0, 0]);
}

/// Puts the path that the kernel has for a file of this process into `text`; returns its length, 0
/// if it has none.
pub unsafe fn own_path(mark: &AtomicU64, file: &[u8], text: &mut [u8; PATH_MAX]) -> usize {
    const OWN: &[u8] = b"/proc/self/";
    let mut link = [0_u8; 64];
    link.iter_mut().zip(OWN.iter().chain(file)).for_each(|(to, from)| *to = *from);
    let (link, text) = (link.as_ptr() as usize, text.as_mut_ptr() as usize);
    let arguments = [AT_FDCWD as usize, link, text, PATH_MAX, 0];
    kernel(mark, CALLS.read_link, arguments).max(0) as usize
}
