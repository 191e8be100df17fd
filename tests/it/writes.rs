//! What units write beside their outputs: where it lands, from the engine and from the store, and
//! where it never does.

use std::fs;

use crate::{
    planned::{self, green},
    project::{By, Project},
};

fn forget(project: &Project) {
    for file in ["app/src/generated.rs", "app/notes.txt", "assets"] {
        let path = project.root.join(file);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    fs::write(project.root.join("app/outdated.txt"), "").unwrap();
}

fn lands(with_green: bool) {
    let project = planned::project("writes").with_own_cache();
    project.plain("generate-lockfile").succeeds();
    let ours = || {
        let ours = if with_green { green(&project, "run -q") } else { project.ours("run -q") };
        ours.succeeds().stdout
    };
    for words in ["one", "two"] {
        fs::write(project.root.join("app/words.txt"), words).unwrap();
        forget(&project);
        let plain = project.plain("run -q").succeeds().stdout;
        let expected = project.snapshot();
        forget(&project);
        assert_eq!(plain, ours());
        assert_eq!(plain, format!("{words} noted\n"));
        assert_eq!(expected, project.snapshot(), "{words}");
        let beside = project.target(By::Ours).join("debug/beside-the-program.txt");
        assert_eq!(fs::read_to_string(beside).unwrap(), "beside");
        // From the store, with another target folder.
        forget(&project);
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        project.calls.take();
        assert_eq!(plain, ours());
        assert_eq!(expected, project.snapshot(), "{words} again");
        // The script's own program was made of the words before.
        let is_whole = words == "one";
        assert!(!is_whole || project.calls.take().is_empty());
    }
}

#[test]
fn what_members_write_lands_where_plain_cargo_has_it() {
    lands(false);
}

#[test]
fn what_members_write_lands_where_plain_cargo_has_it_in_a_plan() {
    lands(true);
}

/// Beyond the workspace, and where things run by themselves, and for whoever was downloaded.
#[test]
fn what_may_not_be_written_is_told() {
    let project = Project::new("writes").with_own_cache();
    project.edit("app/Cargo.toml", "# DEPENDENCY", "downloaded = { path = \"../downloaded\" }");
    let script = "
        for path in [\"../.git/hooks\", \"../.cargo\", \"../../outside\"] {
            let _ = fs::create_dir_all(path);
            let _ = fs::write(format!(\"{path}/file\"), \"\");
        }";
    project.edit("app/build.rs", "// HERE", script);
    fs::create_dir_all(project.root.join(".git/hooks")).unwrap();
    project.plain("generate-lockfile").succeeds();
    let ours = project.ours("run").succeeds();
    assert_eq!(ours.stdout, "one noted\n");
    for (unit, path) in [
        ("downloaded 0.1.0 (build script)", "from-elsewhere.txt"),
        ("app 0.1.0 (build script)", "outside"),
    ] {
        let said = ours.stderr.lines().find(|line| line.contains(unit)).unwrap_or_default();
        assert!(said.contains("was not allowed to") && said.contains(path), "{unit}: {ours}");
    }
    for path in ["app/from-elsewhere.txt", ".git/hooks/file", ".cargo", "../outside"] {
        assert!(!project.root.join(path).exists(), "{path}");
    }
    assert!(project.root.join("app/src/generated.rs").exists());
}

/// A macro from elsewhere runs in the same compile, and might have been the one.
#[test]
fn macros_from_elsewhere_write_where_the_user_says_so() {
    let project = Project::new("writes").with_own_cache();
    fs::write(project.root.join("mac/.cargo-checksum.json"), "{\"files\":{}}").unwrap();
    project.plain("generate-lockfile").succeeds();
    let ours = project.ours("run").succeeds().says("RUSTCBUILDX_ALLOW_WRITES=app");
    assert_eq!(ours.stdout, "one not noted\n");
    assert!(!project.root.join("app/notes.txt").exists());
    let project = project.env("RUSTCBUILDX_ALLOW_WRITES", "app");
    project.edit("app/src/main.rs", "fn main", "// Edited.\nfn main");
    assert_eq!(project.ours("run").succeeds().stdout, "one noted\n");
    assert!(project.root.join("app/notes.txt").exists());
}

/// A script makes a link in one build, and a folder with a file in its place in the next.
#[test]
fn what_is_written_follows_no_link() {
    let project = Project::new("writes").with_own_cache();
    let outside = project.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    let script = format!(
        "if fs::symlink_metadata(\"way\").is_ok() {{
            fs::remove_file(\"way\").unwrap();
            fs::create_dir(\"way\").unwrap();
            fs::write(\"way/file\", \"\").unwrap();
        }} else {{
            symlink({outside:?}, \"way\").unwrap();
        }}"
    );
    project.edit("app/build.rs", "// HERE", &script);
    project.plain("generate-lockfile").succeeds();
    project.ours("run").succeeds();
    assert!(project.root.join("app/way").is_symlink());
    fs::write(project.root.join("app/words.txt"), "two").unwrap();
    project.ours("run").succeeds().says("way/file` and was not allowed to");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// By which a script could leave the sandbox the next time.
#[test]
fn settings_are_not_written() {
    let project = Project::new("writes").with_own_cache();
    let team = project.root.join("team.toml");
    fs::write(&team, "").unwrap();
    fs::create_dir(project.root.join(".config")).unwrap();
    let settings = project.root.join(".config/rustcbuildx.toml");
    fs::write(&settings, "include = [\"../team.toml\"]\n").unwrap();
    let script =
        "for path in [\"../team.toml\", \"../.config/rustcbuildx.toml\", \"../Cargo.toml\"] {
            let _ = fs::create_dir_all(\"../.config\");
            let _ = fs::write(path, \"local-scripts = [\\\"app\\\"]\\n\");
        }";
    project.edit("app/build.rs", "// HERE", script);
    project.plain("generate-lockfile").succeeds();
    let manifest = fs::read_to_string(project.root.join("Cargo.toml")).unwrap();
    project
        .ours("run")
        .succeeds()
        .says("/.config/rustcbuildx.toml` and 2 more and was not allowed to");
    assert_eq!(fs::read_to_string(&team).unwrap(), "");
    assert_eq!(fs::read_to_string(&settings).unwrap(), "include = [\"../team.toml\"]\n");
    assert_eq!(fs::read_to_string(project.root.join("Cargo.toml")).unwrap(), manifest);
}
