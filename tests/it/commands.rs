//! The tool's own commands: what they print and how they exit.

use std::path::Path;

use crate::command::{Finished, start};
use crate::engine::{Engine, WRAPPER, command};
use crate::project::{By, Project};

fn rustcbuildx(args: &str, env: &[(&str, &str)]) -> Finished {
    let mut command = command(WRAPPER, &Engine::docker().env);
    command.args(args.split_whitespace()).envs(env.iter().copied());
    start(command, &format!("rustcbuildx {args}")).finish()
}

#[test]
fn help_names_the_commands() {
    for args in ["--help", "-h"] {
        let help = rustcbuildx(args, &[]).succeeds();
        for word in ["env", "pull", "RUSTC_WRAPPER", "RUSTCBUILDX_RUNNER"] {
            assert!(help.stdout.contains(word), "no `{word}` in {help}");
        }
    }
}

#[test]
fn green_speaks_of_itself() {
    let green = |args: &str| {
        let mut green =
            command(Path::new(WRAPPER).with_file_name("cargo-green"), &Engine::docker().env);
        green.arg("green").args(args.split_whitespace());
        start(green, &format!("cargo green {args}")).finish().succeeds()
    };
    for args in ["", "--help", "-h", "help"] {
        let help = green(args);
        for word in
            ["cargo green install", "without a network", "RUSTCBUILDX_RUNNER", "RUSTC_WRAPPER"]
        {
            assert!(help.stdout.contains(word), "no `{word}` in {help}");
        }
    }
    green("--version").says(&format!("cargo-green {}", env!("CARGO_PKG_VERSION")));
    green("build --help").says("--message-format");
}

#[test]
fn a_misspelt_setting_is_reported() {
    let misspelt = [("RUSTCBUILDX_STRCT", "1")];
    for args in ["env", "pull"] {
        rustcbuildx(args, &misspelt)
            .succeeds()
            .says("RUSTCBUILDX_STRCT")
            .says("is RUSTCBUILDX_STRICT meant?");
    }
    let project = Project::new("workspace").inside("ws").env("RUSTCBUILDX_STRCT", "1");
    let run = project.ours("build").succeeds();
    assert_eq!(run.stderr.matches("RUSTCBUILDX_STRCT").count(), 1, "{run}");
}

