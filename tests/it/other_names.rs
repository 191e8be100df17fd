//! The wrapper and the compiler by other names, and programs of the user's beside them: what is of
//! ours runs in containers all the same, and what is not runs here aloud, or not at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Finished, start};
use crate::engine::WRAPPER;
use crate::project::{By, Project};

const SAID_HERE: &str = "rustcbuildx: build scripts run on this machine";

/// Its program says where the build script ran: only containers have a worker.
fn project() -> Project {
    let project = Project::new("broken").env("CARGO_INCREMENTAL", "0");
    let tell = "let has_worker = std::path::Path::new(\"/rustcbuildx/bin\").exists();
        println!(\"cargo::rustc-env=RAN={}\", if has_worker { \"in a container\" } else { \"here\" });";
    project.edit("build.rs", "// HERE", tell);
    project.edit("src/main.rs", "// HERE", "println!(\"{}\", env!(\"RAN\"));");
    project
}

fn cargo(project: &Project, args: &str, env: &[(&str, &str)]) -> Finished {
    let mut cargo = project.cargo(By::Ours, args);
    cargo.envs(env.iter().copied());
    start(cargo, &format!("cargo {args} # {env:?}")).finish()
}

fn script(path: &Path, text: &str) -> String {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How many lines ours said.
fn lines(run: &Finished) -> usize {
    run.stderr.lines().filter(|line| line.starts_with("rustcbuildx: ")).count()
}

#[track_caller]
fn is_in_force(project: &Project, wrapper: &str) {
    let run = cargo(project, "run", &[("RUSTC_WRAPPER", wrapper)]).succeeds();
    assert_eq!(run.stdout, "in a container\none is 1\n", "{wrapper}: {run}");
    assert_eq!(lines(&run), 0, "{run}");
}

#[test]
fn a_copy() {
    let project = project();
    let copy = project.dir().join("rcbx");
    fs::copy(WRAPPER, &copy).unwrap();
    is_in_force(&project, copy.to_str().unwrap());
}

#[test]
fn a_link() {
    let project = project();
    let link = project.dir().join("sccache");
    symlink(WRAPPER, &link).unwrap();
    is_in_force(&project, link.to_str().unwrap());
}

#[test]
fn a_script_that_calls_it() {
    let project = project();
    let caller =
        script(&project.dir().join("caller"), &format!("IT_CALLER=1 exec '{WRAPPER}' \"$@\""));
    is_in_force(&project, &caller);
}

#[test]
fn a_relative_path_and_a_name() {
    let project = project();
    symlink(WRAPPER, project.root.join("relative")).unwrap();
    is_in_force(&project, "./relative");
    let path = format!("{}:{}", project.root.display(), std::env::var("PATH").unwrap());
    let project = project.env("PATH", &path);
    project.edit("build.rs", "fn main", "\nfn main");
    is_in_force(&project, "relative");
}

#[test]
fn cargos_configuration() {
    let project = project();
    symlink(WRAPPER, project.root.join("wrap")).unwrap();
    fs::create_dir(project.root.join(".cargo")).unwrap();
    fs::write(project.root.join(".cargo/config.toml"), "[build]\nrustc-wrapper = \"./wrap\"\n")
        .unwrap();
    let run = start(project.cargo(By::PlainAfterOurs, "run"), "cargo run").finish().succeeds();
    assert_eq!(run.stdout, "in a container\none is 1\n", "{run}");
}

/// Another tool took over the target folder: its user hears where scripts run.
#[test]
fn another_tool() {
    let project = project();
    let other = script(&project.dir().join("sccache"), "exec \"$@\"");
    // It runs in each build, and is compiled in the first.
    project.edit("build.rs", "cargo::rerun-if-changed=build.rs", "cargo::rerun-if-changed=none");
    project.ours("build").succeeds();
    let run = |strict| {
        cargo(&project, "run", &[("RUSTC_WRAPPER", &other), ("RUSTCBUILDX_STRICT", strict)])
    };
    run("1").fails().says("RUSTC_WRAPPER is `").says("hint: ");
    let here = run("0").succeeds();
    assert_eq!(here.stdout, "here\none is 1\n", "{here}");
    assert_eq!(here.stderr.matches(SAID_HERE).count(), 1, "{here}");
}

/// A compiler in a folder of a toolchain's, by another name.
fn toolchain_with(project: &Project, make: impl Fn(&Path, &Path)) -> PathBuf {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).unwrap().trim());
    let ours = project.dir().join("toolchain");
    fs::create_dir_all(ours.join("bin")).unwrap();
    symlink(sysroot.join("lib"), ours.join("lib")).unwrap();
    let compiler = ours.join("bin/rustc-of-mine");
    make(&sysroot.join("bin/rustc"), &compiler);
    compiler
}

