//! What a client and the worker agree on: where things are, and how a batch of tasks is told, as
//! lines that each hold a name and a value.
//!
//! Both programs are built from this file. Text that a later version would read in another way has
//! another [`VERSION`], and so have the keys that are made of it.

use super::lines::{Fields, field};

/// In every batch and every key.
pub const VERSION: &str = "6";

/// The folder of everything in a container that belongs to the worker.
pub const WORKER: &str = "/rustcbuildx";
/// The folder of the worker's program, and of the library that tells it of variables.
pub const BIN: &str = "/rustcbuildx/bin";
/// By asking for a path below this, a process tells which variable it asked for: the path is the
/// variable's name and, behind [`BY`], the program or library whose code asked.
pub const VARIABLES: &str = "/rustcbuildx/variable/";
pub const BY: char = '\n';
/// By asking for a path below this, a process tells which host it asks the name service for.
pub const HOSTS: &str = "/rustcbuildx/host/";
/// By asking for a path below this, a process tells that it asks for the time: behind [`BY`] is the
/// program or library whose code asked.
pub const CLOCK: &str = "/rustcbuildx/clock/";
/// By opening this, a process gets the memory in which it tells what it asks for.
pub const SHARED: &str = "/rustcbuildx/shared";

/// In an outcome: the folder of the files that the task wrote.
pub const FILES: &str = "files";
/// In an outcome: the process's standard output.
pub const STDOUT: &str = "stdout";
/// In an outcome: the process's standard error.
pub const STDERR: &str = "stderr";
/// In an outcome: the process's exit status as a shell gives it.
pub const STATUS: &str = "status";
/// In an outcome: the number of the batch in which it was made.
pub const BUILD_ID: &str = "nonce";
/// In an outcome: how long its process took, in milliseconds.
pub const DURATION: &str = "duration";
/// In an outcome: exists if the files stayed in the engine.
pub const DEFERRED: &str = "left";
/// In an outcome: what its processes were seen to touch, as
/// [`touches`](super::touched::touches) reads it. Does not exist if nobody could look.
pub const OBSERVED: &str = "observed";
/// In an outcome: a folder with what it wrote outside of its output folder, if anything: the
/// [`INDEX`], and the files by their numbers.
pub const WRITTEN: &str = "written";
/// In [`WRITTEN`]: the list that [`written`](super::touched::written) reads.
pub const INDEX: &str = "index";
/// In an outcome: exists if what its process printed is for nobody but who asks for the outcome. It
/// had secrets, or is to run again as another program.
pub const PRIVATE: &str = "private";
/// In an outcome that comes to the client: those of the batch's sentinels that its files hold, each
/// on a line. Does not exist if there are none.
pub const EMBEDDED: &str = "embedded";

/// Beside the outcomes, which are files that are called by their keys: the folder of what the
/// worker reports to its client, in files with a line for each item.
pub const REPORT: &str = "report";
/// In the report: the number of the store. If the client expects another, nothing was done.
pub const STORE: &str = "store";
/// In the report: the names of all that the store has. After that of an outcome stands what its
/// process printed, on one line, if everybody may read that.
pub const INVENTORY: &str = "inventory";
/// In the report: the names of what the client is to send, before anything can run.
pub const LACKING: &str = "lacking";
/// In the report: the keys of tasks that could not run beside the others of this batch, and why.
pub const APART: &str = "apart";
/// In the report: the keys of tasks that cannot run beside any others, and why.
pub const ALONE: &str = "alone";

/// Tasks for one call, and what of their outcomes the client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// A number that no other call has.
    pub id: String,
    /// A name that it has in common only with earlier attempts at the same.
    pub call: String,
    /// The names of calls that run at the same time, and the keys of what they make and some task
    /// here is made from.
    pub beside: Vec<String>,
    pub awaited: Vec<String>,
    /// The number of the store that the client expects; empty if any will do.
    pub store: String,
    /// How many processes may run at once; 0 for one on each processor.
    pub jobs: usize,
    /// The most that the engine's store may take, in bytes: the least recently used goes first. 0
    /// means no limit.
    pub limit: usize,
    /// Dependencies come before what is made from them.
    pub tasks: Vec<Task>,
    /// By their keys, how long the longest chain is that begins with a task, in tasks, where the
    /// client knows of more that are to follow than are here.
    pub chains: Vec<(String, usize)>,
    pub wanted: Vec<Wanted>,
    /// What no deferred file may hold: an outcome with such a file is sent whole.
    pub sentinels: Vec<String>,
    /// The places of inputs where the engine has mounted them.
    pub mounted: Vec<String>,
    /// Whether the client is to get the [`INVENTORY`].
    pub is_inventory: bool,
}

