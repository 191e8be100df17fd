//! A library that programs load before all others, to tell the worker which variables they ask for,
//! for the addresses of which hosts, and for the time: as if they asked for a path that is none.
//!
//! It also spares the worker a look at each call that asks for a path or opens one to read
//! ([`files`]).
//!
//! A crate of its own, with nothing of the standard library in it. It is compiled with frame
//! pointers, by which it finds out whose code asks.

#![no_std]

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod files;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod kernel;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod real_path;
#[allow(dead_code, reason = "the worker reads it")]
#[path = "../bytes/ring_buffer.rs"]
mod ring_buffer;

use core::{
    arch::{asm, global_asm},
    ffi::{c_char, c_int, c_long, c_void},
    panic::PanicInfo,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

// Where the C library has parts, this is the one with `dladdr`.
#[link(name = "dl")]
unsafe extern "C" {
    static environ: *const *const c_char;
    fn dlsym(library: *const c_void, name: *const c_char) -> *const c_void;
    fn dladdr(address: *const c_void, found: *mut Found) -> c_int;
    fn __errno_location() -> *mut c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// What a library has at an address.
#[repr(C)]
struct Found {
    library: *const c_char,
    base: *const c_void,
    symbol: *const c_char,
    address: *const c_void,
}

/// As the worker expects it.
const VARIABLES: &[u8] = b"/rustcbuildx/variable/";
const BY: u8 = b'\n';
const HOSTS: &[u8] = b"/rustcbuildx/host/";
const CLOCK: &[u8] = b"/rustcbuildx/clock/";
/// Of a path, with the zero at its end.
const LONGEST: usize = 4096;
/// The library that comes after this one.
const NEXT: *const c_void = usize::MAX as *const c_void;

/// What the next library has under a name that ends with a zero.
unsafe fn next(name: &[u8]) -> *const c_void {
    dlsym(NEXT, name.as_ptr().cast())
}

/// # Safety
///
/// As C's `getenv`.
#[no_mangle]
pub unsafe extern "C" fn getenv(name: *const c_char) -> *const c_char {
    tell(VARIABLES, name, caller());
    value(name)
}

/// # Safety
///
/// As C's `secure_getenv`. No program here has more rights than who started it.
#[no_mangle]
pub unsafe extern "C" fn secure_getenv(name: *const c_char) -> *const c_char {
    tell(VARIABLES, name, caller());
    value(name)
}

type GetAddrInfo =
    unsafe extern "C" fn(*const c_char, *const c_char, *const c_void, *mut *mut c_void) -> c_int;

/// # Safety
///
/// As C's `getaddrinfo`.
#[no_mangle]
pub unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const c_void,
    result: *mut *mut c_void,
) -> c_int {
    const FAILED: c_int = -4;
    if !node.is_null() {
        let mut path = Text::of(HOSTS);
        path.push_all(node);
        path.tell();
    }
    let next = next(b"getaddrinfo\0");
    if next.is_null() {
        return FAILED;
    }
    let next: GetAddrInfo = core::mem::transmute(next);
    next(node, service, hints, result)
}

#[repr(C)]
pub struct Time {
    seconds: c_long,
    rest: c_long,
}

/// # Safety
///
/// As C's `clock_gettime`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[no_mangle]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time) -> c_int {
    const COARSE: c_int = 5;
    if clock == NOW || clock == COARSE {
        tell_of_time(caller());
    }
    kernels_clock(clock, time)
}

/// # Safety
///
/// As C's `gettimeofday`. There is no time zone.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[no_mangle]
pub unsafe extern "C" fn gettimeofday(time: *mut Time, _: *const c_void) -> c_int {
    tell_of_time(caller());
    if time.is_null() {
        return 0;
    }
    let result = kernels_clock(NOW, time);
    (*time).rest /= 1000;
    result
}

/// # Safety
///
/// As C's `time`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[no_mangle]
pub unsafe extern "C" fn time(seconds: *mut c_long) -> c_long {
    tell_of_time(caller());
    let mut now = Time { seconds: 0, rest: 0 };
    kernels_clock(NOW, &mut now);
    if !seconds.is_null() {
        *seconds = now.seconds;
    }
    now.seconds
}

