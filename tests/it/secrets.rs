//! Variables with names that look secret: a package has its own, and those of its user are missed
//! aloud.

use crate::{
    command::Finished,
    planned::{self, green},
    project::Project,
};

const OWN: &str = "table one [\"1\", \"metadata\"]";
const WITHHELD: [&str; 2] = ["MAPS_API_KEY", "SCRIPT_TOKEN"];

fn with_secrets(project: Project) -> Project {
    WITHHELD.iter().fold(project.env("TABLE_KEY", "the user's"), |project, name| {
        project.env(name, "it-secret")
    })
}

/// Without what looks secret, and fresh; and with it once it is allowed.
#[track_caller]
fn is_missed_aloud(project: Project, run: impl Fn(&Project, &str) -> Finished) {
    let mut ours = run(&project, "run").succeeds();
    assert_eq!(ours.stdout, format!("{OWN} false\nNone None\n"));
    for name in WITHHELD {
        ours = ours
            .says(&format!("`{name}` looks like a secret"))
            .says(&format!("RUSTCBUILDX_SET_ENVS={name}"));
    }
    assert!(!ours.stderr.contains("TABLE_KEY") && !ours.stderr.contains("UNSET_API_KEY"), "{ours}");
    project.calls.take();
    assert_eq!(run(&project, "build --message-format=json").succeeds().units_compiled(), 0);
    assert_eq!(project.calls.take(), [""; 0]);

    let project = project.env("RUSTCBUILDX_SET_ENVS", &WITHHELD.join(","));
    let ours = run(&project, "run").succeeds();
    assert_eq!(ours.stdout, format!("{OWN} true\nSome(\"it-secret\") None\n"));
    assert!(!ours.stderr.contains("looks like a secret"), "{ours}");
    assert_eq!(run(&project, "build --message-format=json").succeeds().units_compiled(), 0);
}

#[test]
fn by_the_wrapper() {
    is_missed_aloud(with_secrets(Project::new("secrets").with_own_cache()), |project, args| {
        project.ours(args)
    });
}

/// What build scripts say is filled in, and found again by the command itself.
#[test]
fn by_a_plan() {
    is_missed_aloud(with_secrets(planned::project("secrets").with_own_cache()), green);
    let project = planned::project("secrets").with_own_cache();
    green(&project, "run").succeeds();
    let calls = project.calls.take();
    assert!(
        calls.iter().all(|call| !call.contains("--secret") || call.contains("/batch")),
        "{calls:#?}"
    );
    project.plain("run").succeeds();
    project.assert_same_tree();
}
