//! What a unit's processes were seen to touch, read as what it lacked: files and folders that this
//! machine has and nobody gave it, and the names of variables and programs.

use std::{collections::BTreeSet, fs};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::{env::Env, secrets::is_secret},
    step::{
        protocol::Input,
        touched::{How, Touch, touches},
    },
    store::archive::Outcome,
    unit::{
        variables::{may_be_given_to_code, may_be_given_to_tools},
        work::{Unit, Work},
    },
    util::path::normalised,
};

/// What a unit asked for.
#[derive(Debug, Default)]
pub struct Observed {
    /// Variables that it may have, set or not.
    pub variables: BTreeSet<String>,
    /// Variables that are secrets by their names, set or not.
    pub secrets: BTreeSet<String>,
    /// Files and folders, there or not, whose own state may have been decisive.
    pub asked: BTreeSet<Utf8PathBuf>,
    /// Those of them that it read.
    pub read: BTreeSet<Utf8PathBuf>,
    /// Whether it started programs that take all of their environment, and run what is in files.
    pub has_interpreters: bool,
    /// Folders whose list may have been decisive.
    pub listed: BTreeSet<Utf8PathBuf>,
    /// Where it tried to write and was not allowed to.
    pub refused: BTreeSet<Utf8PathBuf>,
    /// Hosts and addresses that it spoke to, or tried to.
    pub hosts: BTreeSet<String>,
    /// Programs by names that its image lacks.
    pub programs: BTreeSet<String>,
    /// Paths in its home folder, from there.
    pub at_home: BTreeSet<Utf8PathBuf>,
}

impl Observed {
    /// Of an outcome whose paths are the host's. Empty if nobody could look.
    pub fn of(unit: &Unit, outcome: &Outcome) -> Self {
        let text = String::from_utf8_lossy(outcome.observed.as_deref().unwrap_or_default());
        let mut observed = Self::default();
        for Touch { how, what, .. } in touches(&text) {
            let path = || normalised(Utf8Path::new(&what));
            match how {
                How::Ask | How::Read | How::List | How::Link if what.starts_with('~') => {
                    let below = Utf8Path::new(&what).strip_prefix("~");
                    observed.at_home.extend(below.map(Utf8Path::to_owned));
                }
                How::Ask | How::Link => drop(observed.asked.insert(path())),
                How::Read => {
                    observed.asked.insert(path());
                    observed.read.insert(path());
                }
                How::Run => observed.has_interpreters |= is_interpreter(&what),
                How::List => drop(observed.listed.insert(path())),
                How::Refuse => drop(observed.refused.insert(path())),
                How::Lack => drop(observed.programs.insert(what)),
                How::Variable if may_be_given_to_code(&what, &unit.work) => {
                    observed.variables.insert(what);
                }
                How::ToolVariable if may_be_given_to_tools(&what) => {
                    observed.variables.insert(what);
                }
                How::Variable if is_secret(&what) => drop(observed.secrets.insert(what)),
                How::Host => drop(observed.hosts.insert(what)),
                // That is where a name service is.
                How::Connect if !what.ends_with(":53") => drop(observed.hosts.insert(what)),
                How::Variable
                | How::ToolVariable
                | How::Write
                | How::Connect
                | How::Clock
                | How::Unseen => {}
            }
        }
        observed
    }

    /// The variables of the environment that are named in what a build script's shells, and their
    /// like, read: those take their environment as a whole.
    pub fn named_in_files(&self, unit: &Unit, env: &Env) -> Vec<String> {
        if !self.has_interpreters || !unit.is_build_script() {
            return vec![];
        }
        let texts = self.read.iter().filter(|path| path.starts_with(&unit.package));
        let texts = texts.filter(|path| path.metadata().is_ok_and(|data| data.len() < LARGE));
        let texts: Vec<Vec<u8>> = texts.filter_map(|path| fs::read(path).ok()).collect();
        let is_new = |name: &&str| {
            may_be_given_to_code(name, &unit.work)
                && may_be_given_to_tools(name)
                && !unit.env.contains_key(*name)
        };
        let is_named = |name: &&str| texts.iter().any(|text| has_word(text, name.as_bytes()));
        let names = env.iter().map(|(name, _)| name).filter(is_new).filter(is_named);
        names.map(str::to_owned).collect()
    }

    /// The files and folders that a unit asked for and that may be another thing where it ran: what
    /// `is_given` has nothing of. Only a list tells what else is in a folder around what it was
    /// given.
    pub fn paths<'a>(
        &'a self,
        unit: &'a Unit,
        is_given: impl Fn(&Utf8Path) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Utf8PathBuf> {
        let given = [&unit.package, &unit.cwd].into_iter().chain(&unit.paths);
        let given: Vec<Utf8PathBuf> = given.cloned().chain([normalised(unit.out_dir())]).collect();
        let is_around = move |path: &Utf8Path| given.iter().any(|given| given.starts_with(path));
        let asked = self.asked.iter().filter(move |path| !is_around(path));
        let crates = match &unit.work {
            Work::Compile { args, .. } => args.crate_folders(&unit.cwd),
            Work::BuildScript { .. } => vec![],
        };
        let crates: Vec<Utf8PathBuf> = crates.iter().map(|folder| normalised(folder)).collect();
        // A compiler opens what has a crate's name to see which it is, also where another of that
        // name is meant, and where it has the crate in another form.
        let is_crate = move |path: &Utf8Path| {
            matches!(path.extension(), Some("rlib" | "rmeta" | "so"))
                && path.parent().is_some_and(|folder| crates.iter().any(|crates| crates == folder))
        };
        asked.chain(&self.listed).filter(move |path| !is_crate(path) && !is_given(path))
    }
}

