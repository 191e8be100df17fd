//! The kernel, as far as the standard library has no word for it.

pub mod landlock;
pub mod seccomp;
pub mod shared;

use std::{
    ffi::{CString, c_char, c_int, c_long, c_uint, c_ulong, c_void},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *const c_void;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn flock(fd: c_int, operation: c_int) -> c_int;
    fn fork() -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, milliseconds: c_int) -> c_int;
    fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setsid() -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "umask"]
    fn libc_umask(mask: c_uint) -> c_uint;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    seen: i16,
}

const O_NONBLOCK: c_int = 0o4000;
const O_CLOEXEC: c_int = 0o2000000;
const POLLIN: i16 = 1;
const LOCK_EX: c_int = 2;
const LOCK_NB: c_int = 4;
const SIGKILL: c_int = 9;
const PR_SET_NO_NEW_PRIVS: c_int = 38;

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A call that the C library may have no function for.
pub fn call(number: c_long, arguments: [usize; 4]) -> io::Result<usize> {
    let [a, b, c, d] = arguments;
    // SAFETY: whoever calls passes what the kernel expects under that number.
    let result = unsafe { syscall(number, a, b, c, d) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Has a driver of the kernel do something with a file. `argument` is what it expects there.
pub fn control(fd: BorrowedFd<'_>, request: c_ulong, argument: usize) -> io::Result<()> {
    // SAFETY: whoever calls passes what the kernel expects with that request.
    checked(unsafe { ioctl(fd.as_raw_fd(), request, argument) }).map(drop)
}

/// A pipe, its reading end and its writing end; neither ever waits, if so asked.
pub fn pipe(never_waits: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the kernel writes two numbers there, which nobody else owns.
    unsafe {
        checked(pipe2(fds.as_mut_ptr(), O_CLOEXEC | if never_waits { O_NONBLOCK } else { 0 }))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// Waits until there is something to read, for so long at most.
pub fn wait_readable(fd: BorrowedFd<'_>, milliseconds: c_int) {
    wait_any([fd], milliseconds);
}

/// What there is of a file to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Nothing,
    Some,
    /// Nothing, and there never will be.
    Ended,
}

/// Waits until one of several files can be read, or has an end. Waits for so long at most, or for
/// ever if that is negative.
pub fn wait_any<const N: usize>(fds: [BorrowedFd<'_>; N], milliseconds: c_int) -> [Ready; N] {
    let mut fds = fds.map(|fd| PollFd { fd: fd.as_raw_fd(), events: POLLIN, seen: 0 });
    // SAFETY: the array outlives the call. Why it ended does not matter: whoever waits looks again.
    unsafe { poll(fds.as_mut_ptr(), N as c_ulong, milliseconds) };
    fds.map(|fd| match fd.seen {
        0 => Ready::Nothing,
        seen if seen & POLLIN != 0 => Ready::Some,
        _ => Ready::Ended,
    })
}

/// Locks a file until it is closed, unless somebody else has locked it; returns whether it did.
pub fn try_lock(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: plain numbers.
    unsafe { flock(fd.as_raw_fd(), LOCK_EX | LOCK_NB) == 0 }
}

/// Whether programs could load a library before all others.
pub fn can_be_loaded(library: &Path) -> bool {
    const RTLD_NOW: c_int = 2;
    let path = CString::new(library.as_os_str().as_bytes()).unwrap_or_default();
    // SAFETY: a text with a zero at its end. The library does nothing when it is loaded.
    unsafe { !dlopen(path.as_ptr(), RTLD_NOW).is_null() }
}

pub fn umask(mask: u32) {
    // SAFETY: a plain number.
    unsafe { libc_umask(mask) };
}

/// Has no program that this thread starts give it more than it has.
pub fn give_up_privileges() -> io::Result<()> {
    // SAFETY: plain numbers.
    checked(unsafe { prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Has this thread look at files, and at processes, as a user does. Only the kernel's own calls are
/// about one thread.
pub fn look_as(user: u32) {
    const SET_FS: [i64; 2] = if cfg!(target_arch = "x86_64") { [123, 122] } else { [152, 151] };
    for number in SET_FS {
        // They report the former number, and no error.
        let _ = call(number, [user as usize, 0, 0, 0]);
    }
}

/// Who a process becomes.
pub struct Identity<'a> {
    pub user: u32,
    pub groups: &'a [u32],
}

/// Gives up, for good, all that the process may do beyond what its new user may.
///
/// Calls nothing that is not safe between `fork` and `exec`.
pub fn become_user(identity: &Identity<'_>) -> io::Result<()> {
    let Identity { user, groups } = *identity;
    give_up_privileges()?;
    // SAFETY: plain numbers, and a slice with its length.
    unsafe {
        checked(setgroups(groups.len(), groups.as_ptr()))?;
        checked(setresgid(user, user, user))?;
        checked(setresuid(user, user, user))?;
    }
    Ok(())
}

/// Starts a session, with no terminal.
pub fn start_session() -> io::Result<()> {
    // SAFETY: no arguments.
    checked(unsafe { setsid() }).map(drop)
}

/// Has the process that is about to start inherit a file under this number.
pub fn inherit_as(fd: RawFd, number: c_int) -> io::Result<()> {
    // SAFETY: plain numbers.
    checked(unsafe { dup2(fd, number) }).map(drop)
}

/// Ends all processes of a user: what a task left running.
pub fn kill_all_of(user: u32) -> io::Result<()> {
    // SAFETY: the child calls only what is safe after a fork of a process with threads.
    unsafe {
        let child = checked(fork())?;
        if child == 0 {
            if setresuid(user, user, user) == 0 {
                kill(-1, SIGKILL);
            }
            _exit(0);
        }
        let mut status = 0;
        while waitpid(child, &mut status, 0) < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
    Ok(())
}
