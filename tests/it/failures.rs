//! A mistake is reported as plain cargo reports it, each time it is made, and forgotten once fixed.

use crate::project::{By, Project};

/// One job: with more, which other units are done before cargo stops is a matter of chance.
/// Not incremental: a linker's error tells the number of object files.
fn project() -> Project {
    Project::new("broken").env("CARGO_BUILD_JOBS", "1").env("CARGO_INCREMENTAL", "0")
}

/// `wrong` stands in `file` for a while.
#[track_caller]
fn case(file: &str, wrong: &str, message: &str) {
    let project = project();
    project.edit(file, "// HERE", wrong);
    project.fails_alike("build").says(message);
    project.edit(file, wrong, "// HERE");
    project.same(&["run"]);
}

#[test]
fn type_error() {
    case("src/lib.rs", "let _: u32 = \"\";", "E0308");
}

#[test]
fn type_error_after_a_success() {
    let project = project();
    project.same(&["run", "clippy"]);
    project.edit("src/main.rs", "// HERE", "let _: u32 = \"\";");
    project.fails_alike("build").says("E0308");
    project.fails_alike("clippy").says("E0308");
    project.edit("src/main.rs", "let _: u32 = \"\";", "// HERE");
    project.same(&["run", "clippy"]);
}

#[test]
fn syntax_error_in_a_build_script() {
    case("build.rs", "let = ;", "expected pattern");
}

#[test]
fn failing_build_script() {
    let wrong = "println!(\"on stdout\"); eprintln!(\"on stderr\"); std::process::exit(7);";
    case("build.rs", wrong, "exit status: 7");
}

#[test]
fn panicking_build_script() {
    case("build.rs", "panic!(\"a build script's panic\");", "a build script's panic");
}

#[test]
fn build_script_that_reports_an_error() {
    case("build.rs", "println!(\"cargo::error=what it says\");", "what it says");
}

#[test]
fn aborting_build_script() {
    case("build.rs", "std::process::abort();", "SIGABRT");
}

#[test]
fn missing_native_library() {
    case("build.rs", "println!(\"cargo::rustc-link-lib=no_such_library\");", "no_such_library");
}

#[test]
fn panicking_macro() {
    case("macros/src/lib.rs", "panic!(\"a macro's panic\");", "a macro's panic");
}

#[test]
fn rustc_aborts() {
    case("macros/src/lib.rs", "std::process::abort();", "SIGABRT");
}

#[test]
fn rustc_is_killed() {
    let kill =
        "std::process::Command::new(\"sh\").args([\"-c\", \"kill -9 $PPID\"]).status().unwrap();";
    case("macros/src/lib.rs", kill, "SIGKILL");
}

#[test]
fn warnings_denied_by_rustflags() {
    let project = project().env("RUSTFLAGS", "-D warnings");
    project.edit("src/lib.rs", "// HERE", "let unused = 1;");
    project.fails_alike("build").says("-D unused-variables");
    project.fails_alike("check").says("-D unused-variables");
    project.edit("src/lib.rs", "let unused = 1;", "// HERE");
    project.same(&["build", "check"]);
}

#[test]
fn warnings_denied_by_clippy() {
    let project = project();
    project.edit("src/lib.rs", "// HERE", "let x = 1; let x = x; println!(\"{}\", x);");
    project.fails_alike("clippy -- -D clippy::uninlined_format_args").says("uninlined");
    project.same(&["clippy"]);
}

#[test]
fn unknown_rustc_option() {
    let project = project().env("RUSTFLAGS", "-C no-such-option=1");
    let (plain, ours) = (project.plain("build").fails(), project.ours("build").fails());
    assert_eq!(plain.status, ours.status);
    assert!(ours.stderr.contains("no-such-option"), "{ours}");
}

/// Tests and programs that fail at run time: nothing of ours is in between.
#[test]
fn failing_tests_and_programs() {
    let project = project();
    project.edit("src/main.rs", "// HERE", "if true { std::process::exit(9); }");
    let test = "\n#[test]\nfn fails() {\n    assert_eq!(one(), 2, \"of a test\");\n}\n";
    project.edit("src/lib.rs", "macros::one!()\n}\n", &format!("macros::one!()\n}}\n{test}"));
    project.same(&["run", "test --no-fail-fast"]);
    assert_eq!(project.ours("run").status.code(), Some(9));
    project.ours("test").fails().says("of a test");
}

