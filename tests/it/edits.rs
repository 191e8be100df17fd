//! What is made anew after an edit: never more than plain cargo makes, and nothing where no process
//! of a unit looked at what changed, whatever cargo thinks of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rustcbuildx::report::timings::{self, Phase};

use crate::{
    command::start,
    planned,
    project::{By, Project},
};

/// A project after whose edits both build.
struct Edited {
    project: Project,
    with_green: bool,
    is_incremental: bool,
    spans: PathBuf,
}

impl Edited {
    fn new(with_green: bool, is_incremental: bool) -> Self {
        let incremental = if is_incremental { "1" } else { "0" };
        let project = planned::project("edits").with_own_cache();
        let project = project.env("CARGO_INCREMENTAL", incremental);
        let spans = project.dir().join("spans.json");
        let project = project.env("RUSTCBUILDX_TIMINGS", spans.to_str().unwrap());
        let edited = Self { project, with_green, is_incremental, spans };
        let (plain, ours) = edited.made();
        assert!(plain == 8 && ours.len() == plain, "{plain} {ours:?}");
        edited
    }

    /// Builds with both, which make the same program, and returns how many processes plain cargo
    /// ran, and which units ours made.
    #[track_caller]
    fn made(&self) -> (usize, BTreeSet<String>) {
        let _ = fs::remove_file(&self.spans);
        let run = |by| {
            let is_green = self.with_green && by == By::Ours;
            let args = if is_green { "green run -v" } else { "run -v" };
            let mut cargo = self.project.cargo(by, args);
            if is_green {
                cargo.env_remove("RUSTC_WRAPPER");
            }
            start(cargo, &format!("cargo {args} # {by:?}")).finish().succeeds()
        };
        let (plain, ours) = (run(By::Plain), run(By::Ours));
        assert_eq!(plain.stdout, ours.stdout);
        self.project.assert_same_tree();
        let ran = plain.stderr.lines().filter(|line| line.trim_start().starts_with("Running `"));
        let spans = self.spans.as_path().try_into().unwrap();
        let made = timings::read(spans).unwrap_or_default().into_iter();
        let made = made.filter(|span| span.phase == Phase::Engine);
        // The last is the program itself.
        (ran.count() - 1, made.map(|span| span.name).collect())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.project.root.join(file)
    }

    /// What both make after an edit.
    #[track_caller]
    fn after(&self, what: &str, edit: impl FnOnce(&Self)) -> (usize, BTreeSet<String>) {
        edit(self);
        let (plain, ours) = self.made();
        println!("{what}: plain {plain}, ours {ours:?}");
        assert!(ours.len() <= plain, "after {what}: plain makes {plain}, ours {ours:?}");
        (plain, ours)
    }

    /// Cargo builds after this, and nothing is to be made. What is compiled incrementally is not
    /// stored, so it is compiled again.
    #[track_caller]
    fn makes_nothing_after(&self, what: &str, edit: impl FnOnce(&Self)) {
        let (plain, ours) = self.after(what, edit);
        assert!(
            plain > 0 && (ours.is_empty() || self.is_incremental),
            "after {what}: plain makes {plain}, ours {ours:?}"
        );
    }

    #[track_caller]
    fn makes_after(&self, what: &str, expected: &[&str], edit: impl FnOnce(&Self)) {
        let (_, ours) = self.after(what, edit);
        let units: BTreeSet<String> = expected.iter().map(|unit| (*unit).to_owned()).collect();
        assert_eq!(ours, units, "after {what}");
    }
}

fn append(file: &Path, text: &str) {
    let known = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, known + text).unwrap();
}

fn after_edits(with_green: bool, is_incremental: bool) {
    let edited = Edited::new(with_green, is_incremental);
    let add = |file: &'static str, text: &'static str| {
        move |edited: &Edited| append(&edited.path(file), text)
    };
    // Its script says nothing of what it reads, so cargo has all that is above it made anew.
    edited.makes_nothing_after("a README", add("core/README.md", "more\n"));
    edited.makes_nothing_after("an asset that nobody reads", add("core/assets/unused.txt", "more"));
    edited.makes_nothing_after("a file that no script reads", add("core/data/notes.txt", "more"));
    edited.makes_nothing_after("a new file", add("core/new.txt", "new"));
    edited.makes_nothing_after("its removal", |edited| {
        fs::remove_file(edited.path("core/new.txt")).unwrap();
    });
    edited.makes_nothing_after("a test", add("core/tests/sums.rs", "// more\n"));
    edited.makes_nothing_after("a benchmark", add("core/benches/speed.rs", "// more\n"));
    edited.makes_nothing_after("an example", add("core/examples/shown.rs", "// more\n"));
    edited.makes_nothing_after("a touch of a source", |edited| {
        let file = fs::File::open(edited.path("core/src/lib.rs")).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
    });
    let header = add("native/include/unused.h", "#define MORE 1\n");
    edited.makes_nothing_after("a header that no C file includes", header);
    let table = "core/data/table.txt";
    edited.after("a table that a script reads", add(table, "three\n"));
    edited.makes_nothing_after("the way back", |edited| {
        fs::write(edited.path(table), "one\ntwo\n").unwrap();
    });
    edited.makes_after(
        "a row of the same table",
        &[
            "core-of-it 0.1.0 (build script)",
            "core-of-it 0.1.0 (crate core_of_it)",
            "app 0.1.0 (crate app)",
        ],
        |edited| fs::write(edited.path(table), "one\n2\n").unwrap(),
    );
    edited.after("an asset that is read", add("core/assets/used.txt", " more"));
    edited.after("a header that is read", |edited| {
        edited.project.edit("native/include/used.h", "42", "43");
    });
    edited.after("a comment", add("core/src/lib.rs", "// more\n"));
    edited.after("a comment in a macro", add("macros/src/lib.rs", "// more\n"));
    edited.after("a script", add("native/build.rs", "// more\n"));
    edited.after("a file that only a macro reads", |edited| {
        append(&edited.path("app/greeting.txt"), "more\n");
        append(&edited.path("app/src/main.rs"), "// more\n");
    });
    for (what, file) in [("README", "app/README.md"), ("README", "README.md")] {
        let (plain, ours) = edited.after(what, add(file, "more\n"));
        assert!(plain == 0 && ours.is_empty());
    }
    edited.after("a description", |edited| {
        edited.project.edit("core/Cargo.toml", "What all", "What all the");
    });
    edited.after("a feature that nobody asks for", |edited| {
        edited.project.edit("core/Cargo.toml", "unused = []", "unused = []\nother = []");
    });
    edited.after("a version", |edited| edited.project.edit("app/Cargo.toml", "0.1.0", "0.1.1"));
}

#[test]
fn no_more_than_plain_cargo_makes() {
    after_edits(false, false);
}

#[test]
fn no_more_than_plain_cargo_makes_in_a_plan() {
    after_edits(true, false);
}

#[test]
fn no_more_than_plain_cargo_makes_incrementally() {
    after_edits(false, true);
}
