//! A library that programs load before all others, to tell the worker which variables they ask for,
//! and for the addresses of which hosts: by asking for a path that is none, at which the worker
//! looks.
//!
//! A crate of its own, with nothing of the standard library in it. It is compiled with frame
//! pointers, by which it finds out whose code asks.

#![no_std]

use core::{
    arch::asm,
    ffi::{c_char, c_int, c_void},
    panic::PanicInfo,
    ptr,
};

// Where the C library has parts, this is the one with `dladdr`.
#[link(name = "dl")]
unsafe extern "C" {
    static environ: *const *const c_char;
    fn access(path: *const c_char, mode: c_int) -> c_int;
    fn dlsym(library: *const c_void, name: *const c_char) -> *const c_void;
    fn dladdr(address: *const c_void, found: *mut Found) -> c_int;
    fn __errno_location() -> *mut c_int;
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
/// The library that comes after this one.
const NEXT: *const c_void = usize::MAX as *const c_void;
/// Of a path, with the zero at its end.
const LONGEST: usize = 4096;

/// # Safety
///
/// As C's `getenv`.
#[no_mangle]
pub unsafe extern "C" fn getenv(name: *const c_char) -> *const c_char {
    tell(name, caller());
    value(name)
}

/// # Safety
///
/// As C's `secure_getenv`. No program here has more rights than who started it.
#[no_mangle]
pub unsafe extern "C" fn secure_getenv(name: *const c_char) -> *const c_char {
    tell(name, caller());
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
    let next = dlsym(NEXT, b"getaddrinfo\0".as_ptr().cast());
    if next.is_null() {
        return FAILED;
    }
    let next: GetAddrInfo = core::mem::transmute(next);
    next(node, service, hints, result)
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

unsafe fn tell(name: *const c_char, caller: *const c_void) {
    let mut path = Text::of(VARIABLES);
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
        access(self.bytes.as_ptr().cast(), 0);
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
