//! `cargo green`: what plain cargo does, in few calls of the engine.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustcbuildx::config::env::BARRIER;
use rustcbuildx::planning::barrier::Barrier;

use crate::command::{Finished, Running, start};
use crate::engine::WRAPPER;
use crate::project::{By, Project, json_lines};
use crate::sharing::{with_a_cache_of_their_own, with_a_path_in_its_script};
use crate::sources::commit;
use crate::tree::walk;

/// A project for which `cargo green` is found.
pub fn project(fixture: &str) -> Project {
    let path = std::env::var("PATH").unwrap();
    with_green(Project::new(fixture), &path).env("CARGO_INCREMENTAL", "0")
}

pub fn with_green(project: Project, path: &str) -> Project {
    let programs = Path::new(WRAPPER).parent().unwrap().display();
    project.env("PATH", &format!("{programs}:{path}"))
}

pub fn green(project: &Project, args: &str) -> Finished {
    start_green(project, args).finish()
}

pub fn start_green(project: &Project, args: &str) -> Running {
    let mut cargo = project.cargo(By::Ours, &format!("green {args}"));
    cargo.env_remove("RUSTC_WRAPPER");
    start(cargo, &format!("cargo green {args}"))
}

/// The calls but that by which a planner asks an engine what it has of which it knows nothing.
fn builds(project: &Project) -> Vec<String> {
    project.calls.take().into_iter().filter(|call| !call.contains("/inventory ")).collect()
}

/// Into the target folder that cargo chooses by itself; without the wrapper's name, where the
/// command is `green`.
pub fn in_its_own_folder(project: &Project, args: &str) -> Finished {
    let mut cargo = project.cargo(By::Ours, args);
    cargo.env_remove("CARGO_TARGET_DIR");
    if args.starts_with("green") {
        cargo.env_remove("RUSTC_WRAPPER");
    }
    start(cargo, &format!("cargo {args}")).finish()
}

#[test]
fn many_units_in_few_calls() {
    let project =
        project("registry").env("RUSTCBUILDX_SET_ENVS", "IT_PLANNED").env("IT_PLANNED", "1");
    let args = "build --message-format=json";
    let ours = green(&project, args).succeeds();
    let calls = project.calls.take();
    let units = ours.units_compiled() + ours.build_scripts();
    assert!(units > 20 && calls.len() <= 5, "{units} units: {calls:#?}");
    let plain = project.plain(args).succeeds();
    assert_eq!(
        json_lines(&plain, &project.target(By::Plain)),
        json_lines(&ours, &project.target(By::Ours))
    );
    project.assert_same_tree();
    // The wrapper alone finds all fresh, and goes on from there.
    project.same(&["run", "test"]);
}

/// The folder that cargo uses by itself, inside of the package: the dry run's is elsewhere.
#[test]
fn a_target_folder_in_the_package() {
    let project = project("broken");
    let ours = in_its_own_folder(&project, "green run").succeeds();
    assert_eq!(ours.stdout, "one is 1\n");
    assert!(project.root.join("target/debug/broken").exists());
    // The build script and its run, and what comes of that.
    let calls = builds(&project);
    assert!(calls.len() <= 2 && calls.iter().all(|call| call.contains("/batch ")), "{calls:#?}");
}

