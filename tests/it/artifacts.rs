//! Artifact dependencies: programs and libraries that another package's units run, link and
//! include.

use std::fs;

use crate::{
    planned::{self, green},
    project::{By, Project},
};

fn with_their_option(project: Project) -> Project {
    project.with_own_cache().env("RUSTC_BOOTSTRAP", "1")
}

fn edit(project: &Project) {
    project.edit("tool/src/main.rs", "number one", "number two");
    project.edit("lib/src/lib.rs", "number one", "number two");
    project.edit("lib/src/lib.rs", "    1\n", "    2\n");
}

const ONE: &str = "the script ran tool number one with a file of its own, linked 1\nincluded: true [true, true]\n";
const TWO: &str = "the script ran tool number two with a file of its own, linked 2\nincluded: false [false, false]\n";

#[test]
fn by_the_wrapper() {
    let project = with_their_option(Project::new("artifacts"));
    project.same(&["run -p app"]);
    assert_eq!(project.ours("run -p app").stdout, ONE);
    edit(&project);
    project.same(&["run -p app"]);
    assert_eq!(project.ours("run -p app").stdout, TWO);
    project.same(&["test -p app", "clippy"]);
}

#[test]
fn by_a_plan() {
    for incremental in ["0", "1"] {
        let project =
            with_their_option(planned::project("artifacts")).env("CARGO_INCREMENTAL", incremental);
        for expected in [ONE, TWO] {
            project.plain("run -p app").succeeds();
            assert_eq!(green(&project, "run -p app").succeeds().stdout, expected);
            project.assert_same_tree();
            project.same(&["run -p app"]);
            if expected == ONE {
                edit(&project);
            }
        }
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        assert_eq!(green(&project, "run -p app").succeeds().stdout, TWO);
        green(&project, "test -p app").succeeds();
    }
}
