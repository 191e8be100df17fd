//! What one checkout built serves another: under another folder, with another home of cargo's.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use crate::project::{By, Project, json_lines};

const BUILD: &str = "build --message-format=json";
const LOOKS_FOR_ITS_PACKAGE: &str =
    "println!(\"{}\", std::path::Path::new(env!(\"CARGO_MANIFEST_DIR\")).exists());";

/// Cargo's home and the toolchain at paths that no other project has, as for another user.
fn with_own_home(project: Project) -> Project {
    let home = project.dir().join("cargo");
    fs::create_dir(&home).unwrap();
    let default = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo");
    let registry =
        std::env::var_os("CARGO_HOME").map_or_else(default, PathBuf::from).join("registry");
    symlink(registry, home.join("registry")).unwrap();

    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot).unwrap().trim());
    let toolchain = project.dir().join("toolchain");
    fs::create_dir(&toolchain).unwrap();
    for folder in ["bin", "lib"].map(|name| sysroot.join(name)) {
        let copied = ["-al", "-a"].iter().any(|how| {
            Command::new("cp").arg(how).args([&folder, &toolchain]).status().unwrap().success()
        });
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
    // The package's build script, its run, its library and its program, some of them together.
    assert!((1..=4).contains(&calls.len()), "{calls:#?}");
    // Cargo is told of the second's paths, and finds all fresh.
    let plain = second.plain(BUILD).succeeds();
    let [plain, ours] = [(plain, By::Plain), (ours, By::Ours)]
        .map(|(run, by)| json_lines(&run, &second.target(by)));
    for (plain, ours) in plain.iter().zip(&ours) {
        assert_eq!(plain, ours);
    }
    assert_eq!(plain.len(), ours.len());
    second.same(&["run", "test"]);
}

/// Members too, if asked for, but for packages outside of the workspace: cargo hashes where they
/// are.
#[test]
fn all_is_built_once() {
    let project =
        || Project::new("workspace").inside("ws").env("RUSTCBUILDX_CANONICAL_PATHS", "all");
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
    project.edit("src/main.rs", "// HERE", LOOKS_FOR_ITS_PACKAGE);
    project.same(&["run", "run --release"]);
    assert!(project.ours("run").stdout.starts_with("true\n"));
}

