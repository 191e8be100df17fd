//! A plan whose engine lost what it was thought to keep.

use std::fs;
use std::time::Duration;

use crate::command::wait_until;
use crate::kept::{forget_kept, kept, kept_by_now, spoil};
use crate::planned::{as_workspace, assert_planned, green, member, project, start_green};
use crate::project::By;

/// An engine that lost everything, or another one, is given what is stored.
#[test]
fn what_is_stored_is_not_built_again_for_a_new_engine() {
    let project = project("broken").with_own_cache();
    green(&project, "build").succeeds();
    spoil(&project, &kept(&project), "rm -r /kept/*/files");
    forget_kept(&project);
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.edit("src/main.rs", "// HERE", "let _ = 1;");
    project.calls.take();
    green(&project, "run").succeeds();
    let calls = project.calls.take();
    let is_given: Vec<bool> =
        calls.iter().map(|call| call.contains("--build-context=given=")).collect();
    // The package's script, what is stored, and what comes of both; once more, if BuildKit loses a
    // cache mount meanwhile.
    assert!(is_given.starts_with(&[false, true, false]) && is_given.len() <= 4, "{calls:#?}");
    assert!(
        calls.iter().zip(is_given).all(|(call, given)| given || call.contains("rawjson")),
        "{calls:#?}"
    );
    // Of the macros' crate, nothing is sent.
    assert_eq!(calls[2].matches("--build-context").count(), 1, "{calls:#?}");
    project.plain("run").succeeds();
    project.assert_same_tree();
}

/// The engine's folders are there, but with nothing in them: no call is made again and again.
#[test]
fn what_the_engine_lost_is_made_again() {
    let project = project("broken").with_own_cache();
    green(&project, "build").succeeds();
    let keys = kept(&project);
    spoil(&project, &keys, "rm -r /kept/*/files/*");
    let edit_and_calls = |from: &str, to: &str| {
        project.edit("src/main.rs", from, to);
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        project.calls.take();
        green(&project, "run").succeeds();
        project.calls.take()
    };
    let calls = edit_and_calls("// HERE", "let _ = 1;");
    assert!(calls.len() < 9, "{calls:#?}");
    // Nor is it lost for good: what is stored is given to the engine.
    forget_kept(&project);
    edit_and_calls("let _ = 1;", "let _ = 2;");
    let calls = edit_and_calls("let _ = 2;", "let _ = 3;");
    assert_eq!(calls.len(), 2, "{calls:#?}");
    project.plain("run").succeeds();
    project.assert_same_tree();
}

/// Calls that run at the same time all fail for want of one file: it is given to the engine, which
/// keeps the rest.
#[test]
fn what_many_calls_miss_is_given_once() {
    let project = project("broken").with_own_cache().logging("debug").env("CARGO_BUILD_JOBS", "1");
    let log = project.log();
    as_workspace(&project);
    ["below1", "below2"].iter().for_each(|name| member(&project, name, ""));
    let uses = "below1 = { path = \"../below1\" }\nbelow2 = { path = \"../below2\" }\n";
    (0..48).for_each(|at| member(&project, &format!("m{at}"), uses));
    green(&project, "build -p below1").succeeds();
    let below1 = kept(&project);
    green(&project, "build -p below2").succeeds();
    let below2: Vec<String> =
        kept(&project).into_iter().filter(|key| !below1.contains(key)).collect();
    spoil(&project, &below1, "rm -r /kept/*/files");
    fs::remove_file(&log).unwrap();
    green(&project, "build").succeeds();
    let log = fs::read_to_string(&log).unwrap();
    let failures = log.matches("again without what was thought to be kept").count();
    assert!(failures > 1, "{log}");
    let makes = |keys: &[String]| keys.iter().any(|key| log.contains(&format!(" AS {key}\n")));
    assert!(
        !makes(&below1) && !makes(&below2) && log.contains("outcomes of the store were given"),
        "{log}"
    );
}

/// A crate that the plan itself had made a moment before: the engine's cache still has the step, so
/// nothing is asked for nor given.
#[test]
fn what_was_just_made_is_only_told_again() {
    let project = project("broken").with_own_cache().logging("debug").env("CARGO_BUILD_JOBS", "1");
    as_workspace(&project);
    ["below", "below-told"].iter().for_each(|name| member(&project, name, ""));
    fs::write(project.root.join("below-told/build.rs"), "fn main() {}").unwrap();
    member(
        &project,
        "below-slow",
        "[build-dependencies]\nbelow-told = { path = \"../below-told\" }\n",
    );
    let sleep = "fn main() { std::thread::sleep(std::time::Duration::from_secs(10)) }";
    fs::write(project.root.join("below-slow/build.rs"), sleep).unwrap();
    let uses = "below = { path = \"../below\" }\nbelow-slow = { path = \"../below-slow\" }\n";
    ["m1", "m2"].iter().for_each(|name| member(&project, name, uses));
    let ours = start_green(&project, "build");
    // All that can be told before a script has run: the next call is the slow one's.
    let made = || kept_by_now(&project);
    assert!(wait_until(Duration::from_secs(60), || made().len() == 3), "{:?}", made());
    spoil(&project, &made(), "rm /kept/*/files/libbelow-*");
    project.calls.take();
    assert_planned(&project, ours.finish());
    let log = fs::read_to_string(project.log()).unwrap();
    assert!(log.contains("again without what was thought to be kept"), "{log}");
    project.plain("build").succeeds();
    project.assert_same_tree();
}
