//! Nothing of the user's changes, though a `.dockerignore` of `*` is in every folder.

use std::path::Path;
use std::process::Command;

use crate::command::start;
use crate::project::{By, Project};

/// The target folder is where it is by default: in the source tree.
#[test]
fn git_sees_the_target_folder_only() {
    let project = Project::new("workspace").inside("ws");
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "core.quotePath=false", "-c", "user.name=it"]);
        git.args(["-c", "user.email=it@localhost"]).args(args).current_dir(&project.root);
        start(git, &args.join(" ")).finish().succeeds().stdout
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "-m", "it"]);
    let files = || {
        let mut files = project.snapshot();
        files.retain(|path, _| {
            !path.starts_with(".git") && !Path::new(path).starts_with("ws/target")
        });
        files
    };
    let before = files();
    for args in ["build", "test", "clippy", "doc"] {
        let mut cargo = project.cargo(By::Ours, args);
        cargo.env_remove("CARGO_TARGET_DIR");
        start(cargo, args).finish().succeeds();
    }
    assert!(!project.calls.take().is_empty());
    assert_eq!(git(&["status", "--ignored", "--porcelain"]), "?? ws/target/\n");
    assert_eq!(before, files());
}

/// On a file system that refuses writes, even those of root.
#[test]
fn read_only_source_tree() {
    let project = Project::new("workspace").inside("ws");
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && cd . &&
                  if touch \"$1/written\" 2>/dev/null; then echo not read-only; exit 99; fi &&
                  cd \"$2\" && exec cargo test -p middle --locked";
    let mut unshare = project.command("unshare", By::Ours);
    unshare.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    unshare.arg(&project.root).arg(project.root.join("ws"));
    start(unshare, "cargo test # on a read-only source tree")
        .finish()
        .succeeds()
        .says("test result: ok");
    project.plain("test -p middle").succeeds();
    project.assert_same_tree();
}

/// Nor does the wrapper leave anything in the temporary folder.
#[test]
fn temporary_folder_is_left_empty() {
    let project = Project::new("broken");
    let temp = project.dir().join("temp");
    std::fs::create_dir(&temp).unwrap();
    let project = project.env("TMPDIR", temp.to_str().unwrap());
    project.ours("run").succeeds();
    project.edit("src/main.rs", "// HERE", "let _: u32 = \"\";");
    project.ours("build").fails().says("E0308");
    let left: Vec<_> =
        std::fs::read_dir(&temp).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A secret of the caller's is in no log, no Dockerfile, no argument, no recipe.
#[test]
fn secrets_stay_where_they_are() {
    let secret = "s3cr3t-of-the-test";
    let project = Project::new("workspace")
        .inside("ws")
        .logging("trace")
        .env("CARGO_REGISTRY_TOKEN", secret)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("IT_API_KEY", secret);
    let log = project.log();
    project.ours("build -p middle").succeeds();
    let trace = std::fs::read_to_string(&log).unwrap();
    for expected in ["FROM ", "--crate-name", "build"] {
        assert!(trace.contains(expected), "no `{expected}` in the trace:\n{trace}");
    }
    assert!(!trace.contains(secret), "in the trace:\n{trace}");
    let calls = project.calls.take();
    assert!(!calls.concat().contains(secret), "{calls:#?}");
    for file in crate::tree::walk(&project.target(By::Ours), |_| false).into_keys() {
        let bytes = std::fs::read(project.target(By::Ours).join(&file)).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "in {file}");
    }
}

/// As CI services want it, who keep nothing that is outside of the checkout.
#[test]
fn a_cache_in_the_source_tree_is_no_source() {
    let project = Project::new("broken").env("CARGO_INCREMENTAL", "0");
    let cache = project.root.join(".cache");
    let project = project.env("XDG_CACHE_HOME", cache.to_str().unwrap());
    project.ours("build").succeeds();
    std::fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.calls.take();
    project.ours("build").succeeds();
    let calls = project.calls.take();
    assert!(calls.is_empty(), "{calls:#?}");
}