/// An outcome that the client wants: of this batch, or one that the store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: String,
    /// Whether the files of a success stay in the engine, but for dep-info.
    pub is_deferred: bool,
}

/// One process, and all that decides what it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The digest of all below but [`Self::name`].
    pub key: String,
    /// What people call it.
    pub name: String,
    pub kind: Kind,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// `NAME=VALUE`: all of its environment but the secrets, and what the worker itself adds.
    pub env: Vec<String>,
    /// Variables whose values are files under `/run/secrets`, each with what of the value decides
    /// the outcome: nothing for one that is no secret, such as the number of processors.
    pub secrets: Vec<(String, String)>,
    pub folder: String,
    /// The folder whose new files are its outcome (a compile), or which is its outcome (a build
    /// script).
    pub out: String,
    pub umask: u32,
    /// Links to put in place first: where they are, and where they lead.
    pub links: Vec<(String, String)>,
    pub inputs: Vec<Input>,
    /// Folders that it may write to, as far as nobody else has something there. It then runs alone.
    pub opened: Vec<String>,
    /// Folders that its words lead through and up again: they are to be there.
    pub passed: Vec<String>,
    /// Whether it is a part of its outcome what it writes to opened folders, and to inputs that it
    /// may write to. Otherwise that is lost.
    pub is_kept: bool,
    /// Whether it is looked at what it touches.
    pub is_observed: bool,
    /// The name of a folder that outlives the task, and what its words have for that folder's path.
    /// The name is empty for a folder that goes with the task.
    pub state: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Compile,
    Script,
}

/// A file or folder at its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    pub target: String,
    pub from: Source,
    /// The path in there.
    pub path: String,
    /// Whether the task may write to it, or into it.
    pub is_writable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// What the task with this key made.
    Outcome(String),
    /// What a client sent under this name.
    Pack(String),
}

impl Source {
    pub fn name(&self) -> &str {
        match self {
            Self::Outcome(name) | Self::Pack(name) => name,
        }
    }
}

impl Batch {
    pub fn encode(&self) -> String {
        let mut text = String::new();
        field(&mut text, "batch", VERSION);
        field(&mut text, "id", &self.id);
        field(&mut text, "call", &self.call);
        self.beside.iter().for_each(|call| field(&mut text, "beside", call));
        self.awaited.iter().for_each(|key| field(&mut text, "awaited", key));
        field(&mut text, "store", &self.store);
        field(&mut text, "jobs", &self.jobs.to_string());
        field(&mut text, "limit", &self.limit.to_string());
        self.sentinels.iter().for_each(|sentinel| field(&mut text, "sentinel", sentinel));
        self.mounted.iter().for_each(|place| field(&mut text, "mounted", place));
        if self.is_inventory {
            field(&mut text, INVENTORY, "");
        }
        for task in &self.tasks {
            field(&mut text, "task", &task.key);
            field(&mut text, "name", &task.name);
            task.encode(&mut text);
        }
        for (key, length) in &self.chains {
            field(&mut text, "chain", key);
            field(&mut text, "length", &length.to_string());
        }
        for wanted in &self.wanted {
            field(&mut text, if wanted.is_deferred { "defer" } else { "want" }, &wanted.key);
        }
        field(&mut text, "end", "");
        text
    }

