//! Discovered inputs: what a unit was seen to read beyond what cargo declares. They are remembered,
//! so that the next build gives them to the unit at once.
//!
//! Source of the texts: rustc's dep-info and its messages, and the `cargo::rerun-if-*` lines of
//! build scripts.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    config::{env::Env, secrets::has_password},
    inputs::{
        observed::Observed,
        sources::{Given, Homes},
        version_control::VersionControl,
    },
    rustc::dep_info,
    store::archive::Outcome,
    unit::{
        target_dir::downloaded,
        variables::may_be_given,
        work::{Unit, Work},
    },
    util::path::normalised,
};

/// More paths than this are not given one by one.
const MANY: usize = 100;

/// Names of variables, and paths outside the package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Discovered {
    pub variables: BTreeSet<String>,
    pub paths: BTreeSet<Utf8PathBuf>,
    /// Folders outside of its output folder that it writes to.
    pub opened: BTreeSet<Utf8PathBuf>,
    /// The sentinels that its output embeds: it uses these folders when it runs, so it must see the
    /// host's own paths of them.
    #[serde(rename = "own_places")]
    pub own_sentinels: BTreeSet<String>,
    /// Whether cargo runs it in each of its commands, a build script that says so: by a file that
    /// is never there.
    pub runs_always: bool,
    /// The names of variables that its code has paths from: see [`crate::unit::baked_paths`].
    pub baked: BTreeSet<String>,
}

