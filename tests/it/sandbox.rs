//! What a unit can see: what it declares, and nothing else.

use std::net::TcpListener;

use crate::project::{By, Project};

/// A build script that tells what the Rust expression `tells` gives; the program prints it.
fn told(project: &Project, tells: &str) -> String {
    let tell = format!("println!(\"cargo::rustc-env=TOLD={{}}\", {tells});");
    project.edit("build.rs", "// HERE", &tell);
    project.edit("src/main.rs", "// HERE", "println!(\"{}\", env!(\"TOLD\"));");
    let run = project.ours("run").succeeds();
    run.stdout.lines().next().unwrap().to_owned()
}

/// Plain cargo's build script reaches it, ours does not.
#[test]
fn no_network() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let project = Project::new("broken");
    let connects = format!("std::net::TcpStream::connect(\"{address}\").is_ok()");
    assert_eq!(told(&project, &connects), "false");
    project.plain("run").succeeds().says("true");
}

#[test]
fn no_files_of_the_host() {
    let project = Project::new("broken");
    let file = project.dir().join("outside of the package");
    std::fs::write(&file, "").unwrap();
    assert_eq!(told(&project, &format!("std::fs::exists({file:?}).unwrap()")), "false");
    project.plain("run").succeeds().says("true");
    // It is no secret.
    project.ours("clean").succeeds();
    project.ours("run").succeeds().says("outside of the package`, which this machine has");
}

/// Even if a macro names it; but the user is told.
#[test]
fn no_files_of_another_tree() {
    let project = Project::new("broken");
    std::fs::write(project.dir().join("elsewhere"), "").unwrap();
    project.edit("src/lib.rs", "// HERE", "let _ = include_str!(\"../../../elsewhere\");");
    project.plain("build").succeeds();
    project
        .ours("build")
        .fails()
        .says("couldn't read")
        .says("/elsewhere` to broken")
        .says("hint: ");
}

#[test]
fn no_variables_but_those_declared_or_asked_for() {
    let reads = "std::env::vars().any(|(name, _)| name == \"IT_VARIABLE\")";
    let seen = |project: Project| told(&project, reads);
    let project = || Project::new("broken").env("IT_VARIABLE", "1");
    assert_eq!(seen(project()), "false");
    assert_eq!(seen(project().env("RUSTCBUILDX_SET_ENVS", "IT_VARIABLE")), "true");

    let declares = project();
    declares.edit(
        "build.rs",
        "// HERE",
        "println!(\"cargo::rerun-if-env-changed=IT_VARIABLE\");\n    // HERE",
    );
    assert_eq!(seen(declares), "true");
    let asks = project();
    asks.edit("build.rs", "// HERE", "let _ = std::env::var(\"IT_VARIABLE\");\n    // HERE");
    assert_eq!(seen(asks), "true");
}

/// `env!` and `option_env!` declare what they read.
#[test]
fn variables_that_macros_read() {
    let project =
        Project::new("broken").env("IT_ONE", "1 'quoted' $HOME").env("IT_TWO", "zwei\nzeilen");
    let prints = "println!(\"{} {:?} {:?}\", env!(\"IT_ONE\"), option_env!(\"IT_TWO\"), option_env!(\"IT_THREE\"));";
    project.edit("src/main.rs", "// HERE", prints);
    project.same(&["run"]);
    let run = |by| {
        let mut cargo = project.cargo(by, "run");
        cargo.env("IT_TWO", "2").env("IT_THREE", "3");
        crate::command::start(cargo, "cargo run").finish().succeeds().stdout
    };
    assert_eq!(run(By::Plain), run(By::Ours));
}

/// A secret reaches who is meant to have it, whole, and leaves no trace; another value is another
/// unit.
#[test]
fn secrets_that_are_asked_for() {
    let project =
        Project::new("broken").env("RUSTCBUILDX_SET_ENVS", "broken:IT_TOKEN").logging("trace");
    let log = project.log();
    project.edit("src/main.rs", "// HERE", "println!(\"[{}]\", env!(\"IT_TOKEN\"));");
    let script = "println!(\"cargo:rustc-env=IT_SCRIPT={}\", std::env::var(\"IT_TOKEN\").is_ok());";
    project.edit("build.rs", "// HERE", script);
    for value in ["s3cr3t 'two'\n\"$HOME\"\n\n", "s3cr3t"] {
        let run = |by| {
            let mut cargo = project.cargo(by, "run");
            cargo.env("IT_TOKEN", value);
            crate::command::start(cargo, "cargo run").finish().succeeds().stdout
        };
        let (plain, ours) = (run(By::Plain), run(By::Ours));
        assert!(plain.contains(&format!("[{value}]")), "{plain}");
        assert_eq!(plain, ours);
    }
    let trace = std::fs::read_to_string(&log).unwrap();
    assert!(trace.contains("IT_TOKEN") && !trace.contains("s3cr3t"), "{trace}");
}

/// What many machines share does not hold the time at which one of them made it.
#[test]
fn a_date_that_is_the_same_everywhere() {
    let epoch = "std::env::var(\"SOURCE_DATE_EPOCH\").unwrap_or(\"none\".into())";
    assert_eq!(told(&Project::new("broken"), epoch), "none");
    let common = || Project::new("broken").env("RUSTCBUILDX_CANONICAL_PATHS", "all");
    assert_eq!(told(&common(), epoch), "315532800");
    assert_eq!(told(&common().env("SOURCE_DATE_EPOCH", "1"), epoch), "1");
}
