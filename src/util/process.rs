//! Starts processes: the only place that does, and the only user of tokio.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File},
    io::{self, PipeReader, PipeWriter},
    os::{
        fd::{OwnedFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    panic,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::util::{disk, quote};

/// A process to start: it can be shown, logged and run by hand.
#[derive(Clone, Debug, Default)]
pub struct Cmd {
    pub program: String,
    pub args: Vec<String>,
    /// Variables added to this process's own.
    pub env: Vec<(String, String)>,
    /// What stands in the place of this process's own variables.
    pub environment: Option<Environment>,
    pub stdin: String,
}

/// All variables of a process.
pub type Environment = Vec<(OsString, OsString)>;

/// What a process that ended left.
pub struct Finished<T = File> {
    pub status: ExitStatus,
    /// Standard output, to be read from its start, or what was made of it.
    pub stdout: T,
    pub stderr: String,
}

impl Cmd {
    pub fn new(
        program: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl fmt::Display for Cmd {
    /// As a shell takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quote::word(value))?;
        }
        write!(f, "{} {}", quote::word(&self.program), quote::words(&self.args))?;
        if !self.stdin.is_empty() {
            write!(f, " <<'END'\n{}END", self.stdin)?;
        }
        Ok(())
    }
}

/// Runs a process to its end. It dies with this one: an engine's client that dies cancels its
/// build.
///
/// Fails if the process cannot be started; a status other than 0 is the caller's to judge.
pub fn run(cmd: &Cmd) -> Result<Finished> {
    let mut stdout = disk::temporary(tempfile::tempfile())?;
    let (status, stderr) = run_writing(cmd, stdout.try_clone()?.into(), |_| {})?;
    io::Seek::rewind(&mut stdout)?;
    Ok(Finished { status, stdout, stderr })
}

/// The same, with nothing to read, for at most so long: then it is ended.
pub fn run_within(cmd: &Cmd, limit: Duration) -> Result<Finished> {
    let mut stdout = disk::temporary(tempfile::tempfile())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start tokio")?;
    let to = stdout.try_clone()?.into();
    let ended =
        runtime.block_on(async { tokio::time::timeout(limit, run_async(cmd, to, |_| {})).await });
    let (status, stderr) = ended
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        .with_context(|| format!("failed to run `{}`", cmd.program))?;
    io::Seek::rewind(&mut stdout)?;
    Ok(Finished { status, stdout, stderr })
}

/// The same as [`run`]; `watch` gets each line of standard error as it comes, and `take`, on a
/// thread of its own, standard output.
pub fn run_watched<T: Send>(
    cmd: &Cmd,
    watch: impl FnMut(&str),
    take: impl FnOnce(PipeReader) -> T + Send,
) -> Result<Finished<T>> {
    let (reader, writer) = io::pipe().context("failed to make a pipe")?;
    thread::scope(|scope| {
        let taken = scope.spawn(|| take(reader));
        let (status, stderr) = run_writing(cmd, writer.into(), watch)?;
        let stdout = taken.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
        Ok(Finished { status, stdout, stderr })
    })
}

/// Returns the status and what was said on standard error.
fn run_writing(
    cmd: &Cmd,
    stdout: OwnedFd,
    watch: impl FnMut(&str),
) -> Result<(ExitStatus, String)> {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("failed to start tokio")?;
    let (status, stderr) = runtime
        .block_on(run_async(cmd, stdout, watch))
        .with_context(|| format!("failed to run `{}`", cmd.program))?;
    log::debug!("`{}` took {} ms: {status}", cmd.program, start.elapsed().as_millis());
    Ok((status, stderr))
}

async fn run_async(
    cmd: &Cmd,
    stdout: OwnedFd,
    mut watch: impl FnMut(&str),
) -> Result<(ExitStatus, String)> {
    let mut command = Command::from(command(cmd));
    // The CLI would take it for an argument of the build and date its output by it.
    command.env_remove("SOURCE_DATE_EPOCH");
    command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).kill_on_drop(true);
    end_with_this(command.as_std_mut());
    let mut child = command.spawn()?;
    let (mut stdin, stderr) =
        (child.stdin.take().expect("piped"), child.stderr.take().expect("piped"));
    let feed = async move {
        // A process that ends early closes its end: its status says why.
        let _ = stdin.write_all(cmd.stdin.as_bytes()).await;
        let _ = stdin.shutdown().await;
    };
    let read = async {
        let (mut reader, mut messages) = (BufReader::new(stderr), Vec::new());
        loop {
            let start = messages.len();
            if reader.read_until(b'\n', &mut messages).await? == 0 {
                return io::Result::Ok(messages);
            }
            watch(String::from_utf8_lossy(&messages[start..]).trim_end());
        }
    };
    let (_, messages, status) = tokio::join!(feed, read, child.wait());
    Ok((status?, String::from_utf8_lossy(&messages?).into_owned()))
}

/// Runs a process that leaves another one behind, which goes on after it and after this one. What
/// it said on standard error is read once it ended, for the other may hold on to that.
pub fn run_detaching(cmd: &Cmd) -> Result<(ExitStatus, String)> {
    let mut said = disk::temporary(tempfile::tempfile())?;
    let status = command(cmd)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .status()
        .with_context(|| format!("failed to run `{}`", cmd.program))?;
    let mut text = String::new();
    io::Seek::rewind(&mut said)?;
    io::Read::read_to_string(&mut said, &mut text)?;
    Ok((status, text))
}

/// Starts a process that goes on beside this one, with variables added to this one's, and ends with
/// it.
pub fn start_dependent(
    program: &OsStr,
    args: impl IntoIterator<Item = OsString>,
    env: &[(&str, &str)],
    stdin: OwnedFd,
) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command.args(args).envs(env.iter().copied()).stdin(stdin).stdout(Stdio::null());
    end_with_this(&mut command);
    command.spawn().with_context(|| format!("failed to run `{}`", program.display())).map(drop)
}

