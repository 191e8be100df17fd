//! Looks at what a task's processes touch: files, folders, programs, variables and addresses, there
//! or not. That bounds nothing; [`crate::rules`] do.
//!
//! Each call that touches something waits until it was noted ([`calls`]). Of what a library of ours
//! hears of variables it tells by asking for a path that is none.

mod calls;
mod memory;
mod seen;
mod words;

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::mpsc,
    thread::{Scope, ScopedJoinHandle},
};

pub use self::seen::Seen;
use self::{
    calls::{About, CALLS, Flags, O_CREATE, O_DIRECTORY, O_PATH, O_TRUNCATE, O_WRITE},
    memory::{LONGEST_PATH, Memory},
};
use crate::{
    sys::{
        self, Ready,
        seccomp::{Call, Listener, Trapped},
    },
    touched::How,
};

/// A process that is looked at, and all that it starts.
pub struct Observer<'scope> {
    looking: ScopedJoinHandle<'scope, Option<Seen>>,
    /// Its other end is closed to end it.
    _stop: OwnedFd,
}

impl<'scope> Observer<'scope> {
    /// Starts a process of a user, and looks at it if it `is_observed`.
    pub fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        mut command: Command,
        user: u32,
        is_observed: bool,
    ) -> io::Result<(io::Result<Child>, Self)> {
        let (stopped, stop) = sys::pipe(false)?;
        let (sender, receiver) = mpsc::channel();
        let looking = scope.spawn(move || {
            let listener: Listener = receiver.recv().ok()?;
            Some(look(&listener, &stopped, user))
        });
        // What a thread is held to is for good, so it is one that starts the process and ends.
        let starting = scope.spawn(move || {
            let trapped: Vec<Trapped> = CALLS.iter().map(|(trapped, _)| *trapped).collect();
            let listener = is_observed.then(|| Listener::of_this_thread(&trapped));
            if let Some(Ok(listener)) = listener {
                let _ = sender.send(listener);
            }
            drop(sender);
            command.spawn()
        });
        let child = starting.join().map_err(|_| io::Error::other("a thread panicked"))?;
        Ok((child, Self { looking, _stop: stop }))
    }

    /// What was seen, once no process is left; `None` if this kernel lets nobody look.
    pub fn end(self) -> Option<Seen> {
        drop(self._stop);
        self.looking.join().ok()?
    }
}

/// Has every program in this container whose C library is a shared one load our library, which
/// tells of variables. Without it, none are heard of.
pub fn hear_of_variables(bin: &Path) {
    let library = bin.join(LIBRARY);
    let loaded = Path::new("/etc/ld.so.preload");
    let before = fs::read_to_string(loaded).unwrap_or_default();
    let line = format!("{}\n", library.display());
    if library.exists() && !before.contains(&line) {
        let _ = fs::write(loaded, before + &line);
    }
}

/// As the image's compiler called it.
const LIBRARY: &str = "libvariables.so";

/// Notes what comes, until nobody is left who may call, or it is told to end.
fn look(listener: &Listener, stopped: &OwnedFd, user: u32) -> Seen {
    sys::look_as(user);
    let mut looking = Looking::default();
    loop {
        match sys::wait_any([listener.as_fd(), stopped.as_fd()], -1) {
            [Ready::Some, _] => {
                // Whoever called may be gone by now.
                let Ok(call) = listener.next() else { continue };
                looking.look_at(&call);
                listener.go_on(&call);
            }
            [Ready::Ended, _] | [_, Ready::Some | Ready::Ended] => return looking.seen,
            [Ready::Nothing, Ready::Nothing] => {}
        }
    }
}

#[derive(Default)]
struct Looking {
    seen: Seen,
    memory: Memory,
    /// Whether the task's own program was started: before that, nobody may look into the process.
    has_started: bool,
}

impl Looking {
    fn look_at(&mut self, call: &Call) {
        if !Listener::knows(call) {
            self.seen.missed("a program of another architecture");
            return;
        }
        let is_seen = self.note(call).is_some();
        if !is_seen && self.has_started {
            self.seen.missed("a process that nobody may look into");
        }
        self.has_started |= matches!(calls::about(call.number), Some(About::Run { .. }));
    }

    /// Notes what a call is about; `None` if that cannot be found out.
    fn note(&mut self, call: &Call) -> Option<()> {
        match calls::about(call.number)? {
            About::Ask(path) => self.add(How::Ask, call, path),
            About::Open { path, flags } => {
                let flags = match flags {
                    Flags::In(argument) => call.arguments[argument],
                    Flags::Behind(argument) => {
                        let bytes = self.memory.bytes(call.thread, call.arguments[argument], 8)?;
                        u64::from_ne_bytes(bytes.try_into().ok()?)
                    }
                    Flags::Always(flags) => flags,
                };
                self.add(how(flags), call, path)
            }
            About::Change(path) => self.add(How::Write, call, path),
            About::Move { from, to } => {
                self.add(How::Write, call, from)?;
                self.add(How::Write, call, to)
            }
            About::Run { program, words } => {
                let noted = self.add(How::Run, call, program);
                self.add_words(call, call.arguments[words]);
                // It gets another memory.
                self.memory.forget();
                noted
            }
            About::Connect { address, length } => {
                let length = usize::try_from(call.arguments[length]).ok()?.min(64);
                let bytes = self.memory.bytes(call.thread, call.arguments[address], length)?;
                self.seen.connected(&bytes);
                Some(())
            }
        }
    }

