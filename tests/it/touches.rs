//! What units touch and nobody declares: each way to touch something, crossed with all that may
//! happen to it. What plain cargo's program says is right.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::start,
    engine::Engine,
    planned,
    project::{By, Project},
};

const VARIABLES: &[&str] = &[
    "TOUCHED",
    "TOUCHED_BY_OS",
    "TOUCHED_BY_LIBC",
    "TOUCHED_BY_CHILD",
    "TOUCHED_BY_SHELL",
    "TOUCHED_BY_FILE",
    "TOUCHED_BY_MACRO",
    "TOUCHED_BY_MACROS_LIBC",
];

/// Where the files are that units touch.
const BESIDE_PACKAGE: &str = "shared";
const IN_PACKAGE: &str = "app/shared";

/// The names of the folders whose files are touched, each in another way.
fn ways(project: &Project) -> Vec<String> {
    let of_macro = ["macro-read", "macro-exists", "macro-list", "macro-child"];
    let script = fs::read_to_string(project.root.join("app/build.rs")).unwrap();
    let of_script = script.split("touch(\"").skip(1).filter_map(|part| part.split('"').next());
    let of_script = of_script.map(|way| way.replace(' ', "-"));
    of_script.chain(of_macro.map(str::to_owned)).collect()
}

struct Touching<'a> {
    project: &'a Project,
    with_green: bool,
    variable: Option<&'static str>,
}

impl Touching<'_> {
    fn run(&self, by: By) -> String {
        let is_green = self.with_green && by == By::Ours;
        let args = if is_green { "green run -q" } else { "run -q" };
        let mut cargo = self.project.cargo(by, args);
        if is_green {
            cargo.env_remove("RUSTC_WRAPPER");
        }
        if let Some(value) = self.variable {
            cargo.envs(VARIABLES.iter().map(|name| (name, value)));
        }
        start(cargo, &format!("cargo {args} # {by:?}")).finish().succeeds().stdout
    }

    /// Has both build anew after something happened; they say the same.
    #[track_caller]
    fn same_after(&self, what: &str) -> String {
        let trigger = self.project.root.join("app/trigger");
        fs::write(&trigger, what).unwrap();
        let (plain, ours) = (self.run(By::Plain), self.run(By::Ours));
        let lines = plain.lines().zip(ours.lines()).filter(|(plain, ours)| plain != ours);
        let differences: Vec<_> = lines.collect();
        assert!(differences.is_empty(), "after {what}: {differences:#?}");
        assert_eq!(plain, ours, "after {what}");
        plain
    }
}

fn each(folders: &[PathBuf], act: impl Fn(&Path)) {
    folders.iter().for_each(|folder| act(folder));
}

/// A project whose units touch files in such a place.
fn project(place: &str) -> Project {
    let project = planned::project("touches").with_own_cache();
    if place == IN_PACKAGE {
        // All is sent of it, and what was looked at is decisive.
        project.edit("app/build.rs", "\"../shared\"", "\"shared\"");
        project.edit("mac/src/lib.rs", "\"../shared\"", "\"shared\"");
    }
    project
}

