//! One task's process: its user, its environment, what it says, and its end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::{
            fs::fchown,
            process::{CommandExt, ExitStatusExt},
        },
    },
    panic,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    files,
    observe::Observer,
    protocol::{Kind, Task},
    report::{Explain, Result},
    rules::Image,
    sys::{self, landlock::Ruleset},
    touched::Touch,
};

/// The variable that says where temporary files go.
const TEMPORARY: &str = "TMPDIR";
/// Where tasks find secrets' values.
const SECRETS: &str = "/run/secrets";
/// Users from here on are tasks': one for each that may run at once.
const FIRST_USER: u32 = 60_000;
/// Groups from here on are of tasks' outcomes.
const FIRST_GROUP: u32 = 20_000;
/// The numbers of the jobserver's files in each process. The standard library uses none of them at
/// the start of a process.
const JOBSERVER: [i32; 2] = [198, 199];

/// A place for one process at a time.
pub struct Slot {
    pub user: u32,
    /// Of files that are the worker's.
    folder: PathBuf,
}

/// What a task's process is held to, and what it gets in addition to what its task contains.
pub struct Terms<'a> {
    /// The groups that its user is in.
    pub groups: &'a [u32],
    pub rules: Option<&'a Ruleset>,
    /// The reading and the writing end of the jobserver's pipe.
    pub jobserver: [RawFd; 2],
    /// The folder that outlives the task. The task's words have another name for it.
    pub state: Option<&'a Path>,
    pub image: &'a Image,
    /// Whether nothing says where temporary files go, so that they go to `/tmp`.
    pub is_plain: bool,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// As a shell gives it: 128 and the signal's number for a process that was killed.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// How long it took.
    pub duration: Duration,
    /// Where it is what it wrote outside of its output folder, as outcomes have it, if anything.
    pub written: Option<PathBuf>,
    /// What it touched; `None` if this kernel lets nobody look.
    pub observed: Option<BTreeSet<Touch>>,
}

impl Slot {
    pub fn new(slots: &Path, number: usize) -> Result<Self> {
        let folder = slots.join(number.to_string());
        files::make_folder(&folder)?;
        let number = u32::try_from(number).explain(|| "there are too many slots".to_owned())?;
        let slot = Self { user: FIRST_USER + number, folder };
        slot.register()?;
        Ok(slot)
    }

    /// Makes its user known to programs that look for their home folder.
    fn register(&self) -> Result<()> {
        let (user, home) = (self.user, self.home());
        let line = format!("rustcbuildx-{user}:x:{user}:{user}::{}:/bin/sh\n", home.display());
        let users = Path::new("/etc/passwd");
        match fs::read_to_string(users) {
            Ok(known) if !known.contains(&line) => {
                fs::write(users, known + &line).explain(|| "failed to name a user".to_owned())
            }
            // An image without names of users has no program that looks for one.
            _ => Ok(()),
        }
    }

    /// The folder that its user may write to, whatever the task.
    pub fn private(&self) -> PathBuf {
        self.folder.join("own")
    }

    /// Makes it anew, with nothing of the last task in it.
    pub fn clean(&self) -> Result<()> {
        let own = self.private();
        let folders = [own.clone(), own.join("tmp"), self.home(), own.join("state")];
        folders.iter().try_for_each(|folder| files::make_private_folder(folder, self.user))
    }

    /// For what its user wrote outside of its output folder.
    pub fn written(&self) -> PathBuf {
        self.folder.join("written")
    }

    pub fn home(&self) -> PathBuf {
        self.private().join("home")
    }