/// Starts a process that reads what is written to the one pipe, and writes to the other. It has to
/// end by itself once nothing more can come.
pub fn start_to_talk(cmd: &Cmd) -> Result<(PipeWriter, PipeReader)> {
    let pipe = || io::pipe().context("failed to make a pipe");
    let ((stdin, to), (from, stdout)) = (pipe()?, pipe()?);
    let mut command = command(cmd);
    command.stdin(stdin).stdout(stdout);
    command.spawn().with_context(|| format!("failed to run `{}`", cmd.program))?;
    Ok((to, from))
}

/// Starts a process in the background, with a folder and an environment of its own. It goes on
/// after this one, in a session of its own, and has none of this one's open files: whoever reads
/// what this one writes until its end does not wait for the other.
pub fn start_detached(
    program: &OsStr,
    args: impl IntoIterator<Item = OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    folder: &Path,
    stdin: OwnedFd,
) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command.args(args).env_clear().envs(env).current_dir(folder);
    command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    let inherited = open_files().context("failed to list the open files")?;
    let detach = move || {
        rustix::process::setsid()?;
        for file in &inherited {
            // One that is no longer open is no concern. SAFETY: a number is all that is given.
            unsafe { libc::fcntl(*file, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, which are async-signal-safe.
    unsafe { command.pre_exec(detach) };
    command.spawn().with_context(|| format!("failed to run `{}`", program.display())).map(drop)
}

/// The numbers of this process's open files that a process which it starts may inherit, but the
/// standard ones.
fn open_files() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|number| *number > libc::STDERR_FILENO).collect())
}

/// Has the system end a process as soon as the one that starts it has ended.
fn end_with_this(command: &mut std::process::Command) {
    let order = || {
        Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?)
    };
    // SAFETY: between fork and exec only this system call is made, which is async-signal-safe.
    unsafe { command.pre_exec(order) };
}

/// Runs a process on this one's terminal, to its end.
pub fn run_visibly(cmd: &Cmd) -> Result<ExitStatus> {
    command(cmd).status().with_context(|| format!("failed to run `{}`", cmd.program))
}

/// Runs a program to its end in the place of this one, with variables added to this one's. It ends
/// with this one, and what a terminal sends to both, such as Ctrl-C, is for it to answer.
pub fn run_in_place(
    program: &OsStr,
    args: impl IntoIterator<Item = OsString>,
    env: &[(&str, &str)],
) -> Result<ExitStatus> {
    let mut command = std::process::Command::new(program);
    command.args(args).envs(env.iter().copied());
    end_with_this(&mut command);
    let mut child =
        command.spawn().with_context(|| format!("failed to run `{}`", program.display()))?;
    // Only now, for the program itself is to be ended by them. SAFETY: to ignore a signal runs no
    // code.
    let ignored = [libc::SIGINT, libc::SIGQUIT]
        .map(|signal| (signal, unsafe { libc::signal(signal, libc::SIG_IGN) }));
    let ended = child.wait();
    for (signal, before) in ignored {
        // SAFETY: what was in force before is what the system set.
        unsafe { libc::signal(signal, before) };
    }
    ended.with_context(|| format!("failed to wait for `{}`", program.display()))
}

/// Holds back what would end this process from outside, but for a kill, as long as there is one of
/// these. What this process starts meanwhile is ended by it.
pub struct HeldBack(());

/// How many of them there are, and what was in force before the first.
static HELD_BACK: Mutex<(usize, Vec<(i32, libc::sighandler_t)>)> = Mutex::new((0, vec![]));
/// The signal that came meanwhile; 0 for none.
static CAME: AtomicI32 = AtomicI32::new(0);

