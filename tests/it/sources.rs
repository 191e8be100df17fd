//! Packages from everywhere cargo takes them from.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::command::start;
use crate::project::{By, Project};

/// A package that is not at the root of its repository, and reads a file from outside of its own
/// folder.
#[test]
fn git_dependency() {
    let project = Project::new("git");
    let dependency = project.root.join("dependency");
    commit(&dependency);
    project.edit("app/Cargo.toml", "@DEPENDENCY@", dependency.to_str().unwrap());
    let project = project.inside("app");
    project.plain("generate-lockfile").succeeds();
    project.same(&[
        "run",
        "test",
        "clippy",
        "doc",
        "install --locked --path . --root {target}/root",
    ]);
}

/// Published, in another registry, in git with a submodule, in a folder outside, behind a link,
/// patched; and all of those that are not folders, vendored.
#[test]
fn every_kind() {
    let project = Project::new("kinds");
    let root = project.root.to_str().unwrap();
    for file in ["app/Cargo.toml", "app/.cargo/config.toml"] {
        project.edit(file, "@ROOT@", root);
    }
    symlink("../elsewhere", project.root.join("app/linked")).unwrap();
    commit(&project.root.join("words"));
    git(&project.root.join("stored"), "init --quiet");
    let submodule =
        format!("-c protocol.file.allow=always submodule --quiet add file://{root}/words words");
    git(&project.root.join("stored"), &submodule);
    commit(&project.root.join("stored"));
    publish(&project);
    let project = project.inside("app");
    project.plain("generate-lockfile").succeeds();
    project.same(&["run", "test", "clippy"]);

    let vendored = project.plain("vendor --quiet ../vendored").succeeds().stdout;
    let config = project.root.join("app/.cargo/config.toml");
    fs::write(&config, fs::read_to_string(&config).unwrap() + &vendored).unwrap();
    project.same(&["run --offline", "test --offline"]);
}

/// Packs the package `published` and lists it in the index of a new registry.
fn publish(project: &Project) {
    let index = project.root.join("index");
    let target = project.dir().join("packed");
    let mut cargo = project.cargo(By::Plain, "package --quiet --no-verify --allow-dirty");
    cargo.current_dir(project.root.join("published")).env("CARGO_TARGET_DIR", &target);
    start(cargo, "cargo package").finish().succeeds();
    let packed = target.join("package/published-1.2.3.crate");
    let digest = Command::new("sha256sum").arg(&packed).output().unwrap().stdout;
    let digest = String::from_utf8(digest).unwrap();
    let digest = digest.split(' ').next().unwrap();
    fs::create_dir_all(index.join("pu/bl")).unwrap();
    let download = format!("file://{}/package/{{crate}}-{{version}}.crate", target.display());
    fs::write(index.join("config.json"), format!("{{\"dl\":\"{download}\"}}")).unwrap();
    let entry = format!(
        "{{\"name\":\"published\",\"vers\":\"1.2.3\",\"deps\":[],\"cksum\":\"{digest}\",\"features\":{{}},\"yanked\":false}}\n"
    );
    fs::write(index.join("pu/bl/published"), entry).unwrap();
    commit(&index);
}

/// Makes a repository of a folder, or takes its changes into its own.
pub fn commit(dir: &Path) {
    git(dir, "init --quiet");
    git(dir, "add --all");
    git(dir, "-c user.name=it -c user.email=it@localhost commit --quiet --allow-empty -m it");
}

pub fn git(dir: &Path, args: &str) {
    let status = Command::new("git").args(args.split(' ')).current_dir(dir).status().unwrap();
    assert!(status.success(), "git {args}");
}