#[test]
fn a_compiler_by_another_name() {
    let link = |from: &Path, to: &Path| symlink(from, to).unwrap();
    let copy = |from: &Path, to: &Path| fs::copy(from, to).map(drop).unwrap();
    for make in [&link as &dyn Fn(&Path, &Path), &copy] {
        let project = project().env("RUSTCBUILDX_STRICT", "1");
        let compiler = toolchain_with(&project, make);
        let path =
            format!("{}:{}", compiler.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let run = cargo(&project, "run", &[("RUSTC", "rustc-of-mine"), ("PATH", &path)]).succeeds();
        assert_eq!(run.stdout, "in a container\none is 1\n", "{run}");
        assert_eq!(lines(&run), 0, "{run}");
    }
}

/// It may do more than the compiler that it calls, and may have any name.
#[test]
fn a_compiler_that_is_a_script() {
    let project = project();
    let path = format!("{}:{}", project.dir().display(), std::env::var("PATH").unwrap());
    script(&project.dir().join("mine"), "exec rustc \"$@\"");
    let run = cargo(&project, "run", &[("RUSTC", "mine"), ("PATH", &path)]).succeeds();
    assert_eq!((lines(&run), run.stdout.as_str()), (1, "here\none is 1\n"), "{run}");
    run.says("rustcbuildx: compiled locally: `mine` (RUSTC)")
        .says("a build script that is compiled so also runs on");
    project.edit("src/lib.rs", "pub fn", "\npub fn");
    let strict = [("RUSTC", "mine"), ("PATH", &*path), ("RUSTCBUILDX_STRICT", "1")];
    cargo(&project, "build", &strict).fails().says("`mine` (RUSTC)").says("hint: ");
}

/// It is called for the workspace's own, as plain cargo calls it, and dependencies are compiled in
/// containers.
#[test]
fn a_wrapper_for_the_workspace() {
    let project = project().env("RUSTCBUILDX_STRICT", "0");
    let notes = project.dir().join("notes");
    let text = format!(
        "case \"$*\" in *'--crate-name ___'*) ;; *) echo \"$*\" >>'{}' ;; esac\nexec \"$@\"",
        notes.display()
    );
    let wrapper = script(&project.dir().join("wrap.sh"), &text);
    let variable = ("RUSTC_WORKSPACE_WRAPPER", wrapper.as_str());
    let strict = cargo(&project, "build", &[variable, ("RUSTCBUILDX_STRICT", "1")]).fails();
    strict
        .says(&format!("failed to compile in a container: `{wrapper}` (RUSTC_WORKSPACE_WRAPPER)"))
        .says("hint: ");
    let run = cargo(&project, "run", &[variable]).succeeds();
    assert_eq!((lines(&run), run.stdout.as_str()), (1, "here\none is 1\n"), "{run}");
    run.says(&format!("rustcbuildx: compiled locally: `{wrapper}` (RUSTC_WORKSPACE_WRAPPER)"));
    let called = fs::read_to_string(notes).unwrap();
    assert!(
        called.contains("--crate-name broken") && called.contains("--crate-name macros"),
        "{called}"
    );
    // The wrapper may stand in its own place, too.
    project.edit("src/lib.rs", "pub fn", "\npub fn");
    let run = cargo(
        &project,
        "run",
        &[("RUSTC_WORKSPACE_WRAPPER", WRAPPER), ("RUSTCBUILDX_STRICT", "1")],
    )
    .succeeds();
    assert_eq!(lines(&run), 0, "{run}");
}

/// However many units say it.
#[test]
fn what_is_compiled_here_is_said_once_in_a_build() {
    let project = Project::new("registry").env("RUSTFLAGS", "-Ctarget-cpu=native");
    let run =
        project.ours("build").succeeds().says("rustcbuildx: compiled locally: target-cpu=native");
    assert_eq!(lines(&run), 1, "{run}");
}
