//! What is a source of a package, and what is none, wherever it lies: the same program as plain
//! cargo's by the wrapper and by `cargo green`, before an edit and after it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::command::{Finished, start};
use crate::planned;
use crate::project::{By, Project};
use crate::sources::commit;

/// How a build is started.
const MODES: [&str; 2] = ["", "green "];

/// A package `app` whose program is this, with a cache of its own.
fn app(main: &str) -> Project {
    let project = planned::project("broken").with_own_cache();
    fs::write(project.root.join("src/main.rs"), main).unwrap();
    project
}

fn write(project: &Project, file: &str, text: &str) {
    let path = project.root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Into the target folder in the package or, if `is_outside`, one of its own; `by` plain cargo or
/// ours, with `mode` in front of the arguments.
fn cargo(project: &Project, by: By, mode: &str, args: &str, is_outside: bool) -> Finished {
    let args = if by == By::Plain { args.to_owned() } else { format!("{mode}{args}") };
    let mut cargo = project.cargo(by, &args);
    if !is_outside {
        cargo.env_remove("CARGO_TARGET_DIR");
    }
    if args.starts_with("green") {
        cargo.env_remove("RUSTC_WRAPPER");
    }
    start(cargo, &format!("cargo {args} # {by:?}")).finish()
}

/// The program says what plain cargo's says, now and after each edit.
#[track_caller]
fn says_the_same(make: impl Fn() -> Project, edits: &[(&str, &str)]) {
    for mode in MODES {
        let project = make();
        let run = |by| cargo(&project, by, mode, "run -q", true);
        for (file, text) in [("seed", "")].iter().chain(edits) {
            write(&project, file, text);
            let (plain, ours) = (run(By::Plain).succeeds(), run(By::Ours).succeeds());
            assert_eq!(plain.stdout, ours.stdout, "{mode}{file}");
        }
    }
}

/// How many megabytes of sources are kept.
fn kept(project: &Project) -> u64 {
    let folder = project.dir().join("cache/rustcbuildx/sources");
    let said = Command::new("du").arg("-sm").arg(folder).output().unwrap().stdout;
    String::from_utf8(said).unwrap().split('\t').next().unwrap().parse().unwrap()
}

#[test]
fn a_target_folder_without_a_tag_is_none() {
    for mode in MODES {
        let project = app("fn main() { println!(\"{}\", broken::one()) }");
        fs::create_dir(project.root.join("target")).unwrap();
        // Another tool's, as an editor has one.
        write(&project, "of-an-editor/debug/.fingerprint/x", "");
        write(&project, "of-an-editor/debug/deps/x", &"x".repeat(3 << 20));
        for edit in 0..2 {
            write(&project, "src/lib.rs", &format!("pub fn one() -> u32 {{ {edit} }}"));
            let run = cargo(&project, By::Ours, mode, "run -q", false).succeeds();
            assert_eq!(run.stdout, format!("{edit}\n"));
        }
        assert!(project.root.join("target/debug/broken").exists());
        assert!(kept(&project) < 3, "{} MB of sources", kept(&project));
    }
}

/// Where trybuild and `cargo package` put theirs: what it lacks is beside it, in its checkout and
/// in what another package made.
#[test]
fn a_package_below_a_target_folder() {
    for mode in MODES {
        let project = app("fn main() {}");
        let trial = project.root.join("target/tests/trial");
        write(
            &project,
            "target/CACHEDIR.TAG",
            "# This file is a cache directory tag created by cargo.\n",
        );
        write(&project, "shared/text.txt", "shared");
        fs::create_dir_all(trial.parent().unwrap()).unwrap();
        fs::rename(project.root.join("macros"), project.root.join("moved")).unwrap();
        write(
            &project,
            "target/tests/trial/Cargo.toml",
            "[package]\nname = \"trial\"\nedition = \"2021\"\n[workspace]\n",
        );
        let main = "fn main() { println!(\"{}\", include_str!(\"../../../../shared/text.txt\")) }";
        write(&project, "target/tests/trial/src/main.rs", main);
        commit(&project.root);
        let project = project.inside("target/tests/trial");
        let run = |text: &str| {
            write(&project, "shared/text.txt", text);
            cargo(&project, By::Ours, mode, "run -q", false)
        };
        assert_eq!(run("one").succeeds().stdout, "one\n");
        assert_eq!(run("two").succeeds().stdout, "two\n");
        // The error is rustc's own, and not that a second try lost the sources.
        write(
            &project,
            "target/tests/trial/.cargo/config.toml",
            "[build]\nrustflags = [\"-Clinker=no-such-linker\"]\n",
        );
        run("three").fails().says("linker `no-such-linker` not found");
    }
}

#[test]
fn a_fixture_with_a_tag_or_a_repository() {
    let make = || {
        let project = app(
            "fn main() { println!(\"{} {}\", include_str!(\"../fixtures/cache/a\"), include_str!(\"../fixtures/repository/.git/HEAD\")) }",
        );
        write(
            &project,
            "fixtures/cache/CACHEDIR.TAG",
            "Signature: 8a477f597d28d172789f06886806bc55\n",
        );
        write(&project, "fixtures/cache/a", "one");
        write(&project, "fixtures/repository/.git/HEAD", "ref: x");
        project
    };
    says_the_same(
        make,
        &[("fixtures/cache/a", "two"), ("fixtures/repository/.git/HEAD", "ref: y")],
    );
}

#[test]
fn what_links_to_folders_lead_to() {
    let make = || {
        let project = app(
            "mod sub; fn main() { println!(\"{} {}\", include_str!(\"../shared/text.txt\"), sub::ONE) }",
        );
        write(&project, "inner/Cargo.toml", "[package]\nname = \"inner\"\nedition = \"2021\"\n");
        write(&project, "outer/text.txt", "one");
        write(&project, "outer/sub/mod.rs", "pub const ONE: u32 = 1;");
        symlink("../outer/sub", project.root.join("src/sub")).unwrap();
        symlink("outer", project.root.join("shared")).unwrap();
        project
    };
    says_the_same(
        make,
        &[("outer/text.txt", "two"), ("outer/sub/mod.rs", "pub const ONE: u32 = 11;")],
    );
}

/// A member's links lead to folders of the workspace, beside its own.
#[test]
fn what_links_out_of_a_member_lead_to() {
    for mode in MODES {
        let project = app("fn main() {}");
        write(&project, "shared/text.txt", "one");
        write(
            &project,
            "macros/src/lib.rs",
            "#[proc_macro]\npub fn one(_: proc_macro::TokenStream) -> proc_macro::TokenStream { include_str!(\"../shared/text.txt\").parse().unwrap() }",
        );
        write(&project, "src/lib.rs", "pub fn one() -> u32 { macros::one!() }");
        write(&project, "src/main.rs", "fn main() { println!(\"{}\", broken::one()) }");
        symlink("../shared", project.root.join("macros/shared")).unwrap();
        for number in ["1", "2"] {
            write(&project, "shared/text.txt", number);
            assert_eq!(
                cargo(&project, By::Ours, mode, "run -q", true).succeeds().stdout,
                format!("{number}\n")
            );
        }
    }
}

/// Guests as wasm, firmware, helpers: built before, by the same cargo, into the same target folder.
#[test]
fn a_program_of_the_same_target_folder() {
    for mode in MODES {
        let project = app(
            "fn main() { println!(\"{}\", include_bytes!(\"../target/release/guest\").len() > 1000) }",
        );
        write(&project, "guest/Cargo.toml", "[package]\nname = \"guest\"\nedition = \"2021\"\n");
        write(&project, "guest/src/main.rs", "fn main() { println!(\"guest\") }");
        project.edit("Cargo.toml", "[workspace]", "[workspace]\nmembers = [\"guest\"]");
        let cargo = |args: &str| cargo(&project, By::Ours, mode, args, false);
        cargo("build -q -p guest --release").succeeds();
        assert_eq!(cargo("run -q -p broken").succeeds().stdout, "true\n");
        project.edit("guest/src/main.rs", "\"guest\"", "\"another guest\"");
        cargo("build -q -p guest --release").succeeds();
        cargo("build -v -p broken").succeeds().says("Dirty broken");
        cargo("build -v -p broken").succeeds().says("Fresh broken");
    }
}

/// By the name that its script tells in a variable.
#[test]
fn what_another_packages_script_made() {
    for mode in MODES {
        let project = app("fn main() { println!(\"{}\", include_str!(env!(\"SCHEMA\"))) }");
        write(
            &project,
            "schema/Cargo.toml",
            "[package]\nname = \"schema\"\nedition = \"2021\"\nlinks = \"schema\"\n",
        );
        write(&project, "schema/src/lib.rs", "");
        write(
            &project,
            "schema/build.rs",
            "fn main() { let file = format!(\"{}/schema.txt\", std::env::var(\"OUT_DIR\").unwrap());\n\
             std::fs::write(&file, std::fs::read_to_string(\"word\").unwrap()).unwrap();\n\
             println!(\"cargo::metadata=file={file}\\ncargo::rerun-if-changed=word\"); }",
        );
        let script = "fn main() { println!(\"cargo::rustc-env=SCHEMA={}\", std::env::var(\"DEP_SCHEMA_FILE\").unwrap()) }";
        write(&project, "build.rs", script);
        project.edit(
            "Cargo.toml",
            "[dependencies]",
            "[dependencies]\nschema = { path = \"schema\" }",
        );
        for is_outside in [true, false] {
            for word in ["one", "two"] {
                write(&project, "schema/word", word);
                let run = cargo(&project, By::Ours, mode, "run -q", is_outside).succeeds();
                assert_eq!(run.stdout, format!("{word}\n"), "{mode}{is_outside}");
            }
        }
    }
}

/// Cargo writes a source into the target folder: `-Z metabuild`.
#[test]
fn a_source_that_cargo_makes() {
    for mode in MODES {
        let project =
            app("fn main() { println!(\"{}\", env!(\"META\")) }").env("RUSTC_BOOTSTRAP", "1");
        fs::remove_file(project.root.join("build.rs")).unwrap();
        write(&project, "meta/Cargo.toml", "[package]\nname = \"meta\"\nedition = \"2021\"\n");
        write(
            &project,
            "meta/src/lib.rs",
            "pub fn metabuild() { println!(\"cargo::rustc-env=META=made\") }",
        );
        let manifest = fs::read_to_string(project.root.join("Cargo.toml")).unwrap();
        let manifest =
            manifest.replace("edition = \"2021\"", "edition = \"2021\"\nmetabuild = [\"meta\"]");
        let manifest = format!(
            "cargo-features = [\"metabuild\"]\n{manifest}\n[build-dependencies]\nmeta = {{ path = \"meta\" }}\n"
        );
        fs::write(project.root.join("Cargo.toml"), manifest).unwrap();
        assert_eq!(cargo(&project, By::Ours, mode, "run -q", false).succeeds().stdout, "made\n");
    }
}

/// What nobody can read, or send, matters only if a unit needs it.
#[test]
fn what_cannot_be_given() {
    for mode in MODES {
        let project = app("fn main() { println!(\"up\") }");
        write(&project, "build.rs", "fn main() { println!(\"cargo::rerun-if-changed=src\") }");
        write(&project, "data/base/1", "x");
        write(&project, "secret", "x");
        fs::write(project.root.join(std::ffi::OsStr::from_bytes(b"odd \xff")), "").unwrap();
        for path in ["data", "secret"] {
            fs::set_permissions(project.root.join(path), fs::Permissions::from_mode(0o0)).unwrap();
        }
        for text in ["up", "edited"] {
            write(&project, "src/main.rs", &format!("fn main() {{ println!(\"{text}\") }}"));
            assert_eq!(unprivileged(&project, mode).succeeds().stdout, format!("{text}\n"));
        }
        fs::set_permissions(project.root.join("data"), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Whoever needs it is told why it is not there.
#[test]
fn what_is_withheld_is_told() {
    let project = app("fn main() { include_str!(\"../far/text.txt\"); }");
    fs::create_dir(project.dir().join("elsewhere")).unwrap();
    fs::write(project.dir().join("elsewhere/text.txt"), "").unwrap();
    write(&project, ".git/HEAD", "");
    symlink(project.dir().join("elsewhere"), project.root.join("far")).unwrap();
    project.plain("build").succeeds();
    project.ours("build").fails().says("couldn't read").says("/far` leads to").says("hint: ");
}

/// The superuser reads everything, unless he may not.
fn unprivileged(project: &Project, mode: &str) -> Finished {
    let capabilities = "-dac_override,-dac_read_search";
    let mut command = project.command("setpriv", By::Ours);
    command.args([format!("--bounding-set={capabilities}"), format!("--inh-caps={capabilities}")]);
    command.arg("cargo").args(format!("{mode}run -q").split(' '));
    if !mode.is_empty() {
        command.env_remove("RUSTC_WRAPPER");
    }
    start(command, &format!("setpriv cargo {mode}run")).finish()
}

/// One module leads to the next, all outside of the package.
#[test]
fn modules_beside_the_package() {
    for mode in MODES {
        let project = app("fn main() {}");
        for (name, next) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "")] {
            let below = if next.is_empty() {
                String::new()
            } else {
                format!("#[path = \"{next}.rs\"] mod {next};")
            };
            let depth =
                if next.is_empty() { "1".to_owned() } else { format!("1 + {next}::depth()") };
            write(
                &project,
                &format!("common/{name}.rs"),
                &format!("{below}\npub fn depth() -> u32 {{ {depth} }}"),
            );
        }
        write(&project, "inner/Cargo.toml", "[package]\nname = \"inner\"\nedition = \"2021\"\n");
        write(
            &project,
            "inner/src/main.rs",
            "#[path = \"../../common/a.rs\"] mod a;\nfn main() { println!(\"{}\", a::depth()) }",
        );
        project.edit("Cargo.toml", "[workspace]", "[workspace]\nmembers = [\"inner\"]");
        let run = || cargo(&project, By::Ours, mode, "run -q -p inner", true).succeeds().stdout;
        assert_eq!(run(), "5\n");
        project.edit("common/e.rs", "{ 1 }", "{ 100 }");
        assert_eq!(run(), "104\n");
    }
}

/// A folder with so much in it that the engine keeps it; see `large`.
pub fn fill(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    (0..1200).for_each(|number| {
        fs::write(folder.join(format!("{number}.js")), number.to_string()).unwrap()
    });
}