    /// Runs a task. `on_early` is called once its metadata is there.
    pub fn run(
        &self,
        task: &Task,
        terms: &Terms<'_>,
        on_early: impl FnMut() + Send,
    ) -> Result<Ended> {
        let mut command = self.command(task, terms)?;
        let (user, groups) = (self.user, terms.groups.to_vec());
        let (umask, jobserver) = (task.umask, terms.jobserver);
        // Only pointers to what outlives the call are taken into the child.
        let rules: Option<&'static Ruleset> = terms.rules.map(|rules| {
            // SAFETY: the child is started, and has used it, before this function returns.
            unsafe { &*(rules as *const Ruleset) }
        });
        // SAFETY: nothing in there takes a lock or allocates.
        unsafe {
            command.pre_exec(move || {
                sys::start_session()?;
                for (fd, number) in jobserver.iter().zip(JOBSERVER) {
                    sys::inherit_as(*fd, number)?;
                }
                sys::umask(umask);
                sys::become_user(&sys::Identity { user, groups: &groups })?;
                rules.map_or(Ok(()), Ruleset::restrict_self)
            });
        }
        self.watch(task, command, terms.image, on_early)
    }

    fn command(&self, task: &Task, terms: &Terms<'_>) -> Result<Command> {
        let (program, arguments) = task.words.split_first().ok_or("a task has no program")?;
        let mut command = Command::new(program);
        let renamed = |word: &String| match (&task.state, terms.state) {
            (Some((_, named)), Some(state)) => {
                word.replace(named.as_str(), &state.to_string_lossy())
            }
            _ => word.clone(),
        };
        command
            .args(arguments.iter().map(renamed))
            .env_clear()
            .current_dir(&task.folder)
            .stdin(Stdio::null());
        if !terms.is_plain {
            command.env(TEMPORARY, self.private().join("tmp"));
        }
        let [read, write] = JOBSERVER;
        command.env(
            "CARGO_MAKEFLAGS",
            format!("-j --jobserver-fds={read},{write} --jobserver-auth={read},{write}"),
        );
        if task.kind == Kind::Script {
            command.env("HOME", self.home());
        }
        for variable in &task.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            command.env(name, value);
        }
        for (name, _) in &task.secrets {
            let path = Path::new(SECRETS).join(name);
            let value = fs::read(&path).explain(|| format!("failed to read the secret {name}"))?;
            command.env(
                name,
                <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(value),
            );
        }
        Ok(command)
    }

    /// Starts it, and waits for its end and for that of all that it started.
    fn watch(
        &self,
        task: &Task,
        mut command: Command,
        image: &Image,
        mut on_early: impl FnMut() + Send,
    ) -> Result<Ended> {
        let (said, heard) = (self.folder.join("stdout"), self.folder.join("stderr"));
        let (stdout, mut stderr) = (self.file(&said)?, self.file(&heard)?);
        // Metadata is announced while a compile goes on.
        let announced = if task.kind == Kind::Compile { Some(self.pipe()?) } else { None };
        let (reading, writing) = announced.unzip();
        command.stdout(stdout);
        command.stderr(match writing {
            Some(writing) => Stdio::from(writing),
            None => Stdio::from(stderr.try_clone().explain(|| "failed to open a file".to_owned())?),
        });
        let began = Instant::now();
        let (status, seen) = thread::scope(|scope| -> io::Result<_> {
            let (spawned, observer) = Observer::start(scope, command, self.user, task.is_observed)?;
            let stderr = &mut stderr;
            let status = match spawned {
                Ok(mut child) => {
                    let copying = reading.map(|from| {
                        scope.spawn(move || copy_lines(File::from(from), stderr, &mut on_early))
                    });
                    let status = child.wait();
                    // What it left running would hold the pipe open.
                    sys::kill_all_of(self.user)?;
                    copying.map_or(Ok(()), |copying| {
                        copying.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
                    })?;
                    status?
                }
                Err(error) => {
                    writeln!(stderr, "{}: {error}", task.words[0])?;
                    ExitStatus::from_raw(127 << 8)
                }
            };
            Ok((status, observer.end()))
        })
        .explain(|| format!("failed to hear what {} says", task.name))?;
        let read =
            |path: &Path| fs::read(path).explain(|| format!("failed to read `{}`", path.display()));
        Ok(Ended {
            status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: read(&said)?,
            stderr: read(&heard)?,
            duration: began.elapsed(),
            written: None,
            observed: seen.map(|seen| seen.touches(task, image, &self.home())),
        })
    }

    /// A new file that the task may open anew, by way of `/dev/stdout`.
    fn file(&self, path: &Path) -> Result<File> {
        let open = || -> io::Result<File> {
            let file = File::options().create(true).truncate(true).write(true).open(path)?;
            fchown(&file, Some(self.user), None)?;
            Ok(file)
        };
        open().explain(|| format!("failed to make `{}`", path.display()))
    }

    fn pipe(&self) -> Result<(OwnedFd, OwnedFd)> {
        let make = || -> io::Result<_> {
            let (reading, writing) = sys::pipe(false)?;
            fchown(&writing, Some(self.user), None)?;
            Ok((reading, writing))
        };
        make().explain(|| "failed to make a pipe".to_owned())
    }
}

