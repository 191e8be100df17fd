//! A copy of a fixture, and the two cargos that build it into a target folder each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::command::{Finished, Running, comparable, start};
use crate::engine::{self, Calls, Engine, Env, WRAPPER};
use crate::tree::{differences, tree, walk};

/// Who builds, and into whose target folder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    Plain,
    Ours,
    /// The wrapper was taken away: plain cargo, on what ours left.
    PlainAfterOurs,
}

/// A fixture's copy in a folder of its own, which is removed unless the test fails.
#[derive(Debug)]
pub struct Project {
    dir: Option<tempfile::TempDir>,
    /// The copy.
    pub root: PathBuf,
    cwd: PathBuf,
    env: Env,
    umask: u32,
    pub calls: Calls,
}

impl Project {
    pub fn new(fixture: &str) -> Self {
        Self::on(Engine::docker(), fixture)
    }

    pub fn on(engine: &Engine, fixture: &str) -> Self {
        Self::at(engine, fixture, fixture)
    }

    /// The copy's path ends with `place`.
    pub fn at(engine: &Engine, fixture: &str, place: &str) -> Self {
        // Not in `/tmp`, where containers may have files of their own.
        let home = std::env::home_dir().expect("there is a home folder");
        let dir = tempfile::Builder::new().prefix("rustcbuildx-it-").tempdir_in(home).unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let root = dir.path().join("source").join(place);
        copy(&fixtures.join(fixture), &root);
        let (env, calls) = engine.logging_to(&dir.path().join("calls.log"));
        Self { cwd: root.clone(), root, env, umask: 0o022, calls, dir: Some(dir) }
    }

    /// Runs cargo in this folder of the copy.
    pub fn inside(mut self, folder: &str) -> Self {
        self.cwd = self.root.join(folder);
        self
    }

    /// Sets a variable for both cargos; `{target}` stands for the target folder of each.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// What both cargos' files may not be.
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// Where its commands are looked for, the engine's among them.
    pub fn path(&self) -> String {
        let own = self.env.get(OsStr::new("PATH")).cloned();
        own.or_else(|| std::env::var_os("PATH")).unwrap().into_string().unwrap()
    }

    /// Has ours log this `level` to [`Self::log`].
    pub fn logging(self, level: &str) -> Self {
        let log = self.log();
        self.env("RUSTCBUILDX_LOG", level).env("RUSTCBUILDX_LOG_PATH", log.to_str().unwrap())
    }

    pub fn log(&self) -> PathBuf {
        self.dir().join("log")
    }

    /// Remembers nothing that another project does.
    pub fn with_own_cache(self) -> Self {
        let cache = self.dir().join("cache");
        self.env("XDG_CACHE_HOME", cache.to_str().unwrap())
    }

    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no `{from}` in {}:\n{text}", path.display());
        fs::write(path, text.replace(from, to)).unwrap();
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub fn target(&self, by: By) -> PathBuf {
        match by {
            By::Plain => self.dir().join("target-plain"),
            By::Ours | By::PlainAfterOurs => self.dir().join("target-ours"),
        }
    }

