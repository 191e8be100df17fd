//! A package with a folder of a thousand files beside its sources: the engine is given that once,
//! and each build has what is in it now.

use std::fs;

use crate::command::{Finished, start};
use crate::engine::Engine;
use crate::engine_store::{known, spoil};
use crate::planned;
use crate::project::{By, Project};
use crate::source_kinds::fill;

fn project() -> Project {
    with_a_heavy_folder(planned::project("broken"))
}

fn with_a_heavy_folder(project: Project) -> Project {
    let project = project.with_own_cache();
    let main = "fn main() { println!(\"{} {}\", include_str!(\"../modules/7.js\"), broken::one()) }\n// HERE\n";
    fs::write(project.root.join("src/main.rs"), main).unwrap();
    fill(&project.root.join("modules"));
    // That no engine has from an earlier test.
    fs::write(project.root.join("modules/new"), format!("{:?}", std::time::SystemTime::now()))
        .unwrap();
    project
}

fn run(project: &Project, mode: &str) -> Finished {
    let mut cargo = project.cargo(By::Ours, &format!("{mode}run -q"));
    if !mode.is_empty() {
        cargo.env_remove("RUSTC_WRAPPER");
    }
    start(cargo, &format!("cargo {mode}run")).finish()
}

#[test]
fn what_is_heavy_is_given_once() {
    for mode in ["", "green "] {
        let project = project();
        assert_eq!(run(&project, mode).succeeds().stdout, "7 1\n");
        let given = known(&project);
        let copies =
            || fs::read_dir(project.dir().join("cache/rustcbuildx/sources")).unwrap().count();
        let before = copies();
        project.calls.take();
        project.edit("src/main.rs", "// HERE", "// HERE 1");
        assert_eq!(run(&project, mode).succeeds().stdout, "7 1\n");
        assert_eq!((project.calls.take().len(), copies()), (1, before + 1), "{mode}");
        let sources = known(&project).into_iter().filter(|name| name.starts_with('s'));
        assert_eq!(sources.filter(|name| !given.contains(name)).count(), 1, "sent again");
        // What is in the folder counts like any other source.
        project.edit("modules/7.js", "7", "seven");
        assert_eq!(run(&project, mode).succeeds().stdout, "seven 1\n");
        project.edit("modules/7.js", "seven", "7");
        assert_eq!(run(&project, mode).succeeds().stdout, "7 1\n");
    }
}

#[test]
fn podman_is_given_it_once() {
    on_another_engine(Engine::podman());
}

#[test]
fn an_engine_over_ssh_is_given_it_once() {
    on_another_engine(Engine::ssh());
}

fn on_another_engine(engine: &Engine) {
    let project = with_a_heavy_folder(Project::on(engine, "broken"));
    assert_eq!(run(&project, "").succeeds().stdout, "7 1\n");
    project.calls.take();
    project.edit("src/main.rs", "// HERE", "// HERE 1");
    assert_eq!(run(&project, "").succeeds().stdout, "7 1\n");
    assert_eq!(project.calls.take().len(), 1);
    project.edit("modules/7.js", "7", "seven");
    assert_eq!(run(&project, "").succeeds().stdout, "seven 1\n");
}

#[test]
fn what_is_heavy_is_given_again_once_the_engine_lost_it() {
    for mode in ["", "green "] {
        let project = project();
        run(&project, mode).succeeds();
        let given: Vec<String> =
            known(&project).into_iter().filter(|key| key.starts_with('s')).collect();
        spoil(&project, &given, "rm -r $it");
        project.edit("src/main.rs", "// HERE", "// HERE 1");
        assert_eq!(run(&project, mode).succeeds().stdout, "7 1\n");
        project.calls.take();
        project.edit("src/main.rs", "// HERE", "// HERE 2");
        run(&project, mode).succeeds();
        assert_eq!(project.calls.take().len(), 1, "it is not remembered");
        // Nor does the engine have what an edited folder is based on.
        spoil(&project, &given, "rm -r $it");
        project.edit("modules/7.js", "7", "seven");
        assert_eq!(run(&project, mode).succeeds().stdout, "seven 1\n");
    }
}

/// The engine's copy is for all to read, so a script that writes there gets one of its own: a new
/// one, if that on this machine is no longer there. What it wrote lands here.
#[test]
fn a_script_may_write_there() {
    for (mode, is_swept) in [("", false), ("", true), ("green ", false), ("green ", true)] {
        let project = project();
        if is_swept {
            run(&project, mode).succeeds();
            fs::remove_dir_all(project.dir().join("cache/rustcbuildx/sources")).unwrap();
        }
        let script = "std::fs::write(\"modules/made\", \"made\").unwrap();\n    println!(\"cargo::rustc-env=MADE={}\", std::fs::read_to_string(\"modules/made\").unwrap());";
        project.edit("build.rs", "// HERE", script);
        project.edit("src/main.rs", "// HERE", "const _: &str = env!(\"MADE\");");
        assert_eq!(run(&project, mode).succeeds().stdout, "7 1\n");
        assert_eq!(fs::read_to_string(project.root.join("modules/made")).unwrap(), "made");
    }
}
