//! What a build script learns of its repository, by whatever means: what plain cargo's learns, in
//! the sandbox.

use std::fs;

use crate::{
    planned::{self, green},
    project::Project,
    sources::{commit, git},
};

/// Asks git, and reads what git itself would read. Where nothing answers, it says so.
const SCRIPT: &str = r#"
use std::{fs, path::Path, process::Command};

fn git(words: &str) -> String {
    let output = Command::new("git").args(words.split(' ')).output().unwrap();
    match output.status.success() {
        true => String::from_utf8(output.stdout).unwrap().trim().replace('\n', ", "),
        false => "none".to_owned(),
    }
}

fn main() {
    let words = ["rev-parse HEAD", "describe --always --tags", "status --porcelain", "branch --show-current",
        "log -1 --format=%s", "rev-list --count HEAD", "config --get remote.origin.url"];
    let mut said: Vec<String> = words.iter().map(|words| format!("{words}: {}", git(words))).collect();
    let around = Path::new("..").join(".git");
    let head = fs::read_to_string(around.join("HEAD")).unwrap_or("none".into());
    let name = head.trim().strip_prefix("ref: ").unwrap_or("none").to_owned();
    let revision = fs::read_to_string(around.join(&name)).unwrap_or("none".into());
    said.push(format!("read: {} {}", head.trim(), revision.trim()));
    println!("cargo:rustc-env=REVISION={}", said.join("; "));
    println!("cargo:rerun-if-changed=trigger");
}
"#;

fn with_script(project: Project) -> Project {
    fs::write(project.root.join("app/build.rs"), SCRIPT).unwrap();
    project.edit("app/src/main.rs", r#"env!("CARGO")"#, r#"env!("REVISION")"#);
    project.plain("generate-lockfile").succeeds();
    project.with_own_cache()
}

#[track_caller]
fn same_after(project: &Project, what: &str, with_green: bool) -> String {
    fs::write(project.root.join("app/trigger"), what).unwrap();
    let plain = project.plain("run -q").succeeds();
    let ours =
        if with_green { green(project, "run -q") } else { project.ours("run -q") }.succeeds();
    assert_eq!(plain.stdout, ours.stdout, "after {what}");
    assert!(!ours.stderr.contains("outside of any sandbox"), "{ours}");
    plain.stdout
}

fn whatever_happens(with_green: bool) {
    let project = with_script(planned::project("queries"));
    let root = project.root.clone();
    assert!(same_after(&project, "no repository is there", with_green).contains("HEAD: none"));
    fs::write(root.join(".gitignore"), "trigger\n").unwrap();
    commit(&root);
    let said = same_after(&project, "the first commit", with_green);
    assert!(!said.contains("none;") || said.contains("url: none"), "{said}");
    fs::write(root.join("notes"), "").unwrap();
    same_after(&project, "a new file", with_green);
    if with_green {
        return;
    }
    commit(&root);
    same_after(&project, "another commit", with_green);
    project.edit("Cargo.toml", "[workspace]", "# Edited.\n[workspace]");
    same_after(&project, "an edit of another file", with_green);
    commit(&root);
    git(&root, "tag v1");
    same_after(&project, "a tag", with_green);
    git(&root, "checkout --quiet -b other");
    same_after(&project, "another branch", with_green);
    git(&root, "pack-refs --all");
    git(&root, "gc --quiet");
    same_after(&project, "packing", with_green);
}

#[test]
fn whatever_happens_to_a_repository() {
    whatever_happens(false);
}

#[test]
fn whatever_happens_to_a_repository_in_a_plan() {
    whatever_happens(true);
}

#[test]
fn a_working_tree_beside_its_repository() {
    let project = with_script(Project::new("queries"));
    let around = project.dir().join("around");
    commit(&project.root);
    git(&project.root, &format!("worktree add --quiet {}", around.display()));
    let project = project.inside(around.to_str().unwrap());
    let said = same_after(&project, "it is there", false);
    assert!(said.contains("branch --show-current: around"), "{said}");
    fs::write(around.join("notes"), "").unwrap();
    commit(&around);
    same_after(&project, "a commit", false);
}

/// As those that CI services write there.
#[test]
fn secrets_of_its_configuration_stay_here() {
    let project = Project::new("queries").with_own_cache();
    let script = r#"fn main() {
        let said = std::fs::read_to_string("../.git/config").unwrap();
        println!("cargo:rustc-env=REVISION={}", said.replace('\n', "|"));
        println!("cargo:rerun-if-changed=build.rs");
    }"#;
    fs::write(project.root.join("app/build.rs"), script).unwrap();
    project.edit("app/src/main.rs", r#"env!("CARGO")"#, r#"env!("REVISION")"#);
    project.plain("generate-lockfile").succeeds();
    commit(&project.root);
    git(&project.root, "remote add origin https://me:s3cret@localhost/a.git");
    git(&project.root, "config http.https://localhost/.extraheader Authorization:s3cret");
    let said = project.ours("run -q").succeeds().stdout;
    assert!(said.contains("url = https://localhost/a.git") && !said.contains("s3cret"), "{said}");
}
