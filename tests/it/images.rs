//! What the settings put on top of the base image is there, and what cannot be made is told.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use crate::command::{Finished, start};
use crate::engine::{Engine, WRAPPER};
use crate::project::{By, Project};

const SETTINGS: &str = ".config/rustcbuildx.toml";

/// A project with a build script, and these settings.
fn project(engine: &'static Engine, settings: &str) -> Project {
    let project = Project::on(engine, "broken").with_own_cache();
    fs::create_dir(project.root.join(".config")).unwrap();
    write(&project, settings);
    project
}

fn write(project: &Project, settings: &str) {
    fs::write(project.root.join(SETTINGS), settings).unwrap();
}

#[track_caller]
fn fails_saying(project: &Project, texts: &[&str]) -> Finished {
    let failed = project.ours("build").fails();
    for text in texts {
        assert!(failed.stderr.contains(text), "{text}: {failed}");
    }
    failed
}

/// By a Dockerfile's text, by its file, and by variables, which all units see.
#[test]
fn what_settings_put_on_top_is_there() {
    for (engine, is_all) in [(Engine::docker(), true), (Engine::podman(), false)] {
        let settings = "[image]\nenv = { IT_IMAGE = \"one two\" }\n\
                        network = \"host\"\n\
                        dockerfile = \"RUN echo $IT_IMAGE >/in-the-image\"\n";
        let project = project(engine, settings);
        let code = "assert_eq!(std::env::var(\"IT_IMAGE\").unwrap(), \"one two\");
            let text = std::fs::read_to_string(\"/in-the-image\").unwrap();
            println!(\"cargo::warning=it has {}\", text.trim());
            println!(\"cargo::rerun-if-changed=build.rs\");";
        project.edit("build.rs", "// HERE", code);
        let made = project.ours("build").succeeds().says("it has one two");
        assert_eq!(made.stderr.matches("making an image of").count(), 1, "{made}");
        if !is_all {
            continue;
        }
        // The same is not made again, another text is.
        fs::write(
            project.root.join(".config/Dockerfile"),
            "RUN echo $IT_IMAGE, changed >/in-the-image",
        )
        .unwrap();
        write(&project, &settings.replace("RUN echo $IT_IMAGE >/in-the-image", "Dockerfile"));
        let target = project.target(By::Ours);
        fs::remove_dir_all(&target).unwrap();
        project.ours("build").succeeds().says("it has one two, changed");
        write(&project, settings);
        fs::remove_dir_all(&target).unwrap();
        let again = project.ours("build").succeeds().says("it has one two\n");
        assert!(!again.stderr.contains("making an image of"), "{again}");
    }
}

#[test]
fn packages_of_the_distribution() {
    let project = project(Engine::docker(), "");
    project.edit(
        "build.rs",
        "// HERE",
        "let status = std::process::Command::new(\"mold\").arg(\"--version\").status();
         println!(\"cargo::warning=mold {}\", status.is_ok_and(|status| status.success()));",
    );
    project.ours("build").succeeds().says("mold false");
    // Cargo does not know of it.
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    write(&project, "[image]\napt = [\"mold\"]\nnetwork = \"host\"\n");
    project.ours("build").succeeds().says("mold true");
}

#[test]
fn an_image_that_cannot_be_made_is_told_once_with_its_setting() {
    let project = project(
        Engine::docker(),
        "\nimage.dockerfile = \"RUN echo no luck; exit 3\"\nimage.network = \"host\"\n",
    );
    let place = format!("{SETTINGS}`:2");
    fails_saying(&project, &["failed to make an image of", &place, "no luck"]);
    write(&project, "image.apt = [\"no-such-package-of-debian\"]\nimage.network = \"host\"\n");
    fails_saying(
        &project,
        &["Unable to locate package no-such-package-of-debian", &format!("{SETTINGS}`:1")],
    );
    write(&project, "image.apt = [\"a;b\"]\n");
    fails_saying(&project, &["`a;b` is no package's name"]);
    write(&project, "image.dockerfile = \"none\"\n");
    fails_saying(&project, &["failed to read `image.dockerfile` in `", "No such file"]);
    write(&project, "image.network = \"bridge\"\n");
    fails_saying(&project, &["no such network (hint: default or host)"]);
    // Nothing of it is left.
    write(&project, "");
    project.same(&["run"]);
}

/// All of Rust comes from this machine then, with what programs of it load.
#[test]
fn an_image_without_rust() {
    let settings = "[image]\ndockerfile = \"RUN rm -rf /usr/local/rustup /usr/local/cargo\"\n\
                    network = \"host\"\n";
    for engine in [Engine::docker(), Engine::podman()] {
        let project = project(engine, settings);
        let code = "let rustc = std::env::var(\"RUSTC\").unwrap();
            for rustc in [&rustc[..], \"rustc\"] {
                let status = std::process::Command::new(rustc).arg(\"-vV\").status();
                assert!(status.unwrap().success(), \"{rustc}\");
            }";
        project.edit("build.rs", "// HERE", code);
        project.ours("run").succeeds().says("with this machine's Rust, once");
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        project.same(&["run", "clippy"]);
        let again = project.ours("test").succeeds();
        assert!(!again.stderr.contains("making an image of"), "{again}");
    }
}

/// As a nightly or one's own: it goes into the image, with the libraries that it loads here.
#[test]
fn a_compiler_that_no_image_has() {
    let project = project(Engine::docker(), "");
    let mut ask = project.command("hack/engine", By::Plain);
    let folder = ask.arg("toolchain").current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let folder = String::from_utf8(folder.stdout).unwrap();
    let folder = folder.trim();
    let project = project
        .env("RUSTC", &format!("{folder}/bin/rustc"))
        .env("LD_LIBRARY_PATH", &format!("{folder}/lib/{}-linux-gnu", std::env::consts::ARCH));
    let made = project.ours("run").succeeds().says("with this machine's Rust, once");
    assert_eq!(made.stderr.matches("making an image of").count(), 1, "{made}");
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.same(&["run"]);
}

fn engines_command(project: &Project, program: &str, args: &[&str]) {
    let mut command = project.command(program, By::Plain);
    command.args(args);
    start(command, &format!("{program} {args:?}")).finish().succeeds();
}

/// It was built there; built again, it is another one, which `pull` finds.
#[test]
fn an_image_that_only_the_engine_has() {
    for (engine, program) in [(Engine::docker(), "docker"), (Engine::podman(), "podman")] {
        let project = project(engine, "");
        let image = engine.env[OsStr::new("RUSTCBUILDX_BASE_IMAGE")].to_str().unwrap();
        let image = image.trim_start_matches("docker-image://");
        let name = format!("rustcbuildx-it-{}:1", std::process::id());
        let build = |word: &str| {
            let text = format!("FROM {image}\nRUN --network=none echo {word} >/word\n");
            fs::write(project.dir().join("Dockerfile"), text).unwrap();
            let folder = project.dir().to_str().unwrap();
            engines_command(&project, program, &["build", "--quiet", "--tag", &name, folder]);
        };
        build("one");
        project.edit("build.rs", "// HERE", SAYS_WORD);
        let variables = [("RUSTCBUILDX_BASE_IMAGE", format!("docker-image://{name}"))];
        let build_ours = || {
            let mut cargo = project.cargo(By::Ours, "build");
            cargo.envs(variables.clone());
            start(cargo, "cargo build").finish().succeeds()
        };
        build_ours().says("it says one");
        build("two");
        let mut pull = project.command(WRAPPER, By::Ours);
        pull.arg("pull").envs(variables.clone());
        start(pull, "rustcbuildx pull").finish().succeeds().says("the engine has is used");
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        build_ours().says("it says two");
        engines_command(&project, program, &["image", "rm", "--force", &name]);
    }
}

const SAYS_WORD: &str = "println!(\"cargo::warning=it says {}\",
            std::fs::read_to_string(\"/word\").unwrap_or_default().trim());
        println!(\"cargo::rerun-if-changed=build.rs\");";

/// Whatever a tag stands for by now, and on whichever machine.
#[test]
fn a_lock_file_holds_for_all() {
    let project = project(Engine::docker(), "");
    let image = Engine::docker().env[OsStr::new("RUSTCBUILDX_BASE_IMAGE")].to_str().unwrap();
    let image = image.trim_start_matches("docker-image://");
    let (registry, _) = image.split_once('/').unwrap();
    let name = format!("{registry}/rustcbuildx-it-lock-{}:1", std::process::id());
    let publish = |word: &str| {
        let text = format!("FROM {image}\nRUN --network=none echo {word} >/word\n");
        fs::write(project.dir().join("Dockerfile"), text).unwrap();
        let folder = project.dir().to_str().unwrap();
        engines_command(&project, "docker", &["build", "--quiet", "--tag", &name, folder]);
        engines_command(&project, "docker", &["push", "--quiet", &name]);
    };
    let run = |program: &str, args: &[&str], cache: &str| {
        let mut command = project.command(program, By::Ours);
        command.args(args).env("RUSTCBUILDX_BASE_IMAGE", format!("docker-image://{name}"));
        command.env("XDG_CACHE_HOME", project.dir().join(cache));
        start(command, &format!("{program} {args:?}")).finish()
    };
    let lock = project.root.join(".config/rustcbuildx.lock");
    project.edit("build.rs", "// HERE", SAYS_WORD);
    publish("one");
    run(WRAPPER, &["pull", "--lock"], "cache-1").succeeds().says("wrote `");
    let first = fs::read_to_string(&lock).unwrap();
    assert!(first.contains(&format!("\"{name}\" = \"sha256:")), "{first}");
    publish("two");
    for cache in ["cache-1", "cache-2"] {
        run("cargo", &["build"], cache).succeeds().says("it says one");
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
    }
    run(WRAPPER, &["pull"], "cache-1").succeeds();
    assert_eq!(fs::read_to_string(&lock).unwrap(), first);
    run(WRAPPER, &["pull", "--lock"], "cache-1").succeeds();
    assert_ne!(fs::read_to_string(&lock).unwrap(), first);
    run("cargo", &["build"], "cache-2").succeeds().says("it says two");

    fs::write(&lock, "[images]\n\"other\" = \"latest\"\n").unwrap();
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    run("cargo", &["build"], "cache-2").fails().says("rustcbuildx.lock`: 2: not what");
    fs::write(&lock, "").unwrap();
    run("cargo", &["build"], "cache-3").succeeds().says("rustcbuildx.lock` has no `");
    engines_command(&project, "docker", &["image", "rm", "--force", &name]);
}

/// As of a nightly. The engine here reaches no registry of others, but has an image by that name.
#[test]
fn a_plain_image_where_there_is_no_official_one() {
    let project = project(Engine::docker(), "image.network = \"host\"\n");
    let image = Engine::docker().env[OsStr::new("RUSTCBUILDX_BASE_IMAGE")].to_str().unwrap();
    let image = image.trim_start_matches("docker-image://");
    let plain = ["trixie", "bookworm", "bullseye"]
        .map(|release| format!("docker.io/library/debian:{release}-slim"));
    let docker = |project: &Project, args: &[&str]| engines_command(project, "docker", args);
    docker(&project, &["pull", "--quiet", image]);
    for name in &plain {
        docker(&project, &["tag", image, name]);
    }
    let project = project.env("RUSTCBUILDX_BASE_IMAGE", "");
    let made = project.ours("run").succeeds().says("no image `docker.io/library/rust:");
    made.says("with a C compiler, once").says("one is 1");
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.same(&["run"]);
    for name in &plain {
        docker(&project, &["image", "rm", name]);
    }
}

/// A program in a folder of this machine that is on `PATH`.
struct Tool {
    name: &'static str,
    folder: PathBuf,
}

impl Tool {
    fn of(project: &Project, name: &'static str, program: &str) -> Self {
        let folder = project.dir().join("tools");
        fs::create_dir_all(&folder).unwrap();
        let tool = Self { name, folder };
        fs::copy(program, tool.path()).unwrap();
        tool
    }

    fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    fn on_path(&self, project: &Project) -> String {
        format!("{}:{}", self.folder.display(), project.path())
    }
}

#[test]
fn a_linker_of_this_machine() {
    let project = project(Engine::docker(), "");
    let tool = Tool::of(&project, "ld.mold", "/usr/bin/mold");
    let path = tool.on_path(&project);
    let project = project.env("PATH", &path);
    let config = "[build]\nrustflags = [\"-C\", \"link-arg=-fuse-ld=mold\"]\n";
    fs::create_dir(project.root.join(".cargo")).unwrap();
    fs::write(project.root.join(".cargo/config.toml"), config).unwrap();
    let made = project.ours("build").succeeds().says("with this machine's `ld.mold`, once");
    assert_eq!(made.stderr.matches("making an image of").count(), 1, "{made}");
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.same(&["run"]);
    let program = fs::read(project.target(By::Ours).join("debug/broken")).unwrap();
    assert!(program.windows(5).any(|bytes| bytes == b"mold "), "another linker made it");
    // Another program by that name makes another image.
    let mut changed = fs::read(tool.path()).unwrap();
    changed.push(0);
    fs::write(tool.path(), changed).unwrap();
    project.edit("src/main.rs", "// HERE", "println!(\"changed\"); // HERE");
    project.ours("run").succeeds().says("with this machine's `ld.mold`, once").says("changed");
    // A script may be anything of its user's.
    fs::write(tool.path(), "#!/bin/sh\nexec ld \"$@\"\n").unwrap();
    project.edit("src/main.rs", "// HERE", "println!(\"again\"); // HERE");
    project.ours("build").fails().says("without this machine's `ld.mold`").says("ld.mold");
}

/// By a setting or a variable; each comes with the libraries that it loads and the image lacks.
#[test]
fn tools_of_this_machine() {
    let project = project(Engine::docker(), "tools = [\"own-ssh\"]\n");
    let (ssh, protoc) = ("/usr/bin/ssh", Tool::of(&project, "own-protoc", "/usr/bin/ssh"));
    let tool = Tool::of(&project, "own-ssh", ssh);
    let path = tool.on_path(&project);
    let project = project.env("PATH", &path);
    let code = "for name in [\"own-ssh\", &std::env::var(\"PROTOC\").unwrap()] {
            let output = std::process::Command::new(name).arg(\"-V\").output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            println!(\"cargo::warning={name}: {}\", said.trim());
        }";
    project.edit("build.rs", "// HERE", code);
    let protoc = protoc.path();
    let project = project.env("PROTOC", protoc.to_str().unwrap());
    let said = project.plain("build").succeeds();
    // Of a library that both have, the image's is used.
    let version = |line: &'_ str| line.find(", OpenSSL").map(|end| line[..end].to_owned());
    let versions: Vec<String> = said.stderr.lines().filter_map(version).collect();
    assert_eq!(versions.len(), 2, "{said}");
    let ours = project.ours("build").succeeds();
    versions.iter().fold(ours, |ours, version| ours.says(version));

    write(&project, "tools = [\"no-such-tool\"]\n");
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    fails_saying(&project, &["`no-such-tool`", "neither the image nor this machine has it"]);
    write(&project, "tools = [\"folder/tool\"]\n");
    fails_saying(&project, &[&format!("{SETTINGS}`:1"), "`folder/tool` is no program"]);
}