/// Copies what a compiler says, and looks for the word that its metadata is there.
///
/// Source: rustc book, "JSON Output", artifact notifications.
fn copy_lines(from: File, to: &mut File, on_early: &mut impl FnMut()) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let mut copied = Ok(());
    while from.read_until(b'\n', &mut line)? > 0 {
        // Where the disk is full, the compiler still gets rid of the rest.
        copied = copied.and_then(|()| to.write_all(&line));
        if is_of_metadata(&line) {
            on_early();
        }
        line.clear();
    }
    copied
}

fn is_of_metadata(line: &[u8]) -> bool {
    let has = |text: &[u8]| line.windows(text.len()).any(|part| part == text);
    line.starts_with(b"{\"$message_type\":\"artifact\"") && has(b"\"emit\":\"metadata\"")
}

/// Whether a compile put the variable in its outcome that only the worker sets.
///
/// Source: rustc's dep-info.
pub fn bakes_in_temporary(dep_info: &str) -> bool {
    let of_variable = |line: &str| {
        line.strip_prefix("# env-dep:")
            .is_some_and(|rest| rest.split('=').next() == Some(TEMPORARY))
    };
    dep_info.lines().any(of_variable)
}

/// Has git read a repository whose files are another user's: here they are nobody's own.
///
/// Source: git-config(1), `safe.directory`.
pub fn trust_repositories() {
    let config = Path::new("/etc/gitconfig");
    let before = fs::read_to_string(config).unwrap_or_default();
    // Without it, git says what is wrong.
    let _ = fs::write(config, before + "[safe]\n\tdirectory = *\n");
}

/// The group of those who may read what a task of this number makes.
pub fn group_of(number: usize) -> Result<u32> {
    let number = u32::try_from(number).ok().filter(|number| *number < 40_000);
    number
        .map(|number| FIRST_GROUP + number)
        .ok_or_else(|| "there are too many tasks in the batch".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_workers_is_noticed() {
        assert!(bakes_in_temporary("a.d: a.rs\n\n# env-dep:HOME=/root\n# env-dep:TMPDIR=/x\n"));
        assert!(
            bakes_in_temporary("# env-dep:TMPDIR\n")
                && !bakes_in_temporary("# env-dep:TMPDIRS=/x\n")
        );
    }

    #[test]
    fn only_metadata_is_early() {
        let line = |emit: &str| {
            format!(
                "{{\"$message_type\":\"artifact\",\"artifact\":\"/t/a\",\"emit\":\"{emit}\"}}\n"
            )
        };
        assert!(is_of_metadata(line("metadata").as_bytes()));
        assert!(!is_of_metadata(line("link").as_bytes()));
        assert!(!is_of_metadata(
            b"warning: {\"$message_type\":\"artifact\" \"emit\":\"metadata\"\n"
        ));
    }
}
