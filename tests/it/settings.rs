//! Settings in files: which of them hold, what is said of mistakes, and that builds follow them.

use std::fs;
use std::path::PathBuf;

use crate::command::{Finished, start};
use crate::engine::{Engine, WRAPPER, command};
use crate::planned::{self, green};
use crate::project::{By, Project};

/// A project, and a user with a folder of configuration.
fn project() -> Project {
    let project = planned::project("workspace").inside("ws");
    let user = project.dir().join("user");
    fs::create_dir_all(user.join("rustcbuildx")).unwrap();
    project.env("XDG_CONFIG_HOME", user.to_str().unwrap())
}

/// The workspace's.
fn root(project: &Project) -> PathBuf {
    project.root.join("ws")
}

fn write(project: &Project, path: &str, text: &str) {
    let path = match path.strip_prefix("user/") {
        Some(below) => project.dir().join("user").join(below),
        None => root(project).join(path),
    };
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn rustcbuildx(project: &Project, args: &str, variables: &[(&str, &str)]) -> Finished {
    let mut command = command(WRAPPER, &Engine::docker().env);
    // Tests run on services, too, where `CI` chooses a profile.
    command.env_remove("CI").env("XDG_CONFIG_HOME", project.dir().join("user"));
    command.envs(variables.iter().copied());
    command.args(args.split_whitespace()).current_dir(root(project));
    start(command, &format!("rustcbuildx {args}")).finish()
}

const USERS: &str = "user/rustcbuildx/config.toml";
const WORKSPACES: &str = ".config/rustcbuildx.toml";
const SIZE: &str = "RUSTCBUILDX_STORE_SIZE";

#[test]
fn the_highest_layer_decides() {
    let project = project();
    let case = |variables: &[(&str, &str)], expected: &str, origin: &str| {
        let all = rustcbuildx(&project, "env", variables).succeeds().stdout;
        let line = all.lines().find(|line| line.starts_with(&format!("{SIZE}="))).unwrap();
        let told = line.starts_with(&format!("{SIZE}={expected}  # "));
        let end = if origin.ends_with(':') { "" } else { ": " };
        let origin_of_line = origin.replace(':', "`:") + end;
        assert!(told && line.contains(&origin_of_line), "{line}");
        let one = rustcbuildx(&project, &format!("env --json {SIZE}"), variables).succeeds();
        let one: serde_json::Value = serde_json::from_str(&one.stdout).unwrap();
        let one = &one[SIZE];
        assert_eq!(one["value"], expected);
        match origin.rsplit_once(':') {
            None => assert_eq!(one["origin"], origin),
            Some((file, line)) => {
                let at = &one["at"][0];
                assert!(at["file"].as_str().unwrap().ends_with(file), "{one}");
                assert!(line.is_empty() || at["line"] == line.parse::<u64>().unwrap(), "{one}");
            }
        }
    };
    case(&[], "20GB", "default");
    write(&project, USERS, "store-size = \"1GB\"\n[profile.ci]\nstore-size = \"7GB\"\n");
    case(&[], "1GB", "/rustcbuildx/config.toml:1");
    write(&project, "team.toml", "store-size = \"2GB\"\n");
    write(&project, WORKSPACES, "include = [\"../team.toml\"]\n");
    case(&[], "2GB", "/team.toml:1");
    write(&project, WORKSPACES, "include = [\"../team.toml\"]\nstore-size = \"3GB\"\n");
    case(&[], "3GB", "/.config/rustcbuildx.toml:2");
    case(&[("CI", "true")], "7GB", "/rustcbuildx/config.toml:3");
    case(&[("CI", "false")], "3GB", "/.config/rustcbuildx.toml:2");
    case(&[("RUSTCBUILDX_PROFILE", "ci")], "7GB", "/rustcbuildx/config.toml:3");
    case(&[("CI", "1"), (SIZE, "9GB")], "9GB", "environment");
    fs::remove_file(root(&project).join(WORKSPACES)).unwrap();
    case(&[], "1GB", "/rustcbuildx/config.toml:1");
    let manifest = fs::read_to_string(root(&project).join("Cargo.toml")).unwrap();
    let table = "\n[workspace.metadata.green]\nstore-size = \"4GB\"\n";
    write(&project, "Cargo.toml", &(manifest + table));
    case(&[], "4GB", "/Cargo.toml:");
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    let project = project();
    let case = |text: &str, expected: &[&str]| {
        write(&project, WORKSPACES, text);
        let refused = rustcbuildx(&project, "env", &[]).fails();
        for expected in expected {
            assert!(refused.stderr.contains(expected), "{expected}: {refused}");
        }
        // A build says the same.
        let refused = project.ours("build").fails();
        for expected in expected {
            assert!(refused.stderr.contains(expected), "{expected}: {refused}");
        }
    };
    let file = "ws/.config/rustcbuildx.toml`";
    case("\nstrict = \n", &[file, ": 2: not TOML"]);
    case("stor-size = \"1GB\"\n", &[file, ": 1: no setting is called `stor-size`", "`store-size`"]);
    case("\n\nstrict = \"yes\"\n", &[file, ": 3: the value of `strict` is not a switch"]);
    case("store-size = \"20\"\n", &["`store-size` in `", file, ":1: `20`", "it has no unit"]);
    case("\ncanonical-paths = \"x\"\n", &["`canonical-paths` in `", file, ":2: `x`", "no such"]);
    case("include = [\"none.toml\"]\n", &["none.toml`, which `", file, ":1 includes"]);
    case("include = [\"rustcbuildx.toml\"]\n", &[file, "includes itself"]);
    case("strict = true\n[workspace]\n", &[file, ": 2: no setting is called `workspace`"]);
    write(&project, WORKSPACES, "strict = true\n");
    let refused = rustcbuildx(&project, "env", &[("RUSTCBUILDX_PROFILE", "c1")]).fails();
    assert!(refused.stderr.contains("the profile `c1`: no file of settings has it"), "{refused}");
    let manifest = fs::read_to_string(root(&project).join("Cargo.toml")).unwrap();
    write(&project, "Cargo.toml", &(manifest + "\n[workspace.metadata.green]\nleave = true\n"));
    let refused = rustcbuildx(&project, "env", &[]).fails();
    assert!(refused.stderr.contains("keep one of them"), "{refused}");
}

/// Also what was compiled before a file changed.
#[test]
fn a_build_follows_the_files_as_they_are() {
    let project = project().with_own_cache();
    write(&project, WORKSPACES, "enabled = false\n");
    let said = "less is in the sandbox than could be, as the workspace says: `enabled` in `";
    let local = project.ours("build").succeeds();
    assert_eq!(local.stderr.matches(said).count(), 1, "{local}");
    let local = green(&project, "check").succeeds();
    assert_eq!(local.stderr.matches(said).count(), 1, "{local}");
    assert_eq!(project.calls.take(), [""; 0]);
    write(&project, WORKSPACES, "enabled = true\n");
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.ours("build").succeeds();
    assert!(!project.calls.take().is_empty());
    project.plain("build").succeeds();
    project.assert_same_tree();
}

/// Wherever a unit's package is, what counts is where cargo runs.
#[test]
fn what_a_dependency_brings_sets_nothing() {
    let project = project().with_own_cache();
    let outside = project.root.join("outside");
    fs::create_dir(outside.join(".config")).unwrap();
    fs::write(outside.join(".config/rustcbuildx.toml"), "enabled = false\n").unwrap();
    project.ours("build").succeeds();
    assert!(!project.calls.take().is_empty());
    // Nor what is downloaded, if cargo is started there.
    write(&project, WORKSPACES, "stor-size = \"1GB\"\n");
    rustcbuildx(&project, "env", &[]).fails();
    let home = &project.root;
    rustcbuildx(&project, "env", &[("CARGO_HOME", home.to_str().unwrap())]).succeeds();
}

/// What a package sets for itself is added to what all have; of a dependency, nothing is.
#[test]
fn members_set_what_is_theirs() {
    let project = project();
    write(&project, WORKSPACES, "set-envs = [\"ALL\"]\n");
    let root = root(&project);
    let add = |manifest: &str| {
        let path = root.join(manifest);
        let text = fs::read_to_string(&path).unwrap();
        let table = "\n[package.metadata.green]\nset-envs = [\"OWN\"]\nlocal-script = true\n";
        fs::write(path, text + table).unwrap();
    };
    add("../outside/Cargo.toml");
    let shown = |names: &str| rustcbuildx(&project, &format!("env {names}"), &[]).succeeds().stdout;
    assert_eq!(shown("RUSTCBUILDX_SET_ENVS RUSTCBUILDX_LOCAL_SCRIPTS"), "ALL\n\n");
    add("middle/Cargo.toml");
    let expected = "ALL,middle:OWN\nmiddle\n";
    assert_eq!(shown("RUSTCBUILDX_SET_ENVS RUSTCBUILDX_LOCAL_SCRIPTS"), expected);
    write(
        &project,
        "middle/Cargo.toml",
        &format!("{}\nruner = 1\n", fs::read_to_string(root.join("middle/Cargo.toml")).unwrap()),
    );
    let refused = project.ours("build").fails();
    assert!(refused.stderr.contains("no setting of a package is called `runer`"), "{refused}");
}

#[test]
fn green_takes_settings_on_its_command_line() {
    let project = project().env("RUSTCBUILDX_RUNNER", "docker");
    green(&project, "--config runner=\"none\" build --config profile.dev.debug=0").succeeds();
    assert_eq!(project.calls.take(), [""; 0]);
    project.plain("build --config profile.dev.debug=0").succeeds();
    project.assert_same_tree();
    let refused = green(&project, "build --config store-sise=\"1GB\"").fails();
    assert!(refused.stderr.contains("is `store-size` meant?"), "{refused}");
}