/// A build script runs again when what it declared changes, and only then.
#[test]
fn build_script_declares_a_variable() {
    let project = project();
    let reads = "println!(\"cargo::rerun-if-env-changed=IT_NUMBER\");\n    \
                 println!(\"cargo::rustc-env=NUMBER={:?}\", std::env::var(\"IT_NUMBER\"));";
    project.edit("build.rs", "// HERE", reads);
    project.edit("src/main.rs", "// HERE", "println!(\"{}\", env!(\"NUMBER\"));");
    for value in ["one", "two", "one"] {
        let run = |by| {
            let mut cargo = project.cargo(by, "run");
            cargo.env("IT_NUMBER", value);
            crate::command::start(cargo, value).finish().succeeds().stdout
        };
        assert_eq!(run(By::Plain), run(By::Ours), "{value}");
    }
}

/// rustc quotes the sources of dependencies, from a registry and from the same workspace.
#[test]
fn sources_of_dependencies() {
    let project = Project::new("registry");
    project.edit("src/lib.rs", "buffer.format(add(2, 3))", "buffer.format(\"a text\")");
    project.fails_alike("check").says("required by this bound in `Buffer::format`");

    let project = Project::new("workspace").inside("ws");
    for (file, text) in [
        ("ws/middle/src/lib.rs", "\n/// More.\npub fn shown<T: Copy>(_: T) {}\n"),
        (
            "ws/app/src/lib.rs",
            "\n/// More.\npub fn show() {\n    renamed::shown(String::new());\n}\n",
        ),
    ] {
        let path = project.root.join(file);
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + text).unwrap();
    }
    project.fails_alike("check -p app --lib").says("required by this bound in `shown`");
}

/// What the image lacks and this machine has is named, and the script may run here instead.
#[test]
fn a_program_that_only_the_host_has() {
    let project = project();
    let host_only = project.dir().join("it-host-only");
    std::fs::write(&host_only, "#!/bin/sh\necho cargo:rustc-env=IT_RAN=here\n").unwrap();
    std::fs::set_permissions(&host_only, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let path = format!("{}:{}", project.dir().display(), std::env::var("PATH").unwrap());
    let project = project.env("PATH", &path);
    let script = "assert!(std::process::Command::new(\"sh\").args([\"-c\", \"it-host-only\"]).status().unwrap().success());";
    project.edit("build.rs", "// HERE", script);
    project.edit("src/main.rs", "// HERE", "println!(\"{}\", env!(\"IT_RAN\"));");
    let ours = project.ours("run").fails().says("failed to find the program `it-host-only`");
    ours.says("RUSTCBUILDX_LOCAL_SCRIPTS=broken");
    project.env("RUSTCBUILDX_LOCAL_SCRIPTS", "broken").same(&["run"]);
}

/// What a script panics for want of is told by its source; a container has no network either.
#[test]
fn the_way_out_for_a_script_is_named() {
    let here = "RUSTCBUILDX_LOCAL_SCRIPTS=broken";
    for (code, expected) in [
        (
            "std::process::Command::new(\"python3\").arg(\"-V\").output().unwrap();",
            "the program `python3`",
        ),
        (
            "std::process::Command::new(\"python3\").output().expect(\"failed to run python3\");",
            "the program `python3`",
        ),
        (
            "std::net::TcpStream::connect(\"example.org:80\").unwrap();",
            "failed to reach `example.org` for broken",
        ),
    ] {
        let project = project();
        project.edit("build.rs", "// HERE", code);
        project.ours("build").fails().says(expected).says(here);
    }
}

#[test]
fn strictly_nothing_is_compiled_locally() {
    let project = project().env("RUSTFLAGS", "-Ctarget-cpu=native");
    project.ours("check").succeeds().says("compiled locally: target-cpu=native");
    let project = project.env("RUSTCBUILDX_STRICT", "1");
    project.edit("src/main.rs", "// HERE", "");
    project.ours("check").fails().says("failed to compile in a container: target-cpu=native");
}