/// The clock of the time of day.
const NOW: c_int = 0;
/// The places in code that asked for the time: each is told of once, as far as there is room.
static TOLD: [AtomicUsize; 16] = [NOBODY; 16];
// Older compilers fill arrays with nothing else.
#[allow(clippy::declare_interior_mutable_const)]
const NOBODY: AtomicUsize = AtomicUsize::new(0);

/// Allocators ask it for the time, so nothing here may allocate, and no library is searched.
unsafe fn kernels_clock(clock: c_int, time: *mut Time) -> c_int {
    const CALL: c_long = if cfg!(target_arch = "aarch64") { 113 } else { 228 };
    syscall(CALL, c_long::from(clock), time) as c_int
}

unsafe fn tell_of_time(caller: *const c_void) {
    for place in &TOLD {
        match place.compare_exchange(0, caller as usize, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return tell(CLOCK, b"\0".as_ptr().cast(), caller),
            Err(known) if known == caller as usize => return,
            Err(_) => {}
        }
    }
}

/// Where the function that has called this one was called from.
#[inline(always)]
fn caller() -> *const c_void {
    let address: *const c_void;
    // SAFETY: a frame begins with the frame before it and the address to return to.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {}, [rbp + 8]", out(reg) address, options(nostack, readonly));
        #[cfg(target_arch = "aarch64")]
        asm!("ldr {}, [x29, #8]", out(reg) address, options(nostack, readonly));
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            address = ptr::null();
        }
    }
    address
}

/// Tells what is asked for, and by which program or library.
unsafe fn tell(what: &[u8], name: *const c_char, caller: *const c_void) {
    let mut path = Text::of(what);
    path.push_all(name);
    path.push(BY);
    let nothing = ptr::null();
    let mut found =
        Found { library: ptr::null(), base: nothing, symbol: ptr::null(), address: nothing };
    if dladdr(caller, &mut found) != 0 {
        path.push_all(found.library);
    }
    path.tell();
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn ask(path: *const c_char) {
    if !files::announce(path) {
        files::access(path, 0);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn ask(path: *const c_char) {
    extern "C" {
        fn access(path: *const c_char, mode: c_int) -> c_int;
    }
    access(path, 0);
}

struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    fn of(start: &[u8]) -> Self {
        let mut text = Self { bytes: [0; LONGEST], length: 0 };
        start.iter().for_each(|byte| text.push(*byte));
        text
    }

    /// Has the worker read it. Leaves no sign: whoever asks for a variable may look at the last
    /// error.
    unsafe fn tell(&self) {
        let error = *__errno_location();
        ask(self.bytes.as_ptr().cast());
        *__errno_location() = error;
    }

    fn push(&mut self, byte: u8) {
        // There is a zero behind it.
        if self.length + 1 < LONGEST {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }

    unsafe fn push_all(&mut self, mut text: *const c_char) {
        while !text.is_null() && *text != 0 {
            self.push(*text as u8);
            text = text.add(1);
        }
    }
}

unsafe fn value(name: *const c_char) -> *const c_char {
    let mut variable = environ;
    while !variable.is_null() && !(*variable).is_null() {
        let (mut rest, mut wanted) = (*variable, name);
        while *wanted != 0 && *rest == *wanted {
            (rest, wanted) = (rest.add(1), wanted.add(1));
        }
        if *wanted == 0 && *rest as u8 == b'=' {
            return rest.add(1);
        }
        variable = variable.add(1);
    }
    ptr::null()
}

#[panic_handler]
fn never(_: &PanicInfo<'_>) -> ! {
    loop {}
}

// What the compiler's own library would call where a panic unwinds. Only some versions of it name
// this here; nobody calls it, and no program sees it.
global_asm!(
    ".hidden rust_eh_personality",
    ".globl rust_eh_personality",
    "rust_eh_personality:",
    "ret",
);
