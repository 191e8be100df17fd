//! What the doctor says of a sound machine, and of machines that were spoiled on purpose.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::command::{Finished, start};
use crate::engine::{Engine, WRAPPER};
use crate::full_disk::Disk;
use crate::project::{By, Project};

fn project(engine: &'static Engine) -> Project {
    Project::on(engine, "broken").with_own_cache()
}

fn doctor(project: &Project, args: &str) -> Finished {
    let mut command = project.command(WRAPPER, By::Ours);
    command.arg("doctor").args(args.split_whitespace());
    start(command, &format!("rustcbuildx doctor {args}")).finish()
}

/// The one thing that is wrong, and no more than that.
#[track_caller]
fn finds(project: Project, part: &str, texts: &[&str]) {
    let found = doctor(&project, "").fails();
    let wrong: Vec<&str> = found.stdout.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert_eq!(wrong.len(), 1, "{found}");
    assert!(wrong[0].starts_with(&format!("WRONG  {part}: ")), "{found}");
    texts.iter().fold(found, |found, text| found.says(text));
}

#[track_caller]
fn notes(project: &Project, text: &str) {
    let found = doctor(project, "");
    let is_note = |line: &str| line.starts_with("note   ") && line.contains(text);
    assert!(found.stdout.lines().any(is_note), "no note of `{text}` in {found}");
}

/// A program that stands before the others of its name.
fn in_front(project: Project, name: &str, script: &str) -> Project {
    let folder = project.dir().join("in-front");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), project.path());
    project.env("PATH", &path)
}

#[test]
fn a_sound_machine() {
    for engine in [Engine::docker(), Engine::podman(), Engine::ssh()] {
        let project = project(engine);
        let said = doctor(&project, "").succeeds();
        for part in ["settings", "wrapper", "cache", "toolchain", "engine", "image", "build"] {
            assert!(said.stdout.contains(&format!("ok     {part}: ")), "{part}: {said}");
        }
        assert!(!said.stdout.contains("note   "), "{said}");
    }
}

#[test]
fn settings_are_suggested_and_written() {
    let project = project(Engine::docker());
    project.ours("build").succeeds();
    let folder = project.target(By::Ours);
    let project = project.env("CARGO_TARGET_DIR", folder.to_str().unwrap());
    let said = doctor(&project, "--write .config/rustcbuildx.toml").succeeds();
    said.says("wrote `");
    let file = project.root.join(".config/rustcbuildx.toml");
    let written = fs::read_to_string(&file).unwrap();
    for line in ["base-image = \"docker-image://", "canonical-paths = \"all\"", "[profile.ci]"] {
        assert!(written.contains(line), "{line}: {written}");
    }
    assert!(written.contains("Of the 5 units in `target`, 5 would be found"), "{written}");
    // They hold, and nothing is overwritten.
    let again = doctor(&project, "--write .config/rustcbuildx.toml").fails();
    again.says("rustcbuildx.toml`\n").says("what is there is not overwritten");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.same_in_the_end("run");
}

#[test]
fn spoiled_machines() {
    let on = || project(Engine::docker());
    let with = |name: &str, value: &str| on().env(name, value);
    finds(with("DOCKER_HOST", "unix:///no/socket"), "engine", &["hint: is the engine running"]);
    finds(with("RUSTCBUILDX_RUNNER", "none"), "settings", &["rustc runs locally"]);
    finds(with("RUSTCBUILDX_STORE_SIZE", "20"), "settings", &["is 20GB meant?"]);
    finds(with("RUSTC", "no-such-rustc"), "toolchain", &["failed to find the compiler"]);
    let absent = "docker-image://127.0.0.1:5055/library/rust:no-such-tag";
    finds(with("RUSTCBUILDX_BASE_IMAGE", absent), "image", &["no-such-tag"]);

    let project = on();
    fs::create_dir(project.root.join(".config")).unwrap();
    fs::write(project.root.join(".config/rustcbuildx.toml"), "\nstore-siz = \"1GB\"\n").unwrap();
    finds(project, "settings", &["rustcbuildx.toml`: 2: ", "is `store-size` meant?"]);

    let project = on();
    let disk = Disk::new(&project.dir().join("cache"), "200k");
    finds(project, "cache", &["too little for a build"]);
    drop(disk);

    let old = in_front(self::project(Engine::podman()), "podman", "echo 4.3.1");
    finds(old, "engine", &["failed to use podman 4.3.1"]);
    let none = on();
    let path = path_without_engines(&none);
    finds(none.env("PATH", &path), "engine", &["failed to find `docker` on PATH"]);
}

#[test]
fn what_could_be_better() {
    let project = || project(Engine::docker());
    let other = in_front(project(), "docker", &later_clock(&project().path()));
    notes(&other, "ahead of this machine's");
    notes(&project().env("RUSTCBUILDX_LOGG", "debug"), "RUSTCBUILDX_LOG meant?");

    let project = project();
    let buildx = project.dir().join("buildx");
    let project = project.env("BUILDX_CONFIG", buildx.to_str().unwrap());
    let mut create = project.command("docker", By::Ours);
    create.args(["buildx", "create", "--name=other", "--driver=remote", "tcp://127.0.0.1:1"]);
    start(create, "docker buildx create").finish().succeeds();
    notes(&project.env("BUILDX_BUILDER", "other"), "the driver `remote`");
}

/// Programs of the toolchain and of the system, but no docker.
fn path_without_engines(project: &Project) -> String {
    let has_engine = |folder: &&str| {
        ["docker", "podman"].iter().any(|name| Path::new(folder).join(name).exists())
    };
    let path = project.path();
    let rest: Vec<&str> = path.split(':').filter(|folder| !has_engine(folder)).collect();
    // Docker may be in the folder of the system's other programs.
    let links = project.dir().join("links");
    fs::create_dir_all(&links).unwrap();
    for name in ["cc", "sh", "getconf", "rustc", "cargo"] {
        let find = |folder: &str| Some(Path::new(folder).join(name)).filter(|path| path.exists());
        if let Some(program) = path.split(':').find_map(find) {
            let _twice = std::os::unix::fs::symlink(program, links.join(name));
        }
    }
    format!("{}:{}", links.display(), rest.join(":"))
}

/// The engine's own answers, but for the time.
fn later_clock(path: &str) -> String {
    format!(
        "real=$(PATH={path} command -v docker)\n\
         case \"$*\" in *SystemTime*) date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ ;;\n\
         *) exec \"$real\" \"$@\" ;; esac"
    )
}
