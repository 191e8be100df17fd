//! Every way cargo can be asked to compile: the same files and words as plain cargo's.

use std::{fs, process::Command};

use crate::project::{By, Project};

/// `variables` are `NAME=value`, one a line.
#[track_caller]
fn same(variables: &str, commands: &[&str]) {
    let mut project = Project::new("broken");
    for (name, value) in variables.lines().map(|line| line.trim().split_once('=').unwrap()) {
        project = project.env(name, value);
    }
    project.same(commands);
}

#[test]
fn lto() {
    same("CARGO_PROFILE_RELEASE_LTO=fat", &["run --release"]);
    same("CARGO_PROFILE_RELEASE_LTO=thin\nCARGO_PROFILE_RELEASE_PANIC=abort", &["run --release"]);
    // Code that a linker with LLVM's plugin would compile.
    same("RUSTFLAGS=-Clinker-plugin-lto", &["build --lib --release"]);
}

#[test]
fn split_debuginfo() {
    for kind in ["packed", "unpacked"] {
        same(&format!("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO={kind}\nCARGO_INCREMENTAL=0"), &["run"]);
    }
}

#[test]
fn further_outputs() {
    same("CARGO_INCREMENTAL=0", &["rustc --lib -- --emit asm,llvm-ir,llvm-bc,obj,mir"]);
    let project = Project::new("broken").env("CARGO_INCREMENTAL", "0");
    let kept = [By::Plain, By::Ours].map(|by| {
        project.start(by, "rustc --bin broken -- -Csave-temps").finish().succeeds();
        let names = fs::read_dir(project.target(by).join("debug/deps")).unwrap();
        names
            .filter(|name| name.as_ref().unwrap().path().to_string_lossy().contains(".rcgu."))
            .count()
    });
    assert!(kept[0] > 2 && kept[0] == kept[1], "{kept:?}");
}

#[test]
fn messages_and_jobs() {
    same(
        "CARGO_TERM_QUIET=false",
        &["build --message-format=short -j 1", "test -vv --message-format=json-diagnostic-short"],
    );
}

#[test]
fn profiles_and_coverage() {
    let project = Project::new("broken");
    let profiles = project.dir().join("%p.profraw");
    let project = project.env("LLVM_PROFILE_FILE", profiles.to_str().unwrap());
    project.env("RUSTFLAGS", "-Cinstrument-coverage").same(&["test"]);
    let project = Project::new("broken").env("RUSTFLAGS", "-Cprofile-generate={target}/profile");
    project.ours("run").succeeds();
    let written = fs::read_dir(project.target(By::Ours).join("profile")).unwrap().count();
    assert!(written > 0);
    // No merged profile: rustc finds the file and says so.
    let raw = fs::read_dir(project.target(By::Ours).join("profile"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let given = project.dir().join("raw.profdata");
    fs::copy(raw, &given).unwrap();
    let use_it = format!("-Cprofile-use={}", given.display());
    same(&format!("RUSTFLAGS={use_it}"), &["build --release"]);
}

#[test]
fn unstable_flags() {
    same("RUSTC_BOOTSTRAP=1\nRUSTFLAGS=-Zshare-generics=no -Zmir-opt-level=2", &["run"]);
    let host = crate::differential::host_triple();
    same("RUSTC_BOOTSTRAP=1\nRUSTFLAGS=-Zsanitizer=address", &[&format!("run --target {host}")]);
}

/// A library and a linker's script that are in nobody's package.
#[test]
fn files_that_arguments_name() {
    let project = Project::new("workspace").inside("ws");
    let elsewhere = project.dir().join("else where");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("x.c"), "int it_extra(void) { return 7; }\n").unwrap();
    fs::write(elsewhere.join("x.map"), "{ global: *; };\n").unwrap();
    for command in ["cc -c x.c -o x.o", "ar crs libit_extra.a x.o"] {
        let mut words = command.split(' ');
        assert!(
            Command::new(words.next().unwrap())
                .args(words)
                .current_dir(&elsewhere)
                .status()
                .unwrap()
                .success()
        );
    }
    let dir = elsewhere.to_str().unwrap();
    let flags = [
        format!("-Lnative={dir}"),
        "-lstatic=it_extra".to_owned(),
        format!("-Clink-arg=-Wl,--version-script={dir}/x.map"),
        format!("-Clink-arg={dir}/x.o"),
    ];
    let project = project.env("CARGO_ENCODED_RUSTFLAGS", &flags.join("\x1f"));
    project.same(&["build -p middle", "build -p app"]);
}

#[test]
fn fix_and_package() {
    let project = Project::new("broken");
    project.edit("src/lib.rs", "// HERE", "let mut unneeded = 1; let _ = unneeded;");
    project.ours("fix --lib --allow-no-vcs").succeeds();
    assert!(fs::read_to_string(project.root.join("src/lib.rs")).unwrap().contains("let unneeded"));
    let project = Project::new("package");
    project.ours("package --allow-dirty --offline").succeeds();
}
