//! Calls of a process that wait until another one has looked at them, by the kernel's seccomp.
//!
//! Source: the kernel's `Documentation/userspace-api/seccomp_filter.rst`, and `seccomp.h`,
//! `filter.h` and `audit.h` in `include/uapi/linux/`.

use std::{
    ffi::{c_int, c_ulong},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::sys;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: (u32, i64) = (0xc000_003e, 317);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: (u32, i64) = (0xc000_00b7, 277);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: (u32, i64) = (0, -1);

const SET_MODE_FILTER: usize = 1;
const NEW_LISTENER: usize = 1 << 3;
/// Only the end of the process interrupts a call that is looked at.
const WAIT_KILLABLE: usize = 1 << 5;
const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const CONTINUE: u32 = 1;
/// Whoever looks is woken on the processor of the process that waits.
const SYNC_WAKE_UP: u64 = 1;

const RECEIVE: c_ulong = 0xc050_2100;
const SEND: c_ulong = 0xc018_2101;
const ADD_FILE: c_ulong = 0x4018_2103;
/// The file's number is what the call returns.
const AND_SEND: u32 = 2;
const O_CLOEXEC: u32 = 0o2000000;
const SET_FLAGS: c_ulong = 0x4008_2104;

/// In the number of a call of x86-64 with addresses of 32 bits.
const OTHER_NUMBERS: u32 = 1 << 30;
const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCHITECTURE: u32 = 4;
const OFFSET_OF_ARGUMENTS: u32 = 16;
/// Its halves. No call that is looked at has so many arguments.
const OFFSETS_OF_MARK: [u32; 2] = [OFFSET_OF_ARGUMENTS + 8 * 5, OFFSET_OF_ARGUMENTS + 8 * 5 + 4];

/// A call to look at.
#[derive(Clone, Copy)]
pub struct Trapped {
    /// The number of the call.
    pub number: u32,
    /// The place among its arguments of flags, and the bit with which it is not looked at: it is
    /// about an open file then.
    pub unless: Option<(u32, u32)>,
}

/// A call that a process makes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Call {
    id: u64,
    /// Of the thread.
    pub thread: u32,
    flags: u32,
    pub number: i32,
    architecture: u32,
    instruction: u64,
    pub arguments: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddedFile {
    id: u64,
    flags: u32,
    file: u32,
    number: u32,
    files_flags: u32,
}

#[repr(C)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Where the calls come that are to be looked at.
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Has this thread, and all that it starts from now on, wait at such calls, but for those that
    /// have the mark. Fails where the kernel cannot do that or a filter does not allow it.
    pub fn of_this_thread(trapped: &[Trapped], mark: Option<u64>) -> io::Result<Self> {
        sys::give_up_privileges()?;
        let instructions = program(trapped, mark);
        let length = u16::try_from(instructions.len())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let program = Program { length, instructions: instructions.as_ptr() };
        let (_, call) = ARCHITECTURE;
        let listen = |flags: usize| {
            let program = &program as *const Program as usize;
            sys::call(call, [SET_MODE_FILTER, flags, program, 0])
        };
        let fd = listen(NEW_LISTENER | WAIT_KILLABLE).or_else(|_| listen(NEW_LISTENER))?;
        let fd = c_int::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // SAFETY: the kernel has just made it for us.
        let listener = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        // An older kernel is slower without.
        let _ = sys::control(listener.as_fd(), SET_FLAGS, SYNC_WAKE_UP as usize);
        Ok(listener)
    }

    /// Whether a call has the numbers that this program knows.
    pub fn knows(call: &Call) -> bool {
        call.architecture == ARCHITECTURE.0 && call.number as u32 & OTHER_NUMBERS == 0
    }

    /// The next call; fails if the process that made it is gone.
    pub fn next(&self) -> io::Result<Call> {
        let mut call = Call::default();
        sys::control(self.as_fd(), RECEIVE, &mut call as *mut Call as usize)?;
        Ok(call)
    }

    /// Opens a file of this process for the one that called, as what the call was for; returns
    /// whether it did.
    pub fn open(&self, call: &Call, file: BorrowedFd<'_>) -> bool {
        let file = file.as_raw_fd() as u32;
        let mut added =
            AddedFile { id: call.id, flags: AND_SEND, file, number: 0, files_flags: O_CLOEXEC };
        sys::control(self.as_fd(), ADD_FILE, &mut added as *mut AddedFile as usize).is_ok()
    }

    /// Lets a call go on.
    pub fn go_on(&self, call: &Call) {
        let mut answer = Answer { id: call.id, value: 0, error: 0, flags: CONTINUE };
        // It fails if the process is gone by now.
        let _ = sys::control(self.as_fd(), SEND, &mut answer as *mut Answer as usize);
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> c_int {
        self.fd.as_raw_fd()
    }
}

/// The filter's program. All other calls go on. Those of another architecture have other numbers:
/// all of them are looked at, so that it is known that there were any.
fn program(trapped: &[Trapped], mark: Option<u64>) -> Vec<Instruction> {
    let statement = |code, value| Instruction { code, if_true: 0, if_false: 0, value };
    let jump = |code, value, if_true, if_false| Instruction { code, if_true, if_false, value };
    let mut program = vec![
        statement(LOAD, OFFSET_OF_ARCHITECTURE),
        jump(JUMP_IF_EQUAL, ARCHITECTURE.0, 1, 0),
        statement(RETURN, NOTIFY),
        statement(LOAD, OFFSET_OF_NUMBER),
        jump(JUMP_IF_ANY_BIT, OTHER_NUMBERS, 0, 1),
        statement(RETURN, NOTIFY),
    ];
    // All that is not looked at is let go by its number alone: such numbers the kernel remembers,
    // and runs no filter for them.
    for Trapped { number, unless } in trapped {
        let mut trap = vec![];
        if let Some((argument, bit)) = unless {
            trap.extend([
                statement(LOAD, OFFSET_OF_ARGUMENTS + 8 * argument),
                jump(JUMP_IF_ANY_BIT, *bit, 0, 1),
                statement(RETURN, ALLOW),
            ]);
        }
        if let Some(mark) = mark {
            let [low, high] = OFFSETS_OF_MARK;
            trap.extend([
                statement(LOAD, low),
                jump(JUMP_IF_EQUAL, mark as u32, 0, 3),
                statement(LOAD, high),
                jump(JUMP_IF_EQUAL, (mark >> 32) as u32, 0, 1),
                statement(RETURN, ALLOW),
            ]);
        }
        trap.push(statement(RETURN, NOTIFY));
        program.push(jump(JUMP_IF_EQUAL, *number, 0, trap.len() as u8));
        program.extend(trap);
    }
    program.push(statement(RETURN, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// Runs the filter's program as the kernel does.
    fn verdict(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        flags: u32,
        last: u64,
    ) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Instruction { code, if_true, if_false, value } = program[at];
            at += 1;
            match code {
                LOAD if value == OFFSET_OF_ARCHITECTURE => loaded = architecture,
                LOAD if value == OFFSET_OF_NUMBER => loaded = number,
                LOAD if value == OFFSETS_OF_MARK[0] => loaded = last as u32,
                LOAD if value == OFFSETS_OF_MARK[1] => loaded = (last >> 32) as u32,
                LOAD => loaded = flags,
                RETURN => return value,
                JUMP_IF_EQUAL => {
                    at += usize::from(if loaded == value { if_true } else { if_false })
                }
                _ => at += usize::from(if loaded & value != 0 { if_true } else { if_false }),
            }
        }
    }

    #[test]
    fn only_what_is_asked_for_is_looked_at() {
        let trapped =
            [Trapped { number: 7, unless: Some((3, 0x1000)) }, Trapped { number: 2, unless: None }];
        let mark = 0x8000_0001_8000_0002;
        for program in [program(&trapped, None), program(&trapped, Some(mark))] {
            let verdict = |number, flags| verdict(&program, ARCHITECTURE.0, number, flags, 9);
            assert_eq!(verdict(2, 0), NOTIFY);
            assert_eq!(verdict(7, 0x100), NOTIFY);
            assert_eq!(verdict(7, 0x1100), ALLOW);
            assert_eq!(verdict(3, 0), ALLOW);
            assert_eq!(verdict(3 | OTHER_NUMBERS, 0), NOTIFY);
            assert_eq!(super::tests::verdict(&program, 1, 3, 0, mark), NOTIFY);
        }
        let of_mark = |mark, last| verdict(&program(&trapped, mark), ARCHITECTURE.0, 2, 0, last);
        assert_eq!(of_mark(Some(mark), mark), ALLOW);
        assert_eq!(of_mark(None, mark), NOTIFY);
        for other in [mark ^ 1, mark ^ 1 << 40, mark << 32, mark >> 32, 0] {
            assert_eq!(of_mark(Some(mark), other), NOTIFY);
        }
    }

    #[test]
    fn a_call_waits_until_it_was_looked_at() {
        const UNLINKAT: u32 = if cfg!(target_arch = "x86_64") { 87 } else { 35 };
        let trapped = [Trapped { number: UNLINKAT, unless: None }];
        let (sender, listener) = std::sync::mpsc::channel();
        let asking = thread::spawn(move || {
            let listener = Listener::of_this_thread(&trapped, None).unwrap();
            sender.send(listener).unwrap();
            fs::remove_file("/nothing/there").unwrap_err()
        });
        let listener = listener.recv().unwrap();
        let call = listener.next().unwrap();
        assert_eq!(call.number, UNLINKAT as i32);
        assert!(!asking.is_finished());
        listener.go_on(&call);
        assert_eq!(asking.join().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
