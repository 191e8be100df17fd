//! What compilers alone read stays in the engine, and comes from there when something else needs
//! it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::{Finished, start};
use crate::engine_store::{forget, known, spoil};
use crate::planned::{green, in_its_own_folder, project};
use crate::project::{By, Project};
use crate::sources::commit;
use crate::tree::walk;

fn committed() -> Project {
    let project = project("broken").with_own_cache();
    commit(&project.root);
    project
}

/// Installs what is committed of the project as a published program would be; gives what the
/// program says.
fn install(project: &Project, cargo: &str, more: &str) -> String {
    let (repository, root) = (project.root.display(), project.dir().join("installed"));
    let args = format!(
        "{cargo}install --git file://{repository} broken --force --root {}{more}",
        root.display()
    );
    in_its_own_folder(project, &args).succeeds();
    start(project.command(root.join("bin/broken").to_str().unwrap(), By::Ours), "broken")
        .finish()
        .succeeds()
        .stdout
}

/// What the store has of crates whose artifacts are in the engine, and all else that it has.
fn stored(project: &Project) -> (Vec<String>, Vec<String>) {
    let entries = fs::read_dir(project.dir().join("cache/rustcbuildx/store")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.partition(|name| name.ends_with("-left"))
}

#[test]
fn libraries_stay_in_the_engine() {
    let project = committed();
    assert_eq!(install(&project, "green ", ""), "one is 1\n");
    let (left, whole) = stored(&project);
    // The library, the macros' crate and the script; its run and the program.
    assert_eq!((left.len(), whole.len()), (3, 2), "{left:?} {whole:?}");
    // All is there for another run.
    project.calls.take();
    install(&project, "green ", "");
    assert_eq!(project.calls.take(), [""; 0]);
    // Nothing is missing where a target folder stays.
    project.plain("build --release").succeeds();
    green(&project, "build --release").succeeds();
    project.assert_same_tree();
}

#[test]
fn what_the_engine_lost_is_made_again() {
    let project = committed();
    install(&project, "green ", "");
    for (cargo, from, to) in [("", "// HERE", "let _ = 1;"), ("green ", "let _ = 1;", "let _ = 2;")]
    {
        spoil(&project, &known(&project), "rm -r $it");
        project.edit("src/main.rs", from, to);
        commit(&project.root);
        assert_eq!(install(&project, cargo, ""), "one is 1\n");
    }
}

/// The macros are for this machine's compiler to run.
#[test]
fn a_local_compile_has_the_bytes() {
    let project = committed();
    let target = format!(" --target {}-unknown-linux-gnu", std::env::consts::ARCH);
    install(&project, "green ", &target);
    assert!(!stored(&project).0.is_empty());
    let project = project.env("RUSTFLAGS", "-Ctarget-cpu=native");
    project.calls.take();
    assert_eq!(install(&project, "green ", &target), "one is 1\n");
    // They are fetched, and not made again.
    let calls = project.calls.take();
    assert!(calls.last().is_some_and(|call| call.contains("/fetch")), "{calls:#?}");
}

/// A project whose libraries are to be left in the engine, and stay there from one command to the
/// next.
fn leaving() -> Project {
    project("registry").with_own_cache().env("RUSTCBUILDX_LEAVE", "1")
}

fn build_folder(project: &Project) -> PathBuf {
    project.dir().join("cache/rustcbuildx/build")
}

/// In the same build folder, by the wrapper alone, which does not choose it.
fn unplanned(project: &Project, args: &str) -> Finished {
    let mut cargo = project.cargo(By::Ours, args);
    cargo.env("CARGO_BUILD_BUILD_DIR", build_folder(project).join("{workspace-path-hash}"));
    start(cargo, args).finish()
}

/// The files in a folder, and how many of them stand in for what is in the engine.
fn files(folder: &Path) -> (Vec<String>, usize) {
    let paths = walk(folder, |_| false).into_keys().filter(|path| folder.join(path).is_file());
    let paths: Vec<String> = paths.collect();
    // Of a build script, after the wrapper and before its path.
    let stands_in = |path: &&String| {
        let bytes = fs::read(folder.join(path)).unwrap();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(512)..])
            .contains("left in the engine by")
    };
    let stand_ins = paths.iter().filter(stands_in).count();
    (paths, stand_ins)
}