fn whatever_happens(with_green: bool, place: &str) {
    let project = project(place);
    let shared = project.root.join(place);
    let folders: Vec<PathBuf> = ways(&project).iter().map(|way| shared.join(way)).collect();
    assert!(folders.len() > 25, "{folders:?}");
    let mut touching = Touching { project: &project, with_green, variable: None };
    touching.same_after("nothing is there");
    each(&folders, |folder| fs::create_dir_all(folder).unwrap());
    touching.same_after("folders are made");
    each(&folders, |folder| fs::write(folder.join("file"), "one").unwrap());
    each(&folders, |folder| std::os::unix::fs::symlink("one", folder.join("link")).unwrap());
    let said = touching.same_after("files are made");
    assert!(said.contains("read: one\n") && said.contains("macro reads: one\n"), "{said}");
    each(&folders, |folder| fs::write(folder.join("file"), "other").unwrap());
    touching.same_after("an edit");
    // A plan looks as any call does: that it looks again after this and that is enough.
    if with_green {
        touching.variable = Some("set");
        touching.same_after("a variable is set");
        each(&folders, |folder| fs::remove_file(folder.join("file")).unwrap());
        touching.same_after("files are removed");
        return;
    }
    each(&folders, |folder| {
        fs::File::open(folder.join("file"))
            .and_then(|file| file.set_modified(std::time::SystemTime::now()))
            .unwrap();
    });
    touching.same_after("a touch");
    each(&folders, |folder| {
        fs::write(folder.join("new"), "renamed").unwrap();
        fs::rename(folder.join("new"), folder.join("file")).unwrap();
        fs::remove_file(folder.join("link")).unwrap();
        std::os::unix::fs::symlink("two", folder.join("link")).unwrap();
    });
    touching.same_after("a rename");
    for value in ["set", "another"] {
        touching.variable = Some(value);
        let said = touching.same_after("a variable is set");
        assert_eq!(said.matches(&format!(": {value}\n")).count(), VARIABLES.len(), "{said}");
    }
    touching.variable = None;
    touching.same_after("variables are unset");
    for by in [By::Plain, By::Ours] {
        fs::remove_dir_all(project.target(by)).unwrap();
    }
    touching.same_after("a new target folder");
    fs::remove_dir_all(project.dir().join("cache")).unwrap();
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    touching.same_after("an empty store");
    each(&folders, |folder| fs::remove_file(folder.join("file")).unwrap());
    touching.same_after("files are removed");
    each(&folders, |folder| fs::remove_dir_all(folder).unwrap());
    touching.same_after("folders are removed");
    each(&folders, |folder| fs::create_dir_all(folder).unwrap());
    each(&folders, |folder| fs::write(folder.join("file"), "again").unwrap());
    touching.same_after("files are made again");
}

#[test]
fn whatever_happens_to_what_units_touch() {
    whatever_happens(false, BESIDE_PACKAGE);
}

#[test]
fn whatever_happens_to_what_units_touch_in_a_plan() {
    whatever_happens(true, BESIDE_PACKAGE);
}

#[test]
fn whatever_happens_in_a_package() {
    whatever_happens(false, IN_PACKAGE);
}

/// One way after the other: what is seen of one does not make up for what is not seen of another.
#[test]
fn each_way_is_seen_by_itself() {
    let project = project(IN_PACKAGE).env("CARGO_PROFILE_DEV_DEBUG", "0");
    let touching = Touching { project: &project, with_green: false, variable: None };
    let folders: Vec<PathBuf> =
        ways(&project).iter().map(|way| project.root.join(IN_PACKAGE).join(way)).collect();
    let nothing = touching.same_after("nothing is there");
    for folder in &folders {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("file"), "one").unwrap();
        std::os::unix::fs::symlink("one", folder.join("link")).unwrap();
    }
    let mut said = touching.same_after("files are made");
    for folder in &folders {
        fs::remove_dir_all(folder).unwrap();
        fs::write(project.root.join("app/trigger"), folder.as_os_str().as_encoded_bytes()).unwrap();
        let now = touching.run(By::Ours);
        let changed: Vec<_> =
            now.lines().zip(said.lines()).filter(|(new, old)| new != old).collect();
        assert!(!changed.is_empty(), "the removal of {} is not seen", folder.display());
        let is_as_ever = |line: &str| nothing.lines().any(|nothing| nothing == line);
        assert!(
            changed.iter().all(|(new, _)| is_as_ever(new)),
            "{}: {changed:#?}",
            folder.display()
        );
        said = now;
    }
    assert_eq!(said, nothing);
}

/// What each of the two has seen of a unit is another outcome.
#[test]
fn who_does_not_look_is_blind() {
    let project = Project::new("touches").with_own_cache().env("CARGO_INCREMENTAL", "0");
    let folder = project.root.join("shared/read");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), "one").unwrap();
    for (observe, expected) in [("0", "read: nothing\n"), ("1", "read: one\n")] {
        fs::write(project.root.join("app/trigger"), observe).unwrap();
        let mut cargo = project.cargo(By::Ours, "run -q");
        cargo.env("RUSTCBUILDX_OBSERVE", observe);
        let said = start(cargo, "cargo run").finish().succeeds().stdout;
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn podman_lets_the_worker_look() {
    let project = Project::on(Engine::podman(), "touches").env("CARGO_INCREMENTAL", "0");
    for way in ways(&project) {
        fs::create_dir_all(project.root.join("shared").join(&way)).unwrap();
        fs::write(project.root.join("shared").join(&way).join("file"), "one").unwrap();
    }
    let touching = Touching { project: &project, with_green: false, variable: Some("set") };
    touching.same_after("files are made");
}
