//! Units as Dockerfiles: each folder of `tests/golden` holds cargo's words (`argv`), the
//! environment (`env`) and the text that comes of them (`Dockerfile`). `BLESS=1 cargo test --test
//! golden` writes the text anew.

use std::{fs, path::Path};

use rustcbuildx::{
    config::env::Env,
    rustc::{args::RustcArgs, tool::Tool},
    step::{
        dockerfile::{Mount, Style},
        image::Image,
        plan,
        spec::Step,
        stage,
    },
    unit::{
        invocation::{self, Invocation},
        work::Unit,
    },
};

const STYLE: Style<'_> = Style { syntax: None, words_in_variables: true };

fn lines(path: &Path) -> Vec<String> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// The unit of a case: `argv` begins with a compiler, or is the path of a build script.
fn unit(dir: &Path) -> Unit {
    let words = lines(&dir.join("argv"));
    let vars = lines(&dir.join("env"));
    let vars: Vec<(&str, &str)> = vars.iter().map(|line| line.split_once('=').unwrap()).collect();
    let env = Env::with(&vars);
    let cwd = "/home/me/project".into();
    let Some(tool) = Path::new(&words[0]).file_name().and_then(|name| Tool::named(name.to_str()?))
    else {
        let target = Some("/home/me/project/target".into());
        return invocation::build_script(words[0].as_str().into(), cwd, target, &env)
            .expect("cargo's variables are in `env`");
    };
    match invocation::invocation(
        tool,
        RustcArgs::parse(words[Tool::programs(&words)..].to_vec()),
        cwd,
        &env,
    ) {
        Invocation::Compile(unit) => *unit,
        other => panic!("{}: {other:?}", dir.display()),
    }
}

fn dockerfile(unit: &Unit) -> String {
    let image = Image {
        name: "rust:1-slim".into(),
        pinned: "rust@sha256:0".into(),
        version: "rustc 1.0.0\nhost: x86_64-unknown-linux-gnu".into(),
        sysroot: "/usr/local/rustup/toolchains/1".into(),
        path: "/usr/local/bin:/usr/bin:/bin".into(),
        libc: "glibc 2.36".into(),
    };
    let (from, source) = ("s0".to_owned(), "/p".to_owned());
    let mounts =
        vec![Mount::Bind { from, source, target: unit.package.to_string(), writable: false }];
    let run = stage::run(unit, &image, 0o022, &mounts, None);
    let step = Step {
        key: "u0".into(),
        base: image.pinned,
        run,
        stages: vec![],
        contexts: Default::default(),
        heavy: Default::default(),
        crates: vec![],
        macros: None,
        common: None,
        baked: Default::default(),
    };
    plan::unit(&step, STYLE).dockerfile
}

#[test]
fn units_become_these_dockerfiles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> =
        fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 3, "only {} cases in {}", cases.len(), root.display());
    for dir in cases {
        let text = dockerfile(&unit(&dir));
        let golden = dir.join("Dockerfile");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&golden).unwrap(), "{}", golden.display());
    }
}
