//! What the map in `src/lib.rs` says is absent is absent, and other habits of the house.
//!
//! Only the code that ships counts, so unit tests and `#[cfg(test)]` items are cut off before a look.

use std::{
    fs,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

/// No I/O, no processes, no clock, no engine: from what they are given they make what they give.
const PURE: &[&str] = &[
    "rustc/args",
    "rustc/crate_type",
    "rustc/dep_info",
    "step/dockerfile",
    "rustc/emit",
    "unit/outputs",
    "planning/directives",
    "step/plan",
    "util/quote",
    "wrapper/role",
    "planning/schedule",
    "config/secrets",
    "step/stage",
    "rustc/tool",
    "unit/work",
];

/// What a pure file does not name.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "rustix",
    "tempfile",
    "tokio",
    "walkdir",
    "which",
    "crate::store::archive",
    "crate::util::state_dir",
    "crate::config::settings",
    "crate::engine",
    "crate::inputs",
    "crate::util::process",
    "crate::build",
    "crate::inputs::sources",
];

/// Methods of paths that ask the disk.
const DISK: &[&str] = &[
    "canonicalize",
    "exists",
    "is_dir",
    "is_file",
    "is_symlink",
    "metadata",
    "read_dir",
    "read_dir_utf8",
    "read_link",
];

/// Who does not know of whom.
const STRANGERS: &[(&str, &[&str])] = &[
    (
        "rustc/args",
        &[
            "crate::step::dockerfile",
            "crate::engine",
            "crate::engine::image",
            "crate::step::plan",
            "crate::step::stage",
        ],
    ),
    ("store/archive", &["crate::step::dockerfile", "crate::engine", "crate::step::plan"]),
    (
        "step/dockerfile",
        &[
            "crate::rustc::args",
            "crate::wrapper::compile",
            "crate::rustc::crate_type",
            "crate::rustc::emit",
            "crate::unit::work",
        ],
    ),
    ("step/stage", &["crate::config::settings", "crate::engine"]),
    (
        "unit/work",
        &[
            "crate::step::dockerfile",
            "crate::engine",
            "crate::engine::image",
            "crate::step::plan",
            "crate::step::stage",
        ],
    ),
];

#[test]
fn pure_files_touch_nothing() {
    for name in PURE {
        let source = Source::of(name);
        source.names_none_of(IMPURE);
        for method in DISK {
            assert!(!source.code.contains(&format!(".{method}(")), "{} calls `.{method}()`", source.shown());
        }
    }
}

#[test]
fn strangers_do_not_know_each_other() {
    for (name, others) in STRANGERS {
        Source::of(name).names_none_of(others);
    }
}

#[test]
fn only_env_reads_the_environment() {
    for source in sources().iter().filter(|source| !source.is("config/env")) {
        source.names_none_of(&["std::env"]);
    }
}

#[test]
fn only_runner_starts_processes() {
    for source in sources().iter().filter(|source| !source.is("util/process")) {
        source.names_none_of(&["std::process::Command", "std::os::unix::process::CommandExt", "tokio"]);
    }
}

#[test]
fn only_lib_and_the_program_import_a_command() {
    let may = |source: &Source| ["lib", "main", "wrapper/role"].iter().any(|name| source.is(name));
    for source in sources().iter().filter(|source| !may(source) && !source.shown().starts_with("src/cli/")) {
        source.names_none_of(&["crate::cli"]);
    }
}

#[test]
fn files_say_what_they_are_and_end_soon() {
    for path in files(&["src", "tests"]).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let (shown, text) = (shown(&path), fs::read_to_string(&path).unwrap());
        assert!(text.lines().count() <= 450, "{shown} has {} lines", text.lines().count());
        let is_fixture = shown.starts_with("tests/fixtures/");
        assert!(is_fixture || text.starts_with("//! "), "{shown} does not begin with a line that says what it is");
    }
}

#[test]
fn whoever_allows_says_why() {
    for source in sources() {
        let text = fs::read_to_string(&source.path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in
            lines.iter().enumerate().filter(|(_, line)| line.starts_with("#[allow") || line.starts_with("#![allow"))
        {
            let above = at.checked_sub(1).map_or("", |above| lines[above]);
            let says = line.contains("reason =") || line.contains("//") || above.starts_with("// ");
            assert!(says, "{}:{}: {line}", source.shown(), at + 1);
        }
    }
}

#[test]
fn nothing_names_this_machine() {
    let mut own = hosts_of_this_machine();
    let here = env!("CARGO_MANIFEST_DIR");
    if Path::new(here).components().count() > 2 {
        own.push(format!("{here}/"));
    }
    // The folder of a registry below cargo's home ends in a number of its own.
    own.push(["index.crates.io", "-"].concat());
    for path in files(&["src", "tests", "hack", ".ci", "README.md", "CHANGELOG.md", "Cargo.toml", "Cargo.lock"]) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for name in &own {
            assert!(!text.contains(name.as_str()), "{} names `{name}`", shown(&path));
        }
    }
}

