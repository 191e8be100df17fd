//! What any user may write reaches rustc as it is, or is refused with a reason.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::engine::Engine;
use crate::project::{By, Project};

/// The same ones in every run.
fn samples(strategy: impl Strategy<Value = String>, count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Every value that an environment can hold, as far as it is text.
fn assert_variables_arrive(engine: &Engine) {
    let special = "[\\PC\n\r\t\"'`$\\\\{}#!%&|;<>*?~ =,]{0,40}";
    let mut values =
        samples(prop_oneof![special, "[^\\x00]{0,60}", "[$\\\\\"'\n]{1,12}"].boxed(), 60);
    values.push("x'\"$y\\\n".repeat(12_500));
    values.extend(
        ["", " ", "\n", "#", "<<END\nEND", "$HOME ${HOME} $(id) `id`", "a\r\nb\\"]
            .map(str::to_owned),
    );
    let mut project = Project::on(engine, "broken").env("CARGO_INCREMENTAL", "0");
    let mut prints = String::new();
    for (at, value) in values.iter().enumerate() {
        project = project.env(&format!("IT_VALUE_{at}"), value);
        prints += &format!("println!(\"{{:?}}\", env!(\"IT_VALUE_{at}\"));\n");
    }
    project.edit("src/main.rs", "// HERE", &prints);
    let ours = project.start(By::Ours, "run").finish().succeeds();
    for (value, printed) in values.iter().zip(ours.stdout.lines()) {
        assert_eq!(format!("{value:?}"), printed);
    }
    assert!(ours.stdout.lines().count() > values.len());
}

#[test]
fn variables_arrive_through_docker() {
    assert_variables_arrive(Engine::docker());
}

#[test]
fn variables_arrive_through_podman() {
    assert_variables_arrive(Engine::podman());
}

/// A folder of any name that cargo itself can build in.
#[test]
fn any_path_works_or_is_refused() {
    let mut names =
        samples("[^/\\x00]{1,12}".prop_filter("a name", |name| name != "." && name != ".."), 8);
    names.extend(
        ["a b", "a'b", "a\"b", "a$b", "a,b", "a\\b", "a\nb", "a#b", "a=b", "-a", "ü", "%h"]
            .map(str::to_owned),
    );
    let mut built = 0;
    for name in names {
        let project = Project::at(Engine::docker(), "broken", &name).env("CARGO_INCREMENTAL", "0");
        let (plain, ours) = (project.plain("run"), project.ours("run"));
        if !plain.status.success() {
            assert!(!ours.status.success(), "{name:?}: {ours}");
        } else if ours.status.success() {
            assert_eq!(plain.stdout, ours.stdout, "{name:?}");
            built += 1;
        } else {
            assert!(ours.stderr.contains("rustcbuildx: error: failed to "), "{name:?}: {ours}");
        }
    }
    assert!(built >= 10, "only {built} built");
}
