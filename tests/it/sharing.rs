//! What one checkout built serves another: under another folder, with another home of cargo's.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use crate::project::{By, Project, json_lines};

const BUILD: &str = "build --message-format=json";

/// Cargo's home and the toolchain at paths that no other project has, as for another user.
fn with_own_home(project: Project) -> Project {
    let home = project.dir().join("cargo");
    fs::create_dir(&home).unwrap();
    let default = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo");
    let registry = std::env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from).join("registry");
    symlink(registry, home.join("registry")).unwrap();

    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).unwrap().trim());
    let toolchain = project.dir().join("toolchain");
    fs::create_dir(&toolchain).unwrap();
    for folder in ["bin", "lib"].map(|name| sysroot.join(name)) {
        let copied = ["-al", "-a"]
            .iter()
            .any(|how| Command::new("cp").arg(how).args([&folder, &toolchain]).status().unwrap().success());
        assert!(copied, "{}", folder.display());
    }
    let path = format!("{}:{}", toolchain.join("bin").display(), std::env::var("PATH").unwrap());
    project.env("CARGO_HOME", home.to_str().unwrap()).env("PATH", &path)
}

#[test]
fn dependencies_are_built_once() {
    let [first, second] = [(); 2].map(|()| with_own_home(Project::new("registry")));
    first.ours(BUILD).succeeds();
    first.calls.take();
    let ours = second.ours(BUILD).succeeds();
    let calls = second.calls.take();
    // The package's build script, its run, its library and its program.
    assert_eq!(calls.len(), 4, "{calls:#?}");
    // Cargo is told of the second's paths, and finds all fresh.
    let plain = second.plain(BUILD).succeeds();
    let [plain, ours] = [(plain, By::Plain), (ours, By::Ours)].map(|(run, by)| json_lines(&run, &second.target(by)));
    for (plain, ours) in plain.iter().zip(&ours) {
        assert_eq!(plain, ours);
    }
    assert_eq!(plain.len(), ours.len());
    second.same(&["run", "test"]);
}

/// Members too, if asked for, but for packages outside of the workspace: cargo hashes where they are.
#[test]
fn all_is_built_once() {
    let project = || Project::new("workspace").inside("ws").env("RUSTCBUILDX_CANONICAL_PATHS", "all");
    let [first, second] = [(); 2].map(|()| project().env("CARGO_INCREMENTAL", "0"));
    let args = "build -p native -p macros";
    first.ours(args).succeeds();
    assert!(!first.calls.take().is_empty());
    second.ours(args).succeeds();
    let calls = second.calls.take();
    assert!(calls.is_empty(), "{calls:#?}");
}

/// A program that looks for its own files finds them, wherever it was built.
#[test]
fn a_path_in_use_is_the_hosts() {
    let project = Project::new("broken").env("RUSTCBUILDX_CANONICAL_PATHS", "all");
    let looks = "println!(\"{}\", std::path::Path::new(env!(\"CARGO_MANIFEST_DIR\")).exists());";
    project.edit("src/main.rs", "// HERE", looks);
    project.same(&["run", "run --release"]);
    assert!(project.ours("run").stdout.starts_with("true\n"));
}