    /// Fails if the text is another version's, or cut off.
    pub fn decode(text: &str) -> Result<Self, String> {
        let mut fields = Fields::of(text);
        let version = fields.value("batch")?;
        if version != VERSION {
            return Err(format!(
                "the client speaks version {version}, the worker version {VERSION}"
            ));
        }
        let (id, call) = (fields.value("id")?, fields.value("call")?);
        let (beside, awaited) = (fields.list("beside"), fields.list("awaited"));
        let store = fields.value("store")?;
        let jobs = fields.number("jobs")?;
        let limit = fields.number("limit")?;
        let (sentinels, mounted) = (fields.list("sentinel"), fields.list("mounted"));
        let is_inventory = fields.next_if(INVENTORY).is_some();
        let mut tasks = Vec::new();
        while let Some(key) = fields.next_if("task") {
            tasks.push(Task::decode(key, &mut fields)?);
        }
        let mut chains = Vec::new();
        while let Some(key) = fields.next_if("chain") {
            chains.push((key, fields.number("length")?));
        }
        let mut wanted = Vec::new();
        loop {
            let (key, is_deferred) = match (fields.next_if("want"), fields.next_if("defer")) {
                (Some(key), deferred) => {
                    wanted.push(Wanted { key, is_deferred: false });
                    match deferred {
                        Some(key) => (key, true),
                        None => continue,
                    }
                }
                (None, Some(key)) => (key, true),
                (None, None) => break,
            };
            wanted.push(Wanted { key, is_deferred });
        }
        fields.value("end")?;
        Ok(Self {
            id,
            call,
            beside,
            awaited,
            store,
            jobs,
            limit,
            tasks,
            chains,
            wanted,
            sentinels,
            mounted,
            is_inventory,
        })
    }
}

impl Task {
    /// All that decides its outcome, as text: what its key is a digest of.
    pub fn identity(&self) -> String {
        let mut text = String::new();
        field(&mut text, "version", VERSION);
        self.encode(&mut text);
        text
    }

    pub fn has_secrets(&self) -> bool {
        self.secrets.iter().any(|(_, decisive)| !decisive.is_empty())
    }

    fn encode(&self, text: &mut String) {
        field(text, "kind", if self.kind == Kind::Compile { "compile" } else { "script" });
        self.words.iter().for_each(|word| field(text, "word", word));
        self.env.iter().for_each(|variable| field(text, "env", variable));
        for (name, rest) in &self.secrets {
            field(text, "secret", name);
            field(text, "digest", rest);
        }
        field(text, "folder", &self.folder);
        field(text, "out", &self.out);
        field(text, "umask", &format!("{:o}", self.umask));
        for (link, target) in &self.links {
            field(text, "link", link);
            field(text, "target", target);
        }
        for input in &self.inputs {
            field(text, if input.is_writable { "writable" } else { "input" }, &input.target);
            match &input.from {
                Source::Outcome(key) => field(text, "outcome", key),
                Source::Pack(name) => field(text, "pack", name),
            }
            field(text, "path", &input.path);
        }
        self.opened.iter().for_each(|folder| field(text, "opened", folder));
        self.passed.iter().for_each(|folder| field(text, "passed", folder));
        if self.is_kept {
            field(text, "kept", "");
        }
        if self.is_observed {
            field(text, "observed", "");
        }
        if let Some((name, target)) = &self.state {
            field(text, "state", name);
            field(text, "target", target);
        }
    }