/// Where this machine's packages come from, unless it is where everybody's do.
fn hosts_of_this_machine() -> Vec<String> {
    let apt = WalkDir::new("/etc/apt").into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let mut texts: Vec<String> = apt.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let home =
        std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    texts.extend(fs::read_to_string(format!("{home}/config.toml")));
    let public = ["debian.org", "ubuntu.com", "crates.io", "docker.com", "github.com", "localhost", "127.0.0.1"];
    let mut hosts = Vec::new();
    for url in texts.iter().flat_map(|text| text.split("://").skip(1)) {
        let host = url.split(['/', ':', '"', ' ', '\n']).next().unwrap_or_default();
        if host.contains('.') && !public.iter().any(|name| host.ends_with(name)) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

/// A file of the crate and the code in it that ships, without comments.
struct Source {
    path: PathBuf,
    code: String,
    paths: Vec<String>,
}

impl Source {
    fn of(name: &str) -> Self {
        let path = root().join(format!("src/{name}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let code = shipped(&text);
        Self { path, paths: paths(&code), code }
    }

    fn is(&self, name: &str) -> bool {
        self.shown() == format!("src/{name}.rs")
    }

    fn shown(&self) -> String {
        shown(&self.path)
    }

    #[track_caller]
    fn names_none_of(&self, forbidden: &[&str]) {
        for path in &self.paths {
            let is_below =
                |name: &&&str| path.strip_prefix(**name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if let Some(name) = forbidden.iter().find(is_below) {
                panic!("{} names `{path}`, but `{name}` is not for it", self.shown());
            }
        }
    }
}

fn sources() -> Vec<Source> {
    let names = files(&["src"]).into_iter().map(|path| shown(&path.with_extension("")));
    names.map(|name| Source::of(name.strip_prefix("src/").unwrap())).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn files(below: &[&str]) -> Vec<PathBuf> {
    let entries = below.iter().flat_map(|name| WalkDir::new(root().join(name)).sort_by_file_name());
    entries.map(Result::unwrap).filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

/// The lines that are neither comments nor below a `#[cfg(test)]`, whose item ends at a line that closes
/// it or, for one without a body, ends it: rustfmt puts both at the item's own indentation.
fn shipped(text: &str) -> String {
    let mut code = String::new();
    let mut test: Option<&str> = None;
    for line in text.lines() {
        let (indent, bare) = line.split_at(line.len() - line.trim_start().len());
        match test {
            Some(own) if indent == own && (bare.starts_with('}') || bare.ends_with(';')) => test = None,
            None if bare.starts_with("#[cfg(test)]") => test = Some(indent),
            None if !bare.starts_with("//") => code.extend([line, "\n"]),
            _ => {}
        }
    }
    code
}

/// Every path in the code, those of `use` in full.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let starts = rest[..at].chars().next_back().is_none_or(char::is_whitespace);
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        if starts {
            expand("", &rest[at + 4..end], &mut found);
        }
        rest = &rest[if starts { end } else { at + 4 }..];
    }
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    found.extend(words.filter(|word| word.contains("::")).map(str::to_owned));
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree);
        found.push(format!("{prefix}{name}").trim_end_matches("::self").to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expand(&prefix, &inner[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    let code = "use std::{\n    env, fs::{self, File},\n};\nuse tokio as t;\nfn f() { std::process::exit(1); let pause = 1; }\n";
    let found = paths(code);
    for path in ["std::env", "std::fs", "std::fs::File", "tokio", "std::process::exit"] {
        assert!(found.iter().any(|found| found == path), "{path}: {found:?}");
    }
}

#[test]
fn tests_do_not_ship() {
    let text = "a\n// b\nimpl C {\n    #[cfg(test)]\n    fn d() {\n        if e {\n        }\n    }\n\n    fn f() {}\n}\n#[cfg(test)]\nmod tests {\n    g\n}\n";
    assert_eq!(shipped(text), "a\nimpl C {\n\n    fn f() {}\n}\n");
}