/// Its target folder lies in there, with files that are none of the script's.
#[test]
fn a_script_lists_its_package() {
    let project = project("broken");
    let script = "let mut names: Vec<String> = std::fs::read_dir(\".\").unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != \"target\").collect();
    names.sort();
    println!(\"cargo::rustc-env=NAMES={names:?}\");";
    project.edit("build.rs", "// HERE", script);
    for command in ["green build", "build"] {
        in_its_own_folder(&project, command).succeeds();
        let folder = project.root.join("target/debug/build");
        let said = walk(&folder, |_| false).into_keys().filter(|path| path.ends_with("/output"));
        let said: Vec<String> =
            said.map(|path| fs::read_to_string(folder.join(path)).unwrap()).collect();
        assert!(said.concat().contains("\"macros\", \"src\""), "{command}: {said:?}");
        fs::remove_dir_all(project.root.join("target")).unwrap();
    }
}

/// What is built is not kept, so a plan is of no use to anyone.
#[test]
fn no_store_no_plan() {
    let project = project("broken").env("RUSTCBUILDX_STORE_SIZE", "0");
    project.plain("run").succeeds();
    assert_eq!(green(&project, "run").succeeds().stdout, "one is 1\n");
    let calls = project.calls.take();
    assert!(!calls.is_empty() && !calls.iter().any(|call| call.contains("/batch")), "{calls:#?}");
    project.assert_same_tree();
}

/// Members that are compiled incrementally, with build scripts, variables and files that are found
/// out.
#[test]
fn a_workspace() {
    let project = project("workspace").inside("ws").env("CARGO_INCREMENTAL", "1");
    project.plain("test --workspace").succeeds();
    green(&project, "test --workspace").succeeds();
    project.assert_same_tree();
    project.same(&["test --workspace"]);
}

/// Here, a disk that takes no outcomes. What was slow is said in one line, when all is done.
#[test]
fn what_was_slow_is_said_once_at_the_end() {
    let project = project("registry").with_own_cache();
    let cache = project.dir().join("cache/rustcbuildx");
    fs::create_dir_all(&cache).unwrap();
    fs::write(cache.join("store"), "no folder").unwrap();
    let slow = "rustcbuildx: slower than it could be: ";
    let green = green(&project, "build").succeeds();
    let lines: Vec<&str> =
        green.stderr.lines().filter(|line| line.starts_with("rustcbuildx: ")).collect();
    assert!(
        lines.len() == 1 && lines[0].starts_with(slow) && lines[0].contains("not planned"),
        "{green}"
    );
    assert!(green.stderr.trim_end().ends_with(lines[0]), "{green}");
    project.edit("src/lib.rs", "pub fn", "\npub fn");
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    // The wrapper says it when it happens: that nothing was planned, and that nothing is stored.
    let ours = project.ours("build").succeeds();
    for kind in ["the rest was not planned", "outcomes were not stored"] {
        assert_eq!(ours.stderr.matches(&format!("{slow}{kind}")).count(), 1, "{ours}");
    }
    assert_eq!(ours.stderr.matches(slow).count(), 2, "{ours}");
}

/// A program that uses its path when it runs is planned again, with the host's.
#[test]
fn a_path_in_use_is_learned_in_the_plan() {
    let project = project("broken").env("RUSTCBUILDX_CANONICAL_PATHS", "all");
    project.edit("src/main.rs", "// HERE", "println!(\"{}\", env!(\"CARGO_MANIFEST_DIR\"));");
    let ours = green(&project, "run");
    assert_eq!(ours.stdout.lines().next(), Some(project.root.to_str().unwrap()), "{ours}");
    let calls = builds(&project);
    assert!(calls.len() > 1 && calls.iter().all(|call| call.contains("/batch ")), "{calls:#?}");
}

/// The program that a build script is here has a path of this checkout in it; what it makes in the
/// engine has none.
#[test]
fn a_build_script_with_a_path_of_its_own() {
    let [first, second] = with_a_cache_of_their_own(|| {
        let project = with_a_path_in_its_script(project("broken"));
        let trace = project.dir().join("trace.json");
        project.env("RUSTCBUILDX_TIMINGS", trace.to_str().unwrap())
    });
    first.plain("run").succeeds();
    green(&first, "run").succeeds();
    first.assert_same_tree();
    let times = fs::read_to_string(first.dir().join("trace.json")).unwrap();
    let comes = r#""broken 0.1.0 (build script)","cat":"transfer""#;
    assert_eq!(times.matches(comes).count(), 1, "what the script made comes once: {times}");
    green(&second, "run").succeeds();
    let calls = second.calls.take();
    assert_eq!(calls.len(), 1, "{calls:#?}");
    second.plain("run").succeeds();
    second.assert_same_tree();
}

/// What a plan lets go without having made it is built by itself.
#[test]
fn each_unit_asks_once() {
    let name = format!("it-asks-{}", std::process::id());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    Barrier::new(&name).unwrap().hand_on(move |unit| {
        counted.fetch_add(1, Ordering::Relaxed);
        drop(unit);
    });
    let project = Project::new("broken").with_own_cache().env(BARRIER, &name);
    let ours = project.ours("build --message-format=json").succeeds();
    assert_eq!(asked.load(Ordering::Relaxed), ours.units_compiled() + ours.build_scripts());
}

/// All below it is stored: a dry run of the whole command would take longer than its compile.
#[test]
fn a_program_alone_is_not_planned() {
    let project = project("registry").with_own_cache().logging("info");
    let log = project.log();
    green(&project, "build").succeeds();
    let is_planned = || fs::read_to_string(&log).unwrap().contains(" missing");
    assert!(is_planned());
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    fs::remove_file(&log).unwrap();
    project.calls.take();
    green(&project, "rustc --bin registry -- -Copt-level=1").succeeds();
    assert_eq!(project.calls.take().len(), 1);
    assert!(!is_planned());
}

/// A failure for want of a variable or a file that is here ends no plan, nor does what was built
/// from it in the same call.
#[test]
fn what_is_read_is_learned_in_the_plan() {
    let project = project("broken").env("IT_ASKED", "asked");
    project.edit("macros/src/lib.rs", "// HERE", "let _ = include_str!(\"../../Cargo.toml\");");
    project.edit(
        "src/lib.rs",
        "// HERE",
        "println!(\"{} {:?}\", env!(\"IT_ASKED\"), option_env!(\"IT_ASKED\"));",
    );
    project.plain("run").succeeds();
    let ours = green(&project, "run").succeeds();
    assert_eq!(ours.stdout, "asked Some(\"asked\")\none is 1\n");
    assert_planned(&project, ours);
    project.assert_same_tree();
    // Remembered: all is in the store.
    fs::remove_dir_all(project.target(By::Ours)).unwrap();
    green(&project, "run").succeeds();
    assert_eq!(project.calls.take(), [""; 0]);
}

/// As scripts that compile C leave it, in a folder of their own making.
#[test]
fn a_library_in_a_folder_that_a_script_made() {
    let project = project("broken");
    let code = "let out = std::path::PathBuf::from(std::env::var_os(\"OUT_DIR\").unwrap());
        std::fs::create_dir_all(out.join(\"lib\")).unwrap();
        let run = |words: &[&str]| {
            assert!(std::process::Command::new(words[0]).args(&words[1..]).current_dir(&out).status().unwrap().success())
        };
        run(&[\"cc\", \"-xc\", \"-c\", \"/dev/null\", \"-olib/nothing.o\"]);
        run(&[\"ar\", \"crsD\", \"lib/libnothing.a\", \"lib/nothing.o\"]);
        println!(\"cargo::rustc-link-search=native={}/lib\", out.display());
        println!(\"cargo::rustc-link-lib=static=nothing\");";
    project.edit("build.rs", "// HERE", code);
    project.plain("run").succeeds();
    assert_planned(&project, green(&project, "run"));
    project.assert_same_tree();
}

/// The package's script and library have other keys with an edit of its program, but cargo runs
/// neither again.
#[test]
fn what_cargo_finds_fresh_is_not_planned() {
    let project = project("broken");
    green(&project, "build").succeeds();
    project.edit("src/main.rs", "// HERE", "let _ = 1;");
    project.calls.take();
    green(&project, "run").succeeds();
    assert_eq!(project.calls.take().len(), 1);
    project.plain("run").succeeds();
    project.assert_same_tree();
}

/// Where the command's own units go is no matter.
#[test]
fn target_folders_from_everywhere() {
    let in_a_build_folder = project("broken").env("CARGO_BUILD_BUILD_DIR", "{target}/of its own");
    assert_planned(&in_a_build_folder, green(&in_a_build_folder, "build"));
    in_a_build_folder.plain("build").succeeds();
    in_a_build_folder.assert_same_tree();

    let named = project("broken");
    let args = "build --target-dir {target}/named";
    assert_planned(&named, green(&named, args));
    named.plain(args).succeeds();
    named.assert_same_tree();
}

/// Cargo makes a folder that nobody knows before, and the program has its name in it. Of the
/// compiler it may take no note there.
#[test]
fn a_temporary_target_folder() {
    let project = project("broken").env("CARGO_CACHE_RUSTC_INFO", "0");
    project.edit("src/main.rs", "// HERE", "println!(\"{}\", env!(\"OUT_DIR\"));");
    commit(&project.root);
    let args = format!(
        "green install --git file://{} broken --root {{target}}/root",
        project.root.display()
    );
    assert_planned(&project, in_its_own_folder(&project, &args));
    let program = project.target(By::Ours).join("root/bin/broken");
    let told = start(project.command(program.to_str().unwrap(), By::Ours), "broken")
        .finish()
        .succeeds()
        .stdout;
    assert!(!told.contains("cargo-target") && told.contains("/out\n"), "{told}");
}

/// By a jobserver, as from cargo: not one for each of the 16 pieces that a crate is cut into.
#[test]
fn a_compiler_has_as_many_threads_as_were_asked_for() {
    let count = "extern \"C\" { fn ioctl(fd: i32, request: u64, count: *mut i32) -> i32; }
        const FIONREAD: u64 = 0x541B;
        let mut others = -1;
        unsafe { ioctl(198, FIONREAD, &mut others) };
        return (others + 1).to_string().parse().unwrap();
        #[allow(unreachable_code)]";
    let project = project("broken");
    project.edit("macros/src/lib.rs", "// HERE", count);
    green(&project, "run -j 3").succeeds().says("one is 3\n");
    let project = Project::new("broken");
    project.edit("macros/src/lib.rs", "// HERE", count);
    project
        .ours("run")
        .succeeds()
        .says(&format!("one is {}\n", std::thread::available_parallelism().unwrap()));
}

#[track_caller]
pub fn assert_planned(project: &Project, run: Finished) {
    run.succeeds();
    let calls = project.calls.take();
    let of_kind = |kind: &str| calls.iter().filter(|call| call.contains(kind)).count();
    assert!(of_kind("/batch ") > 0 && of_kind("/unit ") == 0, "{calls:#?}");
}

/// Makes it one of the members that are added to it.
pub fn as_workspace(project: &Project) {
    fs::write(
        project.root.join("Cargo.toml"),
        "[workspace]\nresolver = \"2\"\nmembers = [\"m*\", \"below*\"]\n",
    )
    .unwrap();
    fs::remove_file(project.root.join("Cargo.lock")).unwrap();
    fs::remove_dir_all(project.root.join("macros")).unwrap();
}

/// An empty library, which `uses` others: lines of its manifest.
pub fn member(project: &Project, name: &str, uses: &str) {
    let folder = project.root.join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{uses}"
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/lib.rs"), "").unwrap();
}

/// Sixteen units with arguments of 400 kB each are more than BuildKit can tell itself.
#[test]
fn what_is_too_long_for_one_message() {
    let project = project("broken").env("CARGO_BUILD_JOBS", "1");
    as_workspace(&project);
    let uses: String =
        (0..12).map(|at| format!("below{at} = {{ path = \"../below{at}\" }}\n")).collect();
    (0..12).for_each(|at| member(&project, &format!("below{at}"), ""));
    (0..12).for_each(|at| member(&project, &format!("m{at}"), &uses));
    let flags: String =
        (0..400).map(|at| format!("\"--cfg={:a<1000}\", ", format!("a{at}"))).collect();
    fs::create_dir(project.root.join(".cargo")).unwrap();
    fs::write(project.root.join(".cargo/config.toml"), format!("[build]\nrustflags = [{flags}]\n"))
        .unwrap();
    project.plain("build").succeeds();
    assert_planned(&project, green(&project, "build"));
    project.assert_same_tree();
}

/// Every command that compiles is planned, and one that finds nothing to do calls no engine.
#[test]
fn commands_other_than_build() {
    let project = project("broken");
    for args in
        ["doc --no-deps", "rustc --lib -- --cfg extra", "install --path . --root {target}/root"]
    {
        project.plain(args).succeeds();
        assert_planned(&project, green(&project, args));
        project.assert_same_tree();
        green(&project, args).succeeds();
        assert_eq!(project.calls.take(), [""; 0], "{args}");
    }
}

#[test]
fn timings_tell_where_the_time_went() {
    let project = project("broken").env("RUSTCBUILDX_TIMINGS", "{target}/trace.json");
    fs::create_dir_all(project.target(By::Ours)).unwrap();
    green(&project, "build").succeeds();
    project.edit("src/main.rs", "fn main", "\nfn main");
    project.ours("build").succeeds();
    let file = project.target(By::Ours).join("trace.json");
    let mut command = project.command(WRAPPER, By::Ours);
    command.arg("timings").arg(&file);
    let page = start(command, "rustcbuildx timings").finish().succeeds().stdout;
    let page = fs::read_to_string(page.trim()).unwrap();
    for phase in [
        "dry run",
        "start of a call",
        "finding inputs",
        "engine",
        "transfer",
        "restored from the store",
    ] {
        assert!(page.contains(&format!("</i>{phase}<")), "no {phase} in {page}");
    }
    assert!(page.contains("broken 0.1.0 (build script)"), "{page}");
}

/// After an edit, the first units go by themselves, as if they were the only ones; many that are
/// left are built together.
#[test]
fn what_an_edit_reaches_is_built_together() {
    let project = project("broken").env("CARGO_INCREMENTAL", "1").env("CARGO_BUILD_JOBS", "2");
    as_workspace(&project);
    member(&project, "below", "");
    (0..16).for_each(|at| member(&project, &format!("m{at}"), "below = { path = \"../below\" }\n"));
    let calls = |file: &str, text: &str| {
        fs::write(project.root.join(file), text).unwrap();
        let plain = project.plain("build");
        project.calls.take();
        let ours = green(&project, "build");
        assert_eq!(
            (plain.status, plain.units_compiled()),
            (ours.status, ours.units_compiled()),
            "{plain}{ours}"
        );
        project.assert_same_tree();
        let calls = project.calls.take();
        let (together, alone): (Vec<String>, _) =
            calls.into_iter().partition(|call| call.contains("/batch"));
        (together.len(), alone.len())
    };
    // The last time as the first: what was made together is kept for one command. Since that, it
    // is known how far an edit reaches, so the first unit waits for the plan.
    for (number, most) in [("1", 8), ("2", 0), ("1", 0)] {
        let (together, alone) =
            calls("below/src/lib.rs", &format!("pub fn below() -> u8 {{ {number} }}"));
        assert!(together == 1 && alone <= most, "{together} and {alone}");
    }
    assert_eq!(calls("m0/src/lib.rs", "pub use below::below;"), (0, 1));
    assert_eq!(calls("below/src/lib.rs", "pub fn below() -> u8 { \"\" }"), (1, 0));
}