    fn add(&mut self, how: How, call: &Call, path: calls::Path) -> Option<()> {
        let text = self.memory.text(call.thread, call.arguments[path.text])?;
        if text.is_empty() || text.len() >= LONGEST_PATH {
            // Nothing can be there.
            return Some(());
        }
        let named = PathBuf::from(OsString::from_vec(text));
        if named.is_absolute() {
            self.seen.add(how, named);
            return Some(());
        }
        let from = match path.folder.map(|folder| call.arguments[folder] as i32) {
            Some(folder) if folder != AT_FDCWD => format!("fd/{folder}"),
            _ => "cwd".to_owned(),
        };
        let from = fs::read_link(format!("/proc/{}/{from}", call.thread)).ok()?;
        self.seen.add(how, from.join(named));
        Some(())
    }

    /// Notes the variables that a program is named in its words.
    fn add_words(&mut self, call: &Call, list: u64) -> Option<()> {
        for number in 0..MANY_WORDS {
            let address = self.memory.bytes(call.thread, list + 8 * number, 8)?;
            let address = u64::from_ne_bytes(address.try_into().ok()?);
            if address == 0 {
                break;
            }
            let word = self.memory.start_of_text(call.thread, address, LONG_WORD);
            words::names(&word).into_iter().for_each(|name| self.seen.named(name));
        }
        Some(())
    }
}

/// More words than this are files.
const MANY_WORDS: u64 = 64;
/// Of a longer word, only so much is looked at, in bytes.
const LONG_WORD: usize = 1 << 16;
const AT_FDCWD: i32 = -100;

fn how(flags: u64) -> How {
    if flags & (O_WRITE | O_CREATE | O_TRUNCATE) != 0 {
        How::Write
    } else if flags & O_DIRECTORY != 0 && flags & O_PATH == 0 {
        How::List
    } else if flags & O_PATH == 0 {
        How::Read
    } else {
        How::Ask
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::MetadataExt, thread};

    use super::*;
    use crate::{
        protocol::{Batch, Input, Task},
        rules::Image,
        store::Store,
        tests::Scratch,
        touched::Touch,
        view::{
            View,
            tests::{input, task},
        },
    };

    /// What a shell is seen to touch, but for programs and variables.
    fn seen_of(scratch: &Scratch, script: &str) -> BTreeSet<String> {
        let user = fs::metadata("/proc/self").unwrap().uid();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).current_dir(scratch.path("w"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let seen = thread::scope(|scope| {
            let (child, observer) = Observer::start(scope, command, user, true).unwrap();
            child.unwrap().wait().unwrap();
            observer.end().unwrap()
        });
        let given = vec![Input { is_writable: true, ..input(&scratch.path("w"), "s1", "p") }];
        let env = vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()];
        let task = Task { env, ..task("u1", &scratch.path("out"), given) };
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        let batch = Batch::default();
        let image = Image::of(&View::new(&batch, &store));
        let root = scratch.path("");
        let touches = seen.touches(&task, &image, &scratch.path("home"));
        let below = |Touch { how, what }: Touch| {
            let what = what.strip_prefix(root.to_str().unwrap()).unwrap_or(&what).to_owned();
            format!("{} {what}", how.name())
        };
        touches.into_iter().map(below).filter(|touch| !touch.starts_with("run")).collect()
    }

    #[test]
    fn what_a_shell_touches_is_seen() {
        let scratch = Scratch::new("what_a_shell_touches_is_seen");
        for folder in ["w/sub", "home", "out"] {
            fs::create_dir_all(scratch.path(folder)).unwrap();
        }
        fs::write(scratch.path("w/a"), "").unwrap();
        let case = |script: &str, expected: &[&str]| {
            let _ = fs::remove_dir(scratch.path("w/new"));
            let seen = seen_of(&scratch, script);
            let expected: BTreeSet<String> = expected.iter().map(|&touch| touch.into()).collect();
            assert!(expected.is_subset(&seen), "{script}: {seen:?}");
        };
        case("cat a ../b", &["read w/a", "read b"]);
        case("cat < a; test -e sub/c", &["read w/a", "ask w/sub/c"]);
        case("ls sub", &["list w/sub"]);
        case("cd sub && cat ../../d", &["read d"]);
        case("cat none/../a", &["ask w/none"]);
        case("echo > made; mkdir new; mv made moved", &["write w/made", "write w/new"]);
        case("echo > made; mv made moved", &["write w/moved"]);
        case("echo > ../outside", &["refuse outside"]);
        case("no-such-program-here", &["lack no-such-program-here"]);
    }
}
