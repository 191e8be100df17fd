//! Units as tasks, and a call as a Dockerfile: each folder of `tests/golden` holds cargo's words
//! (`argv`), the environment (`env`) and the task that comes of them (`task`). `BLESS=1 cargo test
//! --test golden` writes the texts anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustcbuildx::{
    config::env::Env,
    rustc::{args::RustcArgs, tool::Tool},
    step::{
        dockerfile::Style,
        image::Image,
        plan::{self, Mounted},
        protocol::{Input, Source},
        task,
    },
    unit::{
        invocation::{self, Invocation},
        work::Unit,
    },
};

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

fn image() -> Image {
    Image {
        name: "rust:1-slim".into(),
        pinned: "rust@sha256:0".into(),
        version: "rustc 1.0.0\nhost: x86_64-unknown-linux-gnu".into(),
        sysroot: "/usr/local/rustup/toolchains/1".into(),
        path: "/usr/local/bin:/usr/bin:/bin".into(),
        variables: vec![],
        libc: "glibc 2.36".into(),
    }
}

fn task(unit: &Unit) -> String {
    let (target, from) = (unit.package.to_string(), Source::Pack("s0".to_owned()));
    let inputs = [Input { target, from, path: "p".to_owned(), is_writable: false }];
    task::task(unit, &image(), 0o022, &inputs, None).identity()
}

#[track_caller]
fn is_golden(text: &str, golden: &Path) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(golden, text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap(), "{}", golden.display());
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn units_become_these_tasks() {
    let cases = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = cases.filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() >= 3, "only {} cases in {}", cases.len(), root().display());
    for dir in cases {
        is_golden(&task(&unit(&dir)), &dir.join("task"));
    }
}

#[test]
fn a_call_becomes_this_dockerfile() {
    let secrets = ["NUM_JOBS".to_owned()].into();
    let (worker, given) = ("/cache/worker".into(), "/cache/given".into());
    let mounted = Mounted {
        pack: "s1".to_owned(),
        path: "p".to_owned(),
        target: "/home/me/project/modules".to_owned(),
    };
    let plan = plan::batch(&image(), worker, given, &[mounted], secrets, Style::default(), None);
    is_golden(&plan.dockerfile, &root().join("Dockerfile"));
}