#[test]
fn version_is_the_package_version() {
    for args in ["--version", "-V"] {
        rustcbuildx(args, &[]).succeeds().says(env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn anything_else_is_refused_with_a_hint() {
    for args in ["", "no-such-command", "--no-such-option", "env NO_SUCH_VARIABLE"] {
        let refused = rustcbuildx(args, &[]).fails();
        assert!(!refused.stderr.is_empty(), "{refused}");
        assert!(refused.stdout.is_empty(), "{refused}");
    }
    rustcbuildx("no-such-command", &[]).says("no-such-command").says("help");
}

#[test]
fn env_tells_every_setting() {
    let all = rustcbuildx("env", &[("RUSTCBUILDX_LOG", "info")]).succeeds();
    for name in ["RUNNER", "BASE_IMAGE", "SYNTAX", "LOG", "LOG_STYLE", "LOG_PATH", "INCREMENTAL"] {
        let name = format!("RUSTCBUILDX_{name}");
        assert!(all.stdout.contains(&name), "no `{name}` in {all}");
    }
}

/// The output can be read by a shell, whatever the value.
#[test]
fn env_is_quoted_for_a_shell() {
    let value = "/tmp/a 'quoted' \"path\" with $HOME and ünï";
    let all = rustcbuildx("env", &[("RUSTCBUILDX_LOG_PATH", value)]).succeeds();
    let script = format!("{}\nprintf %s \"$RUSTCBUILDX_LOG_PATH\"", all.stdout);
    let mut shell = command("sh", &Engine::docker().env);
    shell.args(["-c", &script]);
    assert_eq!(start(shell, "sh").finish().succeeds().stdout, value);
}

#[test]
fn env_tells_the_named_settings_only() {
    let one = rustcbuildx("env RUSTCBUILDX_RUNNER", &[("RUSTCBUILDX_RUNNER", "none")]).succeeds();
    assert!(one.stdout.contains("none"), "{one}");
    assert!(!one.stdout.contains("RUSTCBUILDX_LOG"), "{one}");
}

#[test]
fn unknown_runner_is_refused() {
    rustcbuildx("pull", &[("RUSTCBUILDX_RUNNER", "no-such-runner")]).fails().says("no-such-runner");
    let project = Project::new("broken").env("RUSTCBUILDX_RUNNER", "no-such-runner");
    project.ours("build").fails().says("no-such-runner");
}

#[test]
fn pull_works_again_and_fails_without_an_engine() {
    rustcbuildx("pull", &[]).succeeds();
    rustcbuildx("pull", &[("DOCKER_HOST", "unix:///nonexistent")]).fails();
}

/// The program as cargo names it, and as it is after an edit.
#[test]
fn an_output_is_explained() {
    let project = Project::new("package").env("CARGO_INCREMENTAL", "0");
    project.ours("build").succeeds();
    let explain = |args: &[&str]| {
        let mut command = project.command(WRAPPER, By::Ours);
        command.arg("explain").args(args);
        start(command, &format!("rustcbuildx explain {args:?}")).finish()
    };
    let program = project.target(By::Ours).join("debug/package");
    let program = program.to_str().unwrap();
    let explained: serde_json::Value =
        serde_json::from_str(&explain(&["--json", program]).succeeds().stdout).unwrap();
    assert_eq!(explained["is_stored"], true);
    assert!(
        explained["task"].as_array().unwrap().iter().any(|line| line == "word --crate-name"),
        "{explained:#}"
    );
    explain(&[program]).succeeds().says("(crate package)").says("src/main.rs");
    assert_eq!(explain(&[program, program]).succeeds().stdout, "");
    explain(&["Cargo.toml"]).fails().says("no target folder");
    let source = project.root.join("src/main.rs");
    let edited = std::fs::read_to_string(&source).unwrap() + "// edited\n";
    std::fs::write(&source, edited).unwrap();
    std::fs::write(project.root.join("notes.txt"), "new").unwrap();
    project.ours("build").succeeds();
    let said = explain(&[program]).succeeds().stdout;
    let change = format!("    `{}` was edited\n", source.display());
    assert!(said.contains(&format!("  built anew, as this changed\n{change}  read\n")), "{said}");
    std::fs::write(program, "changed").unwrap();
    explain(&[program]).fails().says("hint: ");
}

fn audit(project: &Project) -> String {
    let mut command = project.command(WRAPPER, By::Ours);
    command.args(["audit", project.target(By::Ours).to_str().unwrap()]);
    start(command, "rustcbuildx audit").finish().succeeds().stdout
}

/// Who did what: the unit itself, or what it started.
#[test]
fn an_audit_tells_who_did_it() {
    let project = Project::new("touches");
    project.ours("build").succeeds();
    let said = audit(&project);
    let script = said.split("\n\n").find(|unit| unit.starts_with("app 0.1.0 (build script)"));
    let script = script.unwrap_or_else(|| panic!("{said}"));
    assert!(script.contains("/shared/child-reads/file  (cat)\n"), "{script}");
    assert!(script.contains("/shared/read/file\n"), "{script}");
    assert!(script.contains("asked for the time\n"), "{script}");
    let mut command = project.command(WRAPPER, By::Ours);
    command.args(["audit", "--json", project.target(By::Ours).to_str().unwrap()]);
    let units = start(command, "rustcbuildx audit --json").finish().succeeds().stdout;
    let units: serde_json::Value = serde_json::from_str(&units).unwrap();
    let script =
        units.as_array().unwrap().iter().find(|it| it["unit"] == "app 0.1.0 (build script)");
    assert!(script.unwrap()["did"]["asked for the time"].is_array(), "{units:#}");
}

/// A package's own files are no news, wherever containers show it.
#[test]
fn an_audit_tells_what_is_beyond_a_package() {
    let project =
        Project::new("registry").env("RUSTCBUILDX_SET_ENVS", "IT_AUDIT").env("IT_AUDIT", "1");
    project.ours("build").succeeds();
    let said = audit(&project);
    assert!(said.contains("units did nothing beyond"), "{said}");
    assert!(!said.contains("/anyhow-1") && !said.contains("/avx512"), "{said}");
    // A macro has cargo tell it where that is.
    let project = Project::new("queries");
    project.ours("test --no-run").succeeds();
    let said = audit(&project);
    let file = project.root.join("queries/one.txt");
    assert!(said.contains(&format!("\n    {}\n", file.display())), "{said}");
    assert!(said.contains("/bin/cargo"), "{said}");
}

/// A shell takes what completes words, and offers the commands.
#[test]
fn words_are_completed() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = rustcbuildx(&format!("completions {shell}"), &[]).succeeds().stdout;
        for word in ["rustcbuildx", "cargo-green", "audit", "doctor", "clippy"] {
            assert!(script.contains(word), "{shell}: no `{word}` in {script}");
        }
    }
    rustcbuildx("completions tcsh", &[]).fails().says("bash");
    let script = rustcbuildx("completions bash", &[]).stdout;
    let asked = "COMP_WORDS=(rustcbuildx ex); COMP_CWORD=1; \
                 _rustcbuildx rustcbuildx ex rustcbuildx; echo \"${COMPREPLY[@]}\"";
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &format!("{script}\n{asked}")]);
    start(bash, "bash").finish().succeeds().says("explain");
}

#[test]
fn pages_for_man() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    rustcbuildx(&format!("man {}", folder.display()), &[]).succeeds();
    for (page, word) in [
        ("rustcbuildx.1", "RUSTCBUILDX_STORE_SIZE"),
        ("rustcbuildx-doctor.1", "FILE"),
        ("cargo-green.1", "cargo green install"),
    ] {
        let text = std::fs::read_to_string(folder.join(page)).unwrap().replace("\\", "");
        assert!(text.contains(".TH ") && text.contains(word), "no `{word}` in {text}");
    }
}