impl Discovered {
    /// What the outcome of a unit tells that the unit did not have, although the host has it.
    ///
    /// `dep_info` is the text of its `*.d` files.
    pub fn from(
        unit: &Unit,
        outcome: &Outcome,
        observed: &Observed,
        dep_info: &str,
        env: &Env,
        homes: &Homes,
    ) -> Self {
        let (stdout, stderr) =
            (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
        let mut variables = variables_asked_for(unit, outcome, dep_info);
        variables.extend(observed.variables.iter().cloned());
        variables.extend(observed.named_in_files(unit, env));
        let mut paths = match &unit.work {
            Work::Compile { .. } => dep_info::unreadable_files(&stderr),
            Work::BuildScript { .. } => dep_info::directives(&stdout, "rerun-if-changed"),
        };
        variables.retain(|name| {
            may_be_given(name, &unit.work)
                && !unit.env.contains_key(name)
                && env.get(name).is_some_and(|value| !has_password(value))
        });
        let given = Given::of(unit);
        let tree = homes.tree_of(&unit.package);
        let reach = homes.reach_of(&unit.package);
        let may_be_given_to_it = |path: &Utf8Path| may_be_given_of(unit, path, &reach, &given);
        let mut paths: BTreeSet<Utf8PathBuf> =
            paths.drain(..).map(|path| normalised(&unit.cwd.join(path))).collect();
        // What it makes itself is not in place yet.
        let is_missing =
            |path: &Utf8PathBuf| !given.is_made(path) && path.symlink_metadata().is_err();
        let runs_always = unit.is_build_script() && paths.iter().any(is_missing);
        paths.retain(|path| may_be_given_to_it(path) && !given.has(path) && path.exists());
        // In a plan, there is nothing in what others make.
        paths.retain(|path| !unit.path_map.is_in_dry_run_target(path));
        let seen = observed.paths(unit, |path| given.has(path)).filter(|path| {
            let is_made_by_others = given.is_made(path)
                && !(observed.read.contains(*path) && path.is_file() && !is_cargos_note(path));
            may_be_given_to_it(path)
                && !is_made_by_others
                && !unit.path_map.is_in_dry_run_target(path)
                && !is_of_version_control(path)
                && path
                    .symlink_metadata()
                    .is_ok_and(|data| data.is_file() || data.is_dir() || data.is_symlink())
        });
        // A link is one only where it is, and leads to what is beside it, if to anything.
        let place = |path: &Utf8PathBuf| match path.parent().filter(|_| path.is_symlink()) {
            Some(folder) => folder.to_owned(),
            None => path.clone(),
        };
        let seen: BTreeSet<Utf8PathBuf> = seen.map(place).collect();
        // Whoever looks at so many looks at all.
        paths.extend(if seen.len() > MANY { [tree.clone()].into() } else { seen });
        if let Some(version_control) = VersionControl::of(&unit.package, homes) {
            let asked = observed.asked.iter().chain(&observed.listed).map(Utf8PathBuf::as_path);
            let asked = asked.filter(|path| version_control.has(path));
            if asked.clone().next().is_some() {
                paths.extend(version_control.paths(asked).filter(|path| !given.has(path)));
            }
        }
        if matches!(unit.work, Work::Compile { .. }) {
            paths.extend(quoted_sources(unit, &given, &stderr, &tree, homes));
        }
        let misses_a_file = || {
            misses_a_file(&stdout, &stderr)
                || dep_info::complaints_of_macros(&stderr).iter().any(|text| speaks_of_files(text))
        };
        if outcome.status != 0 && paths.is_empty() && !given.has(&tree) && misses_a_file() {
            paths.insert(tree);
        }
        let variables = variables.into_iter().collect();
        Self { variables, paths, runs_always, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same with the folder of each file in its place, where that is in the tree of the unit's
    /// package and nothing that is made.
    pub fn wider(mut self, unit: &Unit, homes: &Homes) -> Self {
        let tree = homes.tree_of(&unit.package);
        let given = Given::of(unit);
        let may_be_whole = |dir: &Utf8Path| dir.starts_with(&tree) && !given.is_made(dir);
        let folder = |path: Utf8PathBuf| match path.parent() {
            Some(dir) if path.is_file() && may_be_whole(dir) => dir.to_owned(),
            _ => path,
        };
        self.paths = self.paths.into_iter().map(folder).collect();
        self
    }

    /// The same without what the unit may not be given, whoever says that it looked for that.
    pub fn within_reach(mut self, unit: &Unit, homes: &Homes) -> Self {
        let (given, reach) = (Given::of(unit), homes.reach_of(&unit.package));
        let downloaded = downloaded(&homes.cargo);
        let may_be_given = |path: &Utf8PathBuf| {
            may_be_given_of(unit, path, &reach, &given)
                || downloaded.iter().any(|folder| path.starts_with(folder))
        };
        self.paths.retain(may_be_given);
        self.opened.retain(may_be_given);
        self
    }

    /// The same with each path as `put` has it.
    pub fn with_paths(mut self, put: impl Fn(&Utf8Path) -> Utf8PathBuf) -> Self {
        for paths in [&mut self.paths, &mut self.opened] {
            *paths = paths.iter().map(|path| put(path)).collect();
        }
        self
    }

    pub fn extend(&mut self, other: Self) {
        self.variables.extend(other.variables);
        self.paths.extend(other.paths);
        self.opened.extend(other.opened);
        self.own_sentinels.extend(other.own_sentinels);
        self.runs_always |= other.runs_always;
        self.baked.extend(other.baked);
    }
}

/// The names of the variables that a unit looked for, or announced.
pub fn variables_asked_for(unit: &Unit, outcome: &Outcome, dep_info: &str) -> Vec<String> {
    match &unit.work {
        Work::Compile { .. } => {
            let mut variables =
                dep_info::undefined_variables(&String::from_utf8_lossy(&outcome.stderr));
            variables.extend(dep_info::variables(dep_info));
            variables
        }
        Work::BuildScript { .. } => {
            dep_info::directives(&String::from_utf8_lossy(&outcome.stdout), "rerun-if-env-changed")
        }
    }
}

/// The sources of other packages, in the same tree or from a registry, that rustc would quote if it
/// had them.
fn quoted_sources(
    unit: &Unit,
    given: &Given,
    stderr: &str,
    tree: &Utf8Path,
    homes: &Homes,
) -> BTreeSet<Utf8PathBuf> {
    let roots =
        [tree.to_owned(), homes.cargo.join("registry/src"), homes.cargo.join("git/checkouts")];
    let named =
        dep_info::pointed_at(stderr).into_iter().map(|name| normalised(&unit.cwd.join(name)));
    let is_source =
        |path: &Utf8PathBuf| roots.iter().any(|root| path.starts_with(root)) && path.is_file();
    named.filter(|path| !given.has(path)).filter(is_source).collect()
}

/// Whether a failure may come from a file that is not there.
fn misses_a_file(stdout: &str, stderr: &str) -> bool {
    let texts = ["No such file or directory", "os error 2", "NotFound", "couldn't read"];
    texts.iter().any(|text| stderr.contains(text) || stdout.contains(text))
}

/// Whether a macro's complaint, in its own words, may be about a file: `sqlx` wants its query
/// cache, another one its templates. A parser's never is.
fn speaks_of_files(complaint: &str) -> bool {
    let words = [
        "cache",
        "director",
        "exist",
        "file",
        "folder",
        "manifest",
        "metadata",
        "not find",
        "not found",
        "open",
        "path",
        "read",
    ];
    let complaint = complaint.to_lowercase();
    let is_of_parser = ["expected", "unexpected", "this file contains"]
        .iter()
        .any(|start| complaint.starts_with(start));
    !is_of_parser && words.iter().any(|word| complaint.contains(word))
}

/// Whether a path that a unit names is within its reach: its package's, or what this very build
/// makes, which cargo may hand out somewhere else. Version control as a whole is not.
fn may_be_given_of(unit: &Unit, path: &Utf8Path, reach: &Utf8Path, given: &Given) -> bool {
    let is_handed_out = || unit.programs().any(|program| normalised(program) == path);
    let is_within_reach = path.starts_with(reach) || given.is_made(path) || is_handed_out();
    path.file_name() != Some(".git") && is_within_reach
}

/// Whether a path of the target folder is cargo's own: locks, fingerprints, what it knows of rustc.
fn is_cargos_note(path: &Utf8Path) -> bool {
    path.components().any(|component| component.as_str().starts_with('.'))
}

fn is_of_version_control(path: &Utf8Path) -> bool {
    path.components().any(|component| component.as_str() == ".git")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rustc::{args::RustcArgs, tool::Tool};

    fn tree() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        for path in ["Cargo.toml", "shared.txt", "member/Cargo.toml", "member/src/lib.rs"] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), "").unwrap();
        }
        (dir, root)
    }

    fn note_discovered(root: &Utf8Path, compile: bool, status: i32, said: &str) -> Discovered {
        let args = RustcArgs::parse(vec![]);
        let out_dir = root.join("target");
        let work = match compile {
            true => Work::Compile { tool: Tool::Rustc, args, out_dir },
            false => Work::BuildScript { program: "/b".into(), out_dir, library_path: vec![] },
        };
        let package = root.join("member");
        let cwd = if compile { root.to_owned() } else { package.clone() };
        let unit = Unit::new(work, cwd, package);
        let said = said.as_bytes().to_vec();
        let outcome = Outcome { status, stdout: said.clone(), stderr: said, ..Outcome::default() };
        let homes = Homes { user: None, cargo: "/none".into(), settings: vec![] };
        let env = Env::with(&[("A", "1"), ("B", "2"), ("PATH", "/")]);
        Discovered::from(&unit, &outcome, &Observed::default(), "# env-dep:A\n", &env, &homes)
    }

    /// A record of another machine may name what is nobody's business.
    #[test]
    fn what_is_out_of_reach_is_not_given() {
        let (_dir, root) = tree();
        let work = Work::BuildScript {
            program: root.join("script"),
            out_dir: root.join("out"),
            library_path: vec![],
        };
        let unit = Unit::new(work, root.join("member"), root.join("member"));
        let homes = Homes { cargo: root.join("cargo"), ..Homes::of(&Env::with(&[])).unwrap() };
        let paths = ["/etc/passwd", "/root/.ssh/id", "/home/a/.netrc"].map(Utf8PathBuf::from);
        let own = root.join("member/data");
        let all = Discovered {
            paths: paths.into_iter().chain([own.clone()]).collect(),
            opened: ["/etc".into()].into(),
            ..Discovered::default()
        };
        let left = all.within_reach(&unit, &homes);
        assert_eq!(left.paths, [own].into());
        assert!(left.opened.is_empty());
    }

    #[test]
    fn a_compile_tells_what_it_read() {
        let (_dir, root) = tree();
        let discovered = note_discovered(
            &root,
            true,
            1,
            "error: couldn't read `member/src/../../shared.txt`: No such file or directory",
        );
        assert_eq!(discovered.paths, BTreeSet::from([root.join("shared.txt")]));
        assert_eq!(discovered.variables, BTreeSet::from(["A".to_owned()]));
    }

    #[test]
    fn a_build_script_tells_what_it_read() {
        let (_dir, root) = tree();
        let said = "cargo:rerun-if-changed=../shared.txt\ncargo::rerun-if-env-changed=B\ncargo::rerun-if-env-changed=PATH\ncargo:rerun-if-changed=/etc/passwd\n";
        let discovered = note_discovered(&root, false, 0, said);
        assert_eq!(discovered.paths, BTreeSet::from([root.join("shared.txt")]));
        assert_eq!(discovered.variables, BTreeSet::from(["B".to_owned()]));
    }

    #[test]
    fn a_failure_that_misses_something_gets_the_whole_tree() {
        let (_dir, root) = tree();
        assert_eq!(
            note_discovered(&root, false, 101, "Os { code: 2, kind: NotFound }").paths,
            BTreeSet::from([root.clone()])
        );
        assert!(note_discovered(&root, true, 1, "error[E0308]: mismatched types").paths.is_empty());
        let said = |text: &str| format!(r#"{{"message":"{text}","code":null,"level":"error"}}"#);
        assert!(
            !note_discovered(&root, true, 1, &said("no query cache: run `cargo sqlx prepare`"))
                .paths
                .is_empty()
        );
        for of_parser in [
            "expected one of `!` or `::`, found `read`",
            "this file contains an unclosed delimiter",
            "aborting",
        ] {
            assert!(
                note_discovered(&root, true, 1, &said(of_parser)).paths.is_empty(),
                "{of_parser}"
            );
        }
    }
}