/// A script that is to run on this machine has its program brought, by whatever name cargo starts
/// it.
#[test]
fn a_build_script_that_runs_here_has_its_program() {
    let project = leaving();
    green(&project, "build").succeeds();
    let build = build_folder(&project);
    let (paths, stand_ins) = files(&build);
    // Cargo is to run all scripts again.
    let notes = paths.iter().filter(|path| path.contains("/run-build-script-"));
    notes.for_each(|path| fs::remove_file(build.join(path)).unwrap());
    let here = project.env("RUSTCBUILDX_LOCAL_SCRIPTS", "anyhow");
    unplanned(&here, "run").fails().says("the end");
    // Its other name is a link to what stood in for it.
    assert_eq!(files(&build).1, stand_ins - 1);
}

/// The target folder has what plain cargo puts there where the build folder is another one.
#[test]
fn libraries_stay_in_the_engine_from_one_command_to_the_next() {
    let project = leaving();
    let mut plain = project.cargo(By::Plain, "run");
    plain.env("CARGO_BUILD_BUILD_DIR", project.dir().join("build-plain"));
    let (plain, ours) = (start(plain, "cargo run").finish(), green(&project, "run"));
    assert_eq!((plain.status, &plain.stdout), (ours.status, &ours.stdout), "{plain}\n{ours}");
    let [plain_files, our_files] = [By::Plain, By::Ours].map(|by| files(&project.target(by)));
    assert_eq!(plain_files, our_files);
    let stand_ins = files(&build_folder(&project)).1;
    assert!(stand_ins >= 10, "{stand_ins}");
    // Nothing is to be done, and what is edited takes the rest where it is.
    project.calls.take();
    assert_eq!(green(&project, "run").stdout, plain.stdout);
    assert_eq!(project.calls.take(), [""; 0]);
    project.edit("src/main.rs", "the end", "another end");
    green(&project, "run").fails().says("another end");
    assert_eq!(project.calls.take().len(), 1);
    assert_eq!(files(&build_folder(&project)).1, stand_ins);
    green(&project, "clean").succeeds();
    assert_eq!(files(&build_folder(&project)).0, [""; 0]);
}

/// rustdoc is no compiler of ours: it finds all in the target folder, as ever.
#[test]
fn what_rustdoc_reads_is_brought() {
    let project = leaving();
    green(&project, "build").succeeds();
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    project.plain("test").succeeds();
    green(&project, "test").succeeds();
    project.assert_same_tree();
}

/// With another engine, say, it is made again, and stays there; without a plan, and for the local
/// compiler, it is brought.
#[test]
fn stand_ins_serve_whoever_comes_upon_them() {
    // No other test uses these steps.
    let number = format!("{:?}", std::time::SystemTime::now());
    let project = leaving().env("RUSTCBUILDX_SET_ENVS", "IT_LEAVING").env("IT_LEAVING", &number);
    let edit = |number: u32| {
        project.edit("src/main.rs", &format!("end {number}"), &format!("end {}", number + 1))
    };
    project.edit("src/main.rs", "the end", "end 1");
    green(&project, "build").succeeds();
    let stand_ins = files(&build_folder(&project)).1;
    forget(&project);
    edit(1);
    green(&project, "run").fails().says("end 2");
    assert_eq!(files(&build_folder(&project)).1, stand_ins);
    spoil(&project, &known(&project), "rm -r $it");
    edit(2);
    green(&project, "run").fails().says("end 3");
    edit(3);
    unplanned(&project, "run").fails().says("end 4");
    unplanned(&project, "rustc --bin registry -- -Ctarget-cpu=native")
        .succeeds()
        .says("compiled locally");
    unplanned(&project, "run").fails().says("end 4");
}