/// Whether a path is an input of a unit by its options or variables, and not as one of its sources:
/// of those, some is left out.
pub fn is_named_input(unit: &Unit, inputs: &[Input], path: &Utf8Path) -> bool {
    inputs.iter().any(|input| {
        let target = unit.path_map.to_host(input.target.as_bytes());
        let target = String::from_utf8_lossy(&target);
        let target = Utf8Path::new(&*target);
        let is_source =
            [&unit.package].into_iter().chain(&unit.paths).any(|root| target.starts_with(root));
        path == target || !is_source && path.starts_with(target)
    })
}

/// In bytes: what is larger was not written by hand.
const LARGE: u64 = 256 << 10;

/// Whether a program runs what is in a file, by its name, which may have a version behind it.
fn is_interpreter(program: &str) -> bool {
    const NAMES: &[&str] = &[
        "awk", "bash", "cmake", "dash", "gawk", "gmake", "ksh", "lua", "make", "mawk", "ninja",
        "node", "perl", "php", "python", "ruby", "sh", "tclsh", "zsh",
    ];
    let name = program.rsplit('/').next().unwrap_or_default();
    NAMES.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || ".-".contains(c)))
}

/// Whether a text has a name in it that is no part of a longer one.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    memchr::memmem::find_iter(text, word).any(|at| {
        let before = at.checked_sub(1).and_then(|at| text.get(at));
        !is_part(before) && !is_part(text.get(at + word.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rustc::{args::RustcArgs, tool::Tool};

    fn unit() -> Unit {
        let out_dir = "/w/target/out".into();
        let work = Work::BuildScript { program: "/b".into(), out_dir, library_path: vec![] };
        Unit::new(work, "/w/member".into(), "/w/member".into())
    }

    fn observed(text: &str) -> Observed {
        Observed::of(&unit(), &Outcome { observed: Some(text.into()), ..Outcome::default() })
    }

    #[test]
    fn tools_ask_for_the_users_taste() {
        let text = "variable LANG\nvariable TMPDIR\nvariable A_TOKEN\ntool-variable TERM\n\
                    tool-variable B_TOKEN\ntool-variable CPATH\n";
        let asked = observed(text);
        assert_eq!(asked.variables, ["CPATH", "LANG"].map(str::to_owned).into());
        assert_eq!(asked.secrets, ["A_TOKEN".to_owned()].into());
    }

    #[test]
    fn shells_read_variables_that_files_name() {
        for (program, expected) in
            [("/bin/sh", true), ("/usr/bin/python3.11", true), ("/bin/cc", false)]
        {
            assert_eq!(is_interpreter(program), expected, "{program}");
        }
        assert!(has_word(b"echo ${NAME}", b"NAME") && has_word(b"NAME", b"NAME"));
        assert!(!has_word(b"NAMES A_NAME", b"NAME"));
    }

    #[test]
    fn folders_around_what_is_given_are_no_news_unless_listed() {
        let unit = unit();
        let paths = |text: &str| -> Vec<Utf8PathBuf> {
            let observed = observed(text);
            let is_given = |path: &Utf8Path| path.starts_with("/w/member");
            observed.paths(&unit, is_given).cloned().collect()
        };
        let text = "ask /w\nask /w/target\nask /w/other\nread /w/member/a\nread /w/b\n";
        assert_eq!(paths(text), ["/w/b", "/w/other"]);
        assert_eq!(paths("list /w\nlist /w/member\n"), ["/w"]);
    }

    /// Of crates, a compiler gets what it links, and lists the folder that has more of them.
    #[test]
    fn crates_that_a_compiler_looks_into_are_no_news() {
        let words = ["--crate-name=a", "-L", "dependency=/w/target/debug/deps"];
        let args = RustcArgs::parse(words.map(str::to_owned).to_vec());
        let out_dir = "/w/target/debug/build/a".into();
        let work = Work::Compile { tool: Tool::Rustc, args, out_dir };
        let unit = Unit::new(work, "/w".into(), "/w/member".into());
        let text = "read /w/target/debug/deps/libb-1.rmeta\nread /w/target/debug/deps/libb-2.rlib\n\
                    ask /w/target/debug/deps/libc-1.so\nread /w/target/debug/deps/notes\n\
                    read /w/other/libd.rlib\n";
        let found: Vec<_> = observed(text).paths(&unit, |_| false).cloned().collect();
        assert_eq!(found, ["/w/other/libd.rlib", "/w/target/debug/deps/notes"]);
    }

    #[test]
    fn what_is_at_home_is_apart() {
        let observed = observed("read ~/.config/tool\nlack adder\nwrite /w/x\n");
        assert_eq!(observed.at_home, [Utf8PathBuf::from(".config/tool")].into());
        assert_eq!(observed.programs, ["adder".to_owned()].into());
        assert!(observed.asked.is_empty());
    }
}
