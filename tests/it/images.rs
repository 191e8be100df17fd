//! What the settings put on top of the base image is there, and what cannot be made is told.

use std::fs;

use crate::command::Finished;
use crate::engine::Engine;
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