    /// `program` as `by` would run it, in the project, on the target folder.
    pub fn command(&self, program: &str, by: By) -> Command {
        let target = self.target(by);
        let mut command = engine::command(program, &self.env);
        for (name, value) in &self.env {
            if let Some(value) = value.to_str().filter(|value| value.contains("{target}")) {
                command.env(name, value.replace("{target}", target.to_str().unwrap()));
            }
        }
        command.current_dir(&self.cwd).env("CARGO_TARGET_DIR", target);
        let umask = self.umask;
        // SAFETY: to set the umask takes no lock and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
                Ok(())
            });
        }
        if by == By::Ours {
            command.env("RUSTC_WRAPPER", WRAPPER);
        }
        command
    }

    /// `{target}` in `args` stands for the target folder.
    pub fn cargo(&self, by: By, args: &str) -> Command {
        let target = self.target(by).display().to_string();
        let mut command = self.command("cargo", by);
        command.args(args.split(' ').map(|arg| arg.replace("{target}", &target)));
        command
    }

    pub fn start(&self, by: By, args: &str) -> Running {
        start(self.cargo(by, args), &format!("cargo {args} # {by:?}"))
    }

    pub fn plain(&self, args: &str) -> Finished {
        self.start(By::Plain, args).finish()
    }

    pub fn ours(&self, args: &str) -> Finished {
        self.start(By::Ours, args).finish()
    }

    /// Each command in turn gives the same result, whoever runs it, and is fresh afterwards.
    #[track_caller]
    pub fn same(&self, commands: &[&str]) {
        for args in commands {
            self.calls.take();
            let began = Instant::now();
            let plain = self.plain(args);
            let plainly = began.elapsed();
            let ours = self.ours(args);
            let (all, calls) = (began.elapsed(), self.calls.take().len());
            self.assert_same_output(&plain, &ours);
            self.assert_same_tree();
            self.assert_fresh(args);
            println!("{args}: plain {plainly:.1?}, ours {:.1?}, {calls} calls", all - plainly);
        }
    }

    /// After a build of ours that ended early: this one gives the same program and files as plain
    /// cargo, though it compiles less.
    #[track_caller]
    pub fn same_in_the_end(&self, args: &str) {
        let (plain, ours) = (self.plain(args), self.ours(args));
        assert_eq!((plain.status, &plain.stdout), (ours.status, &ours.stdout), "{plain}\n{ours}");
        self.assert_same_tree();
        self.assert_fresh(args);
    }

    /// The same failure whoever runs it, twice, and really tried the second time too.
    #[track_caller]
    pub fn fails_alike(&self, args: &str) -> Finished {
        let [_, plain] = [(); 2].map(|()| {
            let plain = self.plain(args).fails();
            self.calls.take();
            let ours = self.ours(args).fails();
            assert!(!self.calls.take().is_empty(), "not tried: {ours}");
            self.assert_same_output(&plain, &ours);
            plain
        });
        let (plain_tree, ours_tree) = (tree(&self.target(By::Plain)), tree(&self.target(By::Ours)));
        let extra: Vec<_> =
            ours_tree.keys().filter(|path| !plain_tree.contains_key(*path)).collect();
        assert!(extra.is_empty(), "left behind: {extra:#?}");
        plain
    }

    #[track_caller]
    pub fn assert_same_output(&self, plain: &Finished, ours: &Finished) {
        assert_eq!(plain.status, ours.status, "{plain}\n{ours}");
        let (mine, yours) = (self.target(By::Plain), self.target(By::Ours));
        for (plain_text, ours_text) in
            [(&plain.stdout, &ours.stdout), (&plain.stderr, &ours.stderr)]
        {
            let (mut gone, mut new) =
                (comparable(plain_text, &mine), comparable(ours_text, &yours));
            cancel_out(&mut gone, &mut new);
            let same = gone.is_empty() && new.is_empty();
            assert!(same, "only plain says {gone:#?}\nonly ours says {new:#?}\n{plain}\n{ours}");
        }
    }

    #[track_caller]
    pub fn assert_same_tree(&self) {
        let differences =
            differences(&tree(&self.target(By::Plain)), &tree(&self.target(By::Ours)));
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }

    /// The same JSON messages, nothing compiled, no engine called; without the wrapper too.
    #[track_caller]
    fn assert_fresh(&self, args: &str) {
        let args = as_json(args);
        self.calls.take();
        let runs = [By::Plain, By::Ours, By::PlainAfterOurs]
            .map(|by| (self.start(by, &args).finish(), self.target(by)));
        assert_eq!(self.calls.take(), [""; 0], "engine calls when nothing changed: {args}");
        for (run, _) in &runs {
            let verbs = ["Compiling ", "Checking ", "Documenting ", "Dirty "];
            let works = |line: &str| verbs.iter().any(|verb| line.trim_start().starts_with(verb));
            assert_eq!(run.units_compiled(), 0, "not fresh: {run}");
            assert!(!run.stderr.lines().any(works), "not fresh: {run}");
            assert_eq!(run.status, runs[0].0.status, "{run}");
        }
        let [plain, ours, after] = runs.map(|(run, target)| json_lines(&run, &target));
        assert_eq!(plain, ours, "records of `{args}`");
        assert_eq!(plain, after, "records of `{args}` without the wrapper");
    }

    /// All of the copy: path → mode and content.
    pub fn snapshot(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let content = |path: &str| fs::read(self.root.join(path)).unwrap_or_default();
        let entries = walk(&self.root, |_| false).into_iter();
        entries.map(|(path, mode)| (path.clone(), (mode, content(&path)))).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = self.dir.take().unwrap().keep();
            eprintln!("kept for a look: {}", kept.display());
        }
    }
}

/// Leaves in each what the other has not, lines that occur twice counting twice.
fn cancel_out(left: &mut Vec<String>, right: &mut Vec<String>) {
    left.retain(|line| match right.iter().position(|other| other == line) {
        Some(at) => {
            right.remove(at);
            false
        }
        None => true,
    });
}

/// Cargo's messages, one JSON object a line, whatever the built program printed between them.
pub fn json_lines(run: &Finished, target: &Path) -> Vec<String> {
    let lines = run.stdout.lines().filter(|line| line.starts_with("{\"reason\":"));
    comparable(&lines.collect::<Vec<_>>().join("\n"), target)
}

/// The command that tells of the same units: `test` tells without running doctests again.
fn as_json(args: &str) -> String {
    let (options, rest) = args.split_once(" -- ").unwrap_or((args, ""));
    let no_run = if options.starts_with("test") { " --no-run" } else { "" };
    let rest = if rest.is_empty() { String::new() } else { format!(" -- {rest}") };
    format!("{options}{no_run} --message-format=json{rest}")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
