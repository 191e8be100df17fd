//! Looks at what a task's processes touch: files, folders, programs, variables and addresses, there
//! or not. That bounds nothing; [`crate::rules`] do.
//!
//! Each call that touches something waits until it was noted ([`calls`]), unless a library of ours,
//! which programs load, announced it in memory that all processes of the task share. What that
//! library hears of variables it announces as if it asked for a path that is none.

mod calls;
mod seen;
mod words;

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::mpsc,
    thread::{Scope, ScopedJoinHandle},
};

use self::calls::{About, CALLS, Flags, O_CREATE, O_DIRECTORY, O_PATH, O_TRUNCATE, O_WRITE};
use self::seen::Program;
pub use self::seen::Seen;
use crate::{
    bytes::{
        memory::{LONGEST_PATH, Memory},
        ring_buffer::{self, LONGEST},
    },
    protocol::SHARED,
    sys::{
        self, Ready,
        seccomp::{Call, Listener, Trapped},
        shared::SharedRing,
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
        // Without it, each call waits.
        let shared = if is_observed { SharedRing::new().ok() } else { None };
        let mark = shared.as_ref().map(SharedRing::mark);
        let looking = scope.spawn(move || {
            let listener: Listener = receiver.recv().ok()?;
            Some(look(&listener, shared, &stopped, user))
        });
        // What a thread is held to is for good, so it is one that starts the process and ends.
        let starting = scope.spawn(move || {
            let trapped: Vec<Trapped> = CALLS.iter().map(|(trapped, _)| *trapped).collect();
            let listener = is_observed.then(|| Listener::of_this_thread(&trapped, mark));
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

/// Has every program in this container whose C library is a shared one load our library. Without
/// it, nothing is heard of variables.
pub fn preload(bin: &Path) {
    let library = bin.join(LIBRARY);
    let loaded = Path::new("/etc/ld.so.preload");
    let before = fs::read_to_string(loaded).unwrap_or_default();
    let line = format!("{}\n", library.display());
    if !before.contains(&line) && sys::can_be_loaded(&library) {
        let _ = fs::write(loaded, before + &line);
    }
}

/// As the image's compiler called it.
const LIBRARY: &str = "libpreload.so";

/// Notes what comes, until nobody is left who may call, or it is told to end.
fn look(listener: &Listener, shared: Option<SharedRing>, stopped: &OwnedFd, user: u32) -> Seen {
    sys::look_as(user);
    let mut looking = Looking { shared, ..Looking::default() };
    loop {
        match sys::wait_any([listener.as_fd(), stopped.as_fd()], -1) {
            [Ready::Some, _] => {
                // Whoever called may be gone by now.
                let Ok(call) = listener.next() else { continue };
                looking.hear();
                if !looking.shares(listener, &call) {
                    looking.look_at(&call);
                    listener.go_on(&call);
                }
            }
            [Ready::Ended, _] | [_, Ready::Some | Ready::Ended] => return looking.end(),
            [Ready::Nothing, Ready::Nothing] => {}
        }
    }
}

#[derive(Default)]
struct Looking {
    seen: Seen,
    memory: Memory,
    /// By threads, as long as they run no other.
    programs: HashMap<u32, Program>,
    shared: Option<SharedRing>,
    /// Whether the task's own program was started: before that, nobody may look into the process.
    has_started: bool,
}

impl Looking {
    /// Notes what processes announced since the last call. What changes a file is a call that
    /// waits, so what was announced before it is noted before it.
    fn hear(&mut self) {
        let Some(shared) = &self.shared else { return };
        let mut text = [0; LONGEST];
        while let Some((kind, length)) = shared.ring().next(&mut text) {
            let how = match kind {
                ring_buffer::ASK => How::Ask,
                ring_buffer::READ => How::Read,
                ring_buffer::LIST => How::List,
                // A process may write anything there.
                _ => continue,
            };
            let mut parts = text[..length].splitn(2, |byte| *byte == 0);
            if let (Some(program), Some(path)) = (parts.next(), parts.next()) {
                let by = self.seen.program(&String::from_utf8_lossy(program));
                self.seen.add(by, how, Path::new(OsStr::from_bytes(path)));
            }
        }
    }

    /// Gives the memory to a process that asks for it; returns whether it did.
    fn shares(&mut self, listener: &Listener, call: &Call) -> bool {
        let (Some(shared), Some(About::Open { path, flags: Flags::In(flags) })) =
            (&self.shared, calls::about(call.number))
        else {
            return false;
        };
        // Hardly any other file is opened in this way.
        Listener::knows(call)
            && call.arguments[flags] as u32 == O_READ_WRITE | O_CLOSED_BY_PROGRAMS
            && self.memory.text(call.thread, call.arguments[path.text]).as_deref()
                == Some(SHARED.as_bytes())
            && listener.open(call, shared.as_fd())
    }

    /// What was seen, once no process is left.
    fn end(mut self) -> Seen {
        self.hear();
        if self.shared.is_some_and(|shared| shared.ring().has_more()) {
            self.seen.missed("what a process announced that was ended meanwhile");
        }
        self.seen
    }

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
            About::Link { text, at } => {
                let text = self.memory.text(call.thread, call.arguments[text])?;
                let link = self.named(call, at)?;
                if let Some(folder) = link.parent() {
                    let there = folder.join(OsString::from_vec(text));
                    let by = self.program(call);
                    self.seen.add(by, How::Link, &there);
                }
                self.add_named(How::Write, call, link);
                Some(())
            }
            About::Run { program, words } => {
                let noted = self.add(How::Run, call, program);
                self.add_words(call, call.arguments[words]);
                // It gets another memory.
                self.memory.forget();
                self.programs.remove(&call.thread);
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
        let named = self.named(call, path)?;
        self.add_named(how, call, named);
        Some(())
    }

    fn add_named(&mut self, how: How, call: &Call, named: PathBuf) {
        if !named.as_os_str().is_empty() {
            let by = self.program(call);
            self.seen.add(by, how, &named);
        }
    }

    /// The program that a thread runs.
    fn program(&mut self, call: &Call) -> Program {
        *self.programs.entry(call.thread).or_insert_with(|| {
            let program = fs::read_link(format!("/proc/{}/exe", call.thread)).unwrap_or_default();
            let name = program.file_name().unwrap_or_default();
            self.seen.program(&name.to_string_lossy())
        })
    }

    /// The path that a process names, from the root. Empty if nothing can be there.
    fn named(&mut self, call: &Call, path: calls::Path) -> Option<PathBuf> {
        if call.arguments[path.text] == 0 {
            // It is about an open file.
            return Some(PathBuf::new());
        }
        let text = self.memory.text(call.thread, call.arguments[path.text])?;
        if text.is_empty() || text.len() >= LONGEST_PATH {
            return Some(PathBuf::new());
        }
        let named = PathBuf::from(OsString::from_vec(text));
        if named.is_absolute() {
            return Some(without_links_of_kernel(call.thread, named));
        }
        let from = match path.folder.map(|folder| call.arguments[folder] as i32) {
            Some(folder) if folder != AT_FDCWD => format!("fd/{folder}"),
            _ => "cwd".to_owned(),
        };
        let from = fs::read_link(format!("/proc/{}/{from}", call.thread)).ok()?;
        Some(from.join(named))
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
            words::names(&word.unwrap_or_default())
                .into_iter()
                .for_each(|name| self.seen.named(name));
        }
        Some(())
    }
}

/// Where a thread comes to by a path that leads through what the kernel tells of processes, such as
/// `/proc/self/cwd/file`: to the file in its folder.
fn without_links_of_kernel(thread: u32, path: PathBuf) -> PathBuf {
    let below = match (path.strip_prefix("/proc"), path.strip_prefix("/dev/fd")) {
        (Ok(below), _) => below.to_owned(),
        (_, Ok(number)) => Path::new("self/fd").join(number),
        _ => return path,
    };
    let mut at = PathBuf::from("/proc");
    let mut rest = below.components();
    while let Some(component) = rest.next() {
        match component.as_os_str().to_str() {
            Some("self" | "thread-self") => at.push(thread.to_string()),
            _ => at.push(component),
        }
        if let Ok(there) = fs::read_link(&at) {
            // Not all of them lead to something that has a path.
            return if there.is_absolute() { there.join(rest.as_path()) } else { path };
        }
    }
    path
}

/// More words than this are files.
const MANY_WORDS: u64 = 64;
/// Of a longer word, only so much is looked at, in bytes.
const LONG_WORD: usize = 1 << 16;
const AT_FDCWD: i32 = -100;
const O_READ_WRITE: u32 = 2;
const O_CLOSED_BY_PROGRAMS: u32 = 0o2000000;

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
    use std::{
        collections::BTreeSet,
        os::unix::fs::{MetadataExt, symlink},
        process::Stdio,
        thread,
    };

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

    /// The library that programs load.
    fn library(scratch: &Scratch) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/preload/lib.rs");
        let mut rustc = Command::new("rustc");
        rustc.args(["--crate-name=preload", "--crate-type=cdylib", "--edition=2021"]);
        rustc.args(["-Cpanic=abort", "-Copt-level=2", "-Cforce-frame-pointers=yes"]);
        rustc.arg("--out-dir").arg(scratch.path("")).arg(source);
        assert!(rustc.status().unwrap().success());
        let library = scratch.path(LIBRARY);
        assert!(sys::can_be_loaded(&library));
        library
    }

    /// What a shell that loads this is seen to touch, but for programs and variables.
    fn seen_of(scratch: &Scratch, script: &str, preload: &Path) -> BTreeSet<String> {
        let user = fs::metadata("/proc/self").unwrap().uid();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).current_dir(scratch.path("w"));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("LD_PRELOAD", preload);
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
        let below = |Touch { how, what, .. }: Touch| {
            let what = what.strip_prefix(root.to_str().unwrap()).unwrap_or(&what).to_owned();
            format!("{} {what}", how.name())
        };
        let is_other = |touch: &String| {
            let is_variable = touch.starts_with("variable") || touch.starts_with("tool-variable");
            !touch.starts_with("run") && !is_variable && !touch.contains(LIBRARY)
        };
        touches.into_iter().map(below).filter(is_other).collect()
    }

    #[test]
    fn what_a_shell_touches_is_seen() {
        let scratch = Scratch::new("what_a_shell_touches_is_seen");
        let library = library(&scratch);
        let case = |script: &str, expected: &[&str]| {
            let both = [Path::new(""), &library].map(|preload| {
                for folder in ["w", "w/sub", "home", "out"] {
                    let _ = fs::remove_dir_all(scratch.path(folder));
                    fs::create_dir(scratch.path(folder)).unwrap();
                }
                fs::write(scratch.path("w/a"), "").unwrap();
                seen_of(&scratch, script, preload)
            });
            let [seen, announced] = both;
            let expected: BTreeSet<String> = expected.iter().map(|&touch| touch.into()).collect();
            assert!(expected.is_subset(&seen), "{script}: {seen:?}");
            assert_eq!(announced, seen, "{script}");
            seen
        };
        case("cat /proc/self/maps > maps", &["write w/maps"]);
        let maps = fs::read_to_string(scratch.path("w/maps")).unwrap();
        assert!(maps.contains("rustcbuildx"), "{maps}");
        case("cat a ../b", &["read w/a", "read b"]);
        case("cat < a; test -e sub/c", &["read w/a", "ask w/sub/c"]);
        case("ls sub", &["list w/sub"]);
        case("cd sub && cat ../../d", &["read d"]);
        case("cat none/../a", &["ask w/none"]);
        case("echo > made; mkdir new; mv made moved", &["write w/made", "write w/new"]);
        case("echo > made; mv made moved", &["write w/moved"]);
        case("echo > ../outside", &["refuse outside"]);
        case("cat /proc/self/cwd/a", &["read w/a"]);
        case("cat //proc/self/cwd/a /proc/./self/cwd/b", &["read w/a", "read w/b"]);
        case("exec 5<sub; cat /dev//fd/5/c /dev/./fd/5/d", &["read w/sub/c", "read w/sub/d"]);
        case("exec 5<sub; cat /proc/self/fd/5/c /dev/fd/5/d", &["read w/sub/c", "read w/sub/d"]);
        case("rm -f l; ln -s ../w/sub l", &["write w/l", "link w/sub"]);
        case("ln -sfn ../w ../out/l; cat ../out/l/a", &["link w", "read w/a"]);
        case("ln -sfn ../w/a ../out/m; cat ../out/m", &["read w/a"]);
        let seen = case("ln -sfn ../b ../out/n", &["link b"]);
        assert!(!seen.contains("refuse b"), "{seen:?}");
        case("chmod 600 a; touch -d 2020-01-01 a; touch -c sub/e", &["write w/a", "write w/sub/e"]);
        case("stat -f a ../f", &["ask w/a", "ask f"]);
        case("no-such-program-here", &["lack no-such-program-here"]);
    }

    /// What a program prints that is looked at and loads this.
    fn printed(scratch: &Scratch, program: &Path, preload: &Path) -> String {
        let user = fs::metadata("/proc/self").unwrap().uid();
        let mut command = Command::new(program);
        command.current_dir(scratch.path("w")).stdout(Stdio::piped()).env_clear();
        command.env("LD_PRELOAD", preload);
        thread::scope(|scope| {
            let (child, observer) = Observer::start(scope, command, user, true).unwrap();
            let output = child.unwrap().wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            observer.end().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    }

    #[test]
    fn the_library_answers_as_the_c_library_does() {
        const PROGRAM: &str = r#"
            use std::{env, ffi::*, fs::{self, File, OpenOptions}, io::Read, os::fd::AsRawFd};
            extern "C" {
                fn realpath(path: *const c_char, found: *mut c_char) -> *mut c_char;
                fn openat(folder: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
                fn access(path: *const c_char, mode: c_int) -> c_int;
            }
            fn main() {
                let long = format!("{}a", "./".repeat(2500));
                let paths = ["", ".", "..", "a", "/", "a/", "sub", "sub/", "sub/../a", "none",
                    "none/..", "to-a", "to-sub", "to-sub/..", "to-sub/b", "to-none", "loop", "a/b",
                    "to-a/b", "/proc/self/cwd/a", "/dev/null", "b (deleted)", "made/../a", &long];
                for path in paths {
                    let mut text = String::new();
                    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
                    let c_path = CString::new(path).unwrap();
                    let accessed = unsafe { access(c_path.as_ptr(), 4) };
                    let mut found = [0 as c_char; 4096];
                    let real = unsafe { realpath(c_path.as_ptr(), found.as_mut_ptr()) };
                    let real = (!real.is_null()).then(|| unsafe { CStr::from_ptr(real) });
                    let new = unsafe { realpath(c_path.as_ptr(), std::ptr::null_mut()) };
                    let error = std::io::Error::last_os_error();
                    let new = (!new.is_null()).then(|| unsafe { CStr::from_ptr(new) }).ok_or(error);
                    println!("{path}: {read:?} {text} {accessed} {real:?} {new:?} {:?} {:?} {:?} {:?} {:?} {:?}",
                        fs::canonicalize(path), fs::read_link(path),
                        fs::metadata(path).map(|found| (found.len(), found.file_type())),
                        fs::symlink_metadata(path).map(|found| (found.len(), found.file_type())),
                        fs::read_dir(path).map(|list| list.count()),
                        unsafe { CStr::from_ptr(found.as_ptr()) });
                }
                let sub = File::open("sub").unwrap();
                let b = unsafe { openat(sub.as_raw_fd(), c"b".as_ptr(), 0) };
                println!("{}", fs::read_link(format!("/proc/self/fd/{b}")).unwrap().display());
                let mut new = OpenOptions::new();
                println!("{:?}", new.write(true).create_new(true).open("new").map(drop));
                println!("{:?}", new.open("new").map(drop));
                println!("{}", fs::metadata("new").unwrap().permissions().readonly());
                let gone = unsafe { access(std::ptr::null(), 0) };
                println!("{gone} {}", std::io::Error::last_os_error());
                env::set_current_dir("sub").unwrap();
                println!("{:?}", fs::read_to_string("b"));
                fs::remove_file("b").unwrap();
                fs::remove_dir("../sub").unwrap();
                println!("{:?} {:?}", fs::read_to_string("b"), fs::canonicalize("."));
            }"#;
        let scratch = Scratch::new("the_library_answers_as_the_c_library_does");
        let [source, program] = ["program.rs", "program"].map(|name| scratch.path(name));
        fs::write(&source, PROGRAM).unwrap();
        let mut rustc = Command::new("rustc");
        let compiled = rustc.arg("--edition=2021").arg(&source).arg("-o").arg(&program).status();
        assert!(compiled.unwrap().success());
        let library = library(&scratch);
        let [plain, ours] = [Path::new(""), &library].map(|preload| {
            let _ = fs::remove_dir_all(scratch.path("w"));
            fs::create_dir_all(scratch.path("w/sub")).unwrap();
            let links = [("a", "to-a"), ("sub", "to-sub"), ("none", "to-none"), ("loop", "loop")];
            for (to, link) in links {
                symlink(to, scratch.path("w").join(link)).unwrap();
            }
            for file in ["a", "sub/b", "b (deleted)"] {
                fs::write(scratch.path("w").join(file), file).unwrap();
            }
            printed(&scratch, &program, preload)
        });
        assert!(plain.contains("Some") && plain.contains("Err("), "{plain}");
        assert_eq!(plain, ours);
    }
}
