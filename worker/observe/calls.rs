//! The calls of the kernel that tell what a process touches, and what each of them is about.
//!
//! Source: the kernel's tables of calls (`syscall_64.tbl`, `asm-generic/unistd.h`), and the manual
//! pages of the calls.

use crate::sys::seccomp::Trapped;

/// What a call is about, by the places of its arguments.
#[derive(Clone, Copy)]
pub enum About {
    /// Opens a path, by flags.
    Open { path: Path, flags: Flags },
    /// Asks whether there is something at a path, and what.
    Ask(Path),
    /// Makes, moves, removes or changes what is at a path.
    Change(Path),
    /// Moves or links what is at a path to another one.
    Move { from: Path, to: Path },
    /// Makes a link at a path, with a text that says where it leads.
    Link { text: usize, at: Path },
    /// Starts a program with words, by the place of the argument where their addresses are.
    Run { program: Path, words: usize },
    /// Speaks to an address.
    Connect { address: usize, length: usize },
}

/// An argument that is a path, and the one that is the folder from which it goes out, if not from
/// the process's own.
#[derive(Clone, Copy)]
pub struct Path {
    pub text: usize,
    pub folder: Option<usize>,
}

#[derive(Clone, Copy)]
pub enum Flags {
    In(usize),
    /// Where the memory is that begins with them.
    Behind(usize),
    Always(u64),
}

const fn at(folder: usize) -> Path {
    Path { text: folder + 1, folder: Some(folder) }
}

#[cfg(target_arch = "x86_64")]
const fn of(text: usize) -> Path {
    Path { text, folder: None }
}

pub const O_WRITE: u64 = 0o3;
pub const O_CREATE: u64 = 0o100;
pub const O_TRUNCATE: u64 = 0o1000;
pub const O_PATH: u64 = 0o10000000;
pub const O_DIRECTORY: u64 = if cfg!(target_arch = "aarch64") { 0o40000 } else { 0o200000 };
/// In flags: the call is about an open file.
const AT_EMPTY_PATH: u32 = 0x1000;

const fn on(number: u32, about: About) -> (Trapped, About) {
    (Trapped { number, unless: None }, about)
}

const fn unless_open(number: u32, flags: u32, about: About) -> (Trapped, About) {
    (Trapped { number, unless: Some((flags, AT_EMPTY_PATH)) }, about)
}

#[cfg(target_arch = "x86_64")]
pub const CALLS: &[(Trapped, About)] = &[
    on(257, About::Open { path: at(0), flags: Flags::In(2) }),
    unless_open(262, 3, About::Ask(at(0))),
    unless_open(332, 2, About::Ask(at(0))),
    on(2, About::Open { path: of(0), flags: Flags::In(1) }),
    on(4, About::Ask(of(0))),
    on(6, About::Ask(of(0))),
    on(21, About::Ask(of(0))),
    on(269, About::Ask(at(0))),
    on(439, About::Ask(at(0))),
    on(437, About::Open { path: at(0), flags: Flags::Behind(2) }),
    on(59, About::Run { program: of(0), words: 1 }),
    on(322, About::Run { program: at(0), words: 2 }),
    on(80, About::Ask(of(0))),
    on(89, About::Ask(of(0))),
    on(267, About::Ask(at(0))),
    on(42, About::Connect { address: 1, length: 2 }),
    on(85, About::Open { path: of(0), flags: Flags::Always(O_CREATE | 1) }),
    on(76, About::Change(of(0))),
    on(83, About::Change(of(0))),
    on(258, About::Change(at(0))),
    on(84, About::Change(of(0))),
    on(87, About::Change(of(0))),
    on(263, About::Change(at(0))),
    on(82, About::Move { from: of(0), to: of(1) }),
    on(264, About::Move { from: at(0), to: at(2) }),
    on(316, About::Move { from: at(0), to: at(2) }),
    on(86, About::Move { from: of(0), to: of(1) }),
    on(265, About::Move { from: at(0), to: at(2) }),
    on(90, About::Change(of(0))),
    on(268, About::Change(at(0))),
    on(452, About::Change(at(0))),
    on(92, About::Change(of(0))),
    on(94, About::Change(of(0))),
    on(260, About::Change(at(0))),
    on(132, About::Change(of(0))),
    on(235, About::Change(of(0))),
    on(261, About::Change(at(0))),
    on(280, About::Change(at(0))),
    on(133, About::Change(of(0))),
    on(259, About::Change(at(0))),
    on(137, About::Ask(of(0))),
    on(191, About::Ask(of(0))),
    on(192, About::Ask(of(0))),
    on(194, About::Ask(of(0))),
    on(195, About::Ask(of(0))),
    on(254, About::Ask(of(1))),
    on(88, About::Link { text: 0, at: of(1) }),
    on(266, About::Link { text: 0, at: at(1) }),
];

#[cfg(target_arch = "aarch64")]
pub const CALLS: &[(Trapped, About)] = &[
    on(56, About::Open { path: at(0), flags: Flags::In(2) }),
    unless_open(79, 3, About::Ask(at(0))),
    unless_open(291, 2, About::Ask(at(0))),
    on(48, About::Ask(at(0))),
    on(439, About::Ask(at(0))),
    on(437, About::Open { path: at(0), flags: Flags::Behind(2) }),
    on(221, About::Run { program: Path { text: 0, folder: None }, words: 1 }),
    on(281, About::Run { program: at(0), words: 2 }),
    on(49, About::Ask(Path { text: 0, folder: None })),
    on(78, About::Ask(at(0))),
    on(203, About::Connect { address: 1, length: 2 }),
    on(45, About::Change(Path { text: 0, folder: None })),
    on(34, About::Change(at(0))),
    on(35, About::Change(at(0))),
    on(38, About::Move { from: at(0), to: at(2) }),
    on(276, About::Move { from: at(0), to: at(2) }),
    on(37, About::Move { from: at(0), to: at(2) }),
    on(53, About::Change(at(0))),
    on(452, About::Change(at(0))),
    on(54, About::Change(at(0))),
    on(88, About::Change(at(0))),
    on(33, About::Change(at(0))),
    on(43, About::Ask(Path { text: 0, folder: None })),
    on(8, About::Ask(Path { text: 0, folder: None })),
    on(9, About::Ask(Path { text: 0, folder: None })),
    on(11, About::Ask(Path { text: 0, folder: None })),
    on(12, About::Ask(Path { text: 0, folder: None })),
    on(27, About::Ask(Path { text: 1, folder: None })),
    on(36, About::Link { text: 0, at: at(1) }),
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub const CALLS: &[(Trapped, About)] = &[];

/// What a call is about.
pub fn about(number: i32) -> Option<About> {
    let number = u32::try_from(number).ok()?;
    CALLS.iter().find(|(trapped, _)| trapped.number == number).map(|(_, about)| *about)
}