/// A package whose build script looks for its own files by a path that its program holds.
pub fn with_a_path_in_its_script(project: Project) -> Project {
    let project = project.env("RUSTCBUILDX_CANONICAL_PATHS", "all").env("CARGO_INCREMENTAL", "0");
    let looks = "println!(\"cargo::rerun-if-env-changed=IT_AGAIN\");
        let manifest = std::fs::read_to_string(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/Cargo.toml\")).unwrap();
        println!(\"cargo::rustc-env=IT_LENGTH={}\", manifest.len());";
    project.edit("build.rs", "// HERE", looks);
    project.edit("src/lib.rs", "// HERE", "println!(\"{}\", env!(\"IT_LENGTH\"));");
    project
}

/// What is learned of a package by other tests is not known to these.
pub fn with_a_cache_of_their_own(project: impl Fn() -> Project) -> [Project; 2] {
    let first = project().with_own_cache();
    let second = project().env("XDG_CACHE_HOME", first.dir().join("cache").to_str().unwrap());
    [first, second]
}

/// What it makes serves other checkouts: its program alone is made for each.
#[test]
fn a_build_script_with_a_path_of_its_own() {
    let [first, second] =
        with_a_cache_of_their_own(|| with_a_path_in_its_script(Project::new("broken")));
    first.same(&["run", "run --release"]);
    first.calls.take();
    let ours = second.ours("run").succeeds();
    let calls = second.calls.take();
    assert_eq!(calls.len(), 1, "{calls:#?}");
    // Without the wrapper the script runs here, and finds its files here.
    let again = second.env("IT_AGAIN", "1");
    let plain = again.start(By::PlainAfterOurs, "run").finish().succeeds();
    assert_eq!(plain.stdout, ours.stdout);
}

/// What holds a path of its package serves any target folder, which it holds none of.
#[test]
fn only_the_place_in_use_is_the_hosts() {
    let project = with_a_path_in_its_script(Project::new("broken"));
    project.edit("src/main.rs", "// HERE", LOOKS_FOR_ITS_PACKAGE);
    project.same(&["run"]);
    project.calls.take();
    let other = project.dir().join("other");
    let ours = project.ours(&format!("run --target-dir {}", other.display())).succeeds();
    let calls = project.calls.take();
    assert!(calls.is_empty(), "{calls:#?}");
    assert!(ours.stdout.contains("true\n"), "{ours}");
}

/// Its program here holds a path of the host, and the cache that knew it, and had another one, may
/// be gone.
#[test]
fn a_build_script_that_nobody_remembers() {
    let project = with_a_path_in_its_script(Project::new("broken").with_own_cache());
    let ours = project.ours("run").succeeds();
    std::fs::remove_dir_all(project.dir().join("cache")).unwrap();
    let again = project.env("IT_AGAIN", "1").ours("run").succeeds();
    assert_eq!(again.stdout, ours.stdout);
    again.says("Compiling broken");
}

/// What holds such a path itself is made again with the host's, by the program that holds the
/// host's.
#[test]
fn a_build_script_that_passes_its_path_on() {
    let project = with_a_path_in_its_script(Project::new("broken").with_own_cache());
    let passes_on = "let out = std::env::var(\"OUT_DIR\").unwrap();
        std::fs::write(out + \"/path\", env!(\"CARGO_MANIFEST_DIR\")).unwrap();
        let manifest";
    project.edit("build.rs", "let manifest", passes_on);
    let looks = "println!(\"{}\", std::path::Path::new(include_str!(concat!(env!(\"OUT_DIR\"), \"/path\"))).exists());";
    project.edit("src/main.rs", "// HERE", looks);
    project.same(&["run"]);
    assert!(project.ours("run").stdout.starts_with("true\n"));
}

/// Nor does it matter where it is built.
#[test]
fn no_program_names_the_machine_that_built_it() {
    let build = "build --release --config profile.release.debug=1";
    let mut programs = vec![];
    for fixture in ["registry", "workspace"] {
        let [first, second] = [(); 2].map(|()| {
            let folder = if fixture == "workspace" { "ws" } else { "" };
            let project = Project::new(fixture).inside(folder);
            with_own_home(project).env("RUSTCBUILDX_PUBLISHED_PATHS", "1")
        });
        for project in [&first, &second] {
            project.ours(build).succeeds();
            let name = if fixture == "workspace" { "app" } else { fixture };
            let program = fs::read(project.target(By::Ours).join("release").join(name)).unwrap();
            let names =
                |text: &str| program.windows(text.len()).any(|bytes| bytes == text.as_bytes());
            assert!(!names("rustcbuildx-it-"), "{fixture} names its folder");
            assert!(!names("/.cargo/") && !names("/cargo-home/"), "{fixture} names cargo's home");
            assert!(fixture != "registry" || names("anyhow-1."), "no source is named");
            programs.push(program);
        }
    }
    // What only the local compiler can do is named so, too.
    let local = Project::new("workspace").inside("ws").env("RUSTCBUILDX_PUBLISHED_PATHS", "1");
    let wrapper = local.dir().join("wrapper");
    fs::write(&wrapper, "#!/bin/sh\nexec \"$@\"\n").unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let local = local.env("RUSTC_WORKSPACE_WRAPPER", wrapper.to_str().unwrap());
    local.ours(build).succeeds().says("compiled locally");
    let program = fs::read(local.target(By::Ours).join("release/app")).unwrap();
    assert!(!program.windows(15).any(|bytes| bytes == b"rustcbuildx-it-"), "it names its folder");
    // The workspace uses a package outside of it, and cargo hashes where that is.
    assert!(programs[0] == programs[1], "not the same program");
}