    fn decode(key: String, fields: &mut Fields<'_>) -> Result<Self, String> {
        let name = fields.value("name")?;
        let kind = match fields.value("kind")?.as_str() {
            "compile" => Kind::Compile,
            "script" => Kind::Script,
            other => return Err(format!("`{other}` is no kind of a task")),
        };
        let (words, env) = (fields.list("word"), fields.list("env"));
        let secrets = fields.pairs("secret", "digest")?;
        let (folder, out) = (fields.value("folder")?, fields.value("out")?);
        let umask = fields.value("umask")?;
        let umask = u32::from_str_radix(&umask, 8).map_err(|_| format!("`{umask}` is no umask"))?;
        let links = fields.pairs("link", "target")?;
        let mut inputs = Vec::new();
        loop {
            let (target, is_writable) = match fields.next_if("input") {
                Some(target) => (target, false),
                None => match fields.next_if("writable") {
                    Some(target) => (target, true),
                    None => break,
                },
            };
            let from = match fields.next_if("outcome") {
                Some(key) => Source::Outcome(key),
                None => Source::Pack(fields.value("pack")?),
            };
            inputs.push(Input { target, from, path: fields.value("path")?, is_writable });
        }
        let (opened, passed) = (fields.list("opened"), fields.list("passed"));
        let is_kept = fields.next_if("kept").is_some();
        let is_observed = fields.next_if("observed").is_some();
        let state = fields.pairs("state", "target")?.pop();
        Ok(Self {
            key,
            name,
            kind,
            words,
            env,
            secrets,
            folder,
            out,
            umask,
            links,
            inputs,
            opened,
            passed,
            is_kept,
            is_observed,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        let odd = "a \\n\n\r\n=\\";
        let input = |target: &str, from: Source, is_writable: bool| Input {
            target: target.to_owned(),
            from,
            path: "/p".to_owned(),
            is_writable,
        };
        Task {
            key: "u1".to_owned(),
            name: "a 1.0 (crate a)".to_owned(),
            kind: Kind::Compile,
            words: vec!["rustc".to_owned(), String::new(), odd.to_owned()],
            env: vec![format!("A={odd}"), "B=".to_owned()],
            secrets: vec![("TOKEN".to_owned(), String::new())],
            folder: "/w".to_owned(),
            out: "/w/target/deps".to_owned(),
            umask: 0o22,
            links: vec![("/root/.cargo/bin/cargo".to_owned(), "/usr/bin/cargo".to_owned())],
            inputs: vec![
                input("/w", Source::Pack("s1".to_owned()), true),
                input("/t", Source::Outcome("u0".to_owned()), false),
            ],
            opened: vec![odd.to_owned()],
            passed: vec!["/w/p".to_owned()],
            is_kept: true,
            is_observed: true,
            state: Some(("i1".to_owned(), "/w/target/incremental".to_owned())),
        }
    }

    #[test]
    fn a_batch_comes_back() {
        let wanted = |key: &str, is_deferred| Wanted { key: key.to_owned(), is_deferred };
        let plain = Task {
            secrets: vec![],
            links: vec![],
            inputs: vec![],
            state: None,
            words: vec![],
            ..task()
        };
        let plain = Task { kind: Kind::Script, env: vec![], ..plain };
        let batch = Batch {
            id: "7".to_owned(),
            call: "6".to_owned(),
            beside: vec!["4".to_owned(), "3".to_owned()],
            awaited: vec!["u9".to_owned()],
            store: "5".to_owned(),
            jobs: 2,
            limit: 3,
            tasks: vec![task(), plain],
            chains: vec![("u1".to_owned(), 3)],
            wanted: vec![
                wanted("u1", false),
                wanted("u2", true),
                wanted("u3", true),
                wanted("u4", false),
            ],
            sentinels: vec!["/./".to_owned()],
            mounted: vec!["/w/modules".to_owned()],
            is_inventory: true,
        };
        assert_eq!(Batch::decode(&batch.encode()).unwrap(), batch);
        assert_eq!(Batch::decode(&Batch::default().encode()).unwrap(), Batch::default());
    }

    #[test]
    fn what_is_cut_off_is_no_batch() {
        let text = Batch { tasks: vec![task()], ..Batch::default() }.encode();
        let lines: Vec<&str> = text.lines().collect();
        for count in 0..lines.len() {
            assert!(Batch::decode(&lines[..count].join("\n")).is_err(), "{count} lines");
        }
        let other = text.replacen(&format!("batch {VERSION}"), "batch 0", 1);
        assert!(Batch::decode(&other).unwrap_err().contains("version 0"));
    }

    #[test]
    fn a_key_is_of_what_decides_the_outcome() {
        let renamed = Task { key: "u2".to_owned(), name: "b".to_owned(), ..task() };
        assert_eq!(renamed.identity(), task().identity());
        let moved = Task { folder: "/x".to_owned(), ..task() };
        assert_ne!(moved.identity(), task().identity());
        // No two tasks have the same text.
        let words = |words: &[&str]| Task {
            words: words.iter().map(|word| word.to_string()).collect(),
            ..task()
        };
        assert_ne!(words(&["a\nword b"]).identity(), words(&["a", "b"]).identity());
    }
}