impl HeldBack {
    #[allow(clippy::new_without_default, reason = "it is no value")]
    pub fn new() -> Self {
        let mut held = HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 += 1;
        if held.0 == 1 {
            let set = |signal| {
                let handler = note_signal as *const () as libc::sighandler_t;
                // SAFETY: the handler does nothing but write a number.
                let before = unsafe { libc::signal(signal, handler) };
                if before == libc::SIG_IGN {
                    // SAFETY: that is what was in force.
                    unsafe { libc::signal(signal, before) };
                }
                (signal, before)
            };
            held.1 = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM].map(set).to_vec();
        }
        Self(())
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        let mut held = HELD_BACK.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 -= 1;
        if held.0 > 0 {
            return;
        }
        for (signal, before) in held.1.drain(..) {
            // SAFETY: what was in force before is what the system set.
            unsafe { libc::signal(signal, before) };
        }
        let came = CAME.swap(0, Ordering::Relaxed);
        if came != 0 {
            // SAFETY: a plain number.
            unsafe { libc::raise(came) };
        }
    }
}

extern "C" fn note_signal(signal: i32) {
    CAME.store(signal, Ordering::Relaxed);
}

fn command(cmd: &Cmd) -> std::process::Command {
    let mut command = std::process::Command::new(&cmd.program);
    if let Some(environment) = &cmd.environment {
        command.env_clear().envs(environment.iter().cloned());
    }
    command.args(&cmd.args).envs(cmd.env.iter().map(|(name, value)| (name, value)));
    command
}

/// Becomes another program; returns only on failure.
pub fn exec(program: &OsStr, args: impl IntoIterator<Item = OsString>) -> Result<Infallible> {
    exec_with(program, args, &[])
}

/// The number of the process that started this one.
pub fn parent() -> u32 {
    std::os::unix::process::parent_id()
}

/// Becomes another program, with variables added to this one's; returns only on failure.
pub fn exec_with(
    program: &OsStr,
    args: impl IntoIterator<Item = OsString>,
    env: &[(&str, &str)],
) -> Result<Infallible> {
    let error = std::process::Command::new(program).args(args).envs(env.iter().copied()).exec();
    Err(anyhow!(error).context(format!("failed to run `{}`", program.display())))
}

/// Ends this process as another one ended: with its status, or by the signal that ended it.
pub fn end_like(status: i32) -> std::process::ExitCode {
    let signal = status.checked_sub(128).filter(|signal| *signal > 0);
    if let Some(signal) = signal.and_then(rustix::process::Signal::from_named_raw) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }
    std::process::ExitCode::from(u8::try_from(status).unwrap_or(1))
}

/// Ends this process as another one ended that the system told of.
pub fn end_as(status: ExitStatus) -> std::process::ExitCode {
    match status.code() {
        Some(code) => std::process::ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => end_like(shell_status(status)),
    }
}

/// A status as a shell gives it.
pub fn shell_status(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    /// What cargo does with the wrapper: it reads until everybody has closed the pipe.
    #[test]
    fn what_is_detached_holds_nothing_open() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        // As cargo's jobserver is, it is left open for what this process starts.
        rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script = "exec >&0 2>&1; pwd; echo \"$IT_A.$HOME.\"; ls -m /proc/$$/fd; \
                      cut -d' ' -f6 /proc/$$/stat; echo $$; read wait";
        start_detached(
            "/bin/sh".as_ref(),
            ["-c".into(), script.into()],
            [("IT_A".into(), "a b".into()), ("PATH".into(), "/usr/bin:/bin".into())],
            dir.path(),
            theirs.into(),
        )
        .unwrap();
        drop(writer);
        // The process waits for a line of ours, and this does not wait for the process.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        let mut lines = io::BufRead::lines(io::BufReader::new(&ours));
        let mut line = || lines.next().unwrap().unwrap();
        assert_eq!(line(), dir.path().canonicalize().unwrap().to_str().unwrap());
        assert_eq!(line(), "a b..");
        assert_eq!(line(), "0, 1, 2");
        assert_eq!(line(), line(), "it is in no session of its own");
        io::Write::write_all(&mut &ours, b"\n").unwrap();
        assert!(lines.next().is_none());
    }

    #[test]
    fn what_is_held_back_comes_at_the_end() {
        const ALONE: &str = "RUSTCBUILDX_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            // In a process of its own, for signals are the whole process's.
            let name = "util::process::tests::what_is_held_back_comes_at_the_end";
            let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
            assert!(alone.args(["--exact", name]).env(ALONE, "1").status().unwrap().success());
            return;
        }
        static COUNT: AtomicI32 = AtomicI32::new(0);
        extern "C" fn count(_: i32) {
            COUNT.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the handler does nothing but count.
        unsafe { libc::signal(libc::SIGTERM, count as *const () as libc::sighandler_t) };
        let (one, other) = (HeldBack::new(), HeldBack::new());
        drop(one);
        // SAFETY: a plain number.
        unsafe { libc::raise(libc::SIGTERM) };
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(COUNT.load(Ordering::Relaxed), 0);
        drop(other);
        assert_eq!(COUNT.load(Ordering::Relaxed), 1);
        drop(HeldBack::new());
        assert_eq!(COUNT.load(Ordering::Relaxed), 1);
    }
}
