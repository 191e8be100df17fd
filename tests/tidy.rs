//! What the map in `src/lib.rs` says is absent is absent, and other habits of the house.
//!
//! Only the code that ships counts, so unit tests and `#[cfg(test)]` items are cut off before a
//! look.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/source.rs"]
mod source;

use std::{collections::BTreeMap, fs, path::Path};

use imports::Imports;
use source::{Source, files, root, shown};
use walkdir::WalkDir;

/// The rooms, from the top of the data flow to its bottom. A file imports those of its own room and
/// of rooms below it.
const ROOMS: &[&str] = &[
    "wrapper", "cli", "cache", "green", "build", "planning", "inputs", "target", "report",
    "engine", "remote", "store", "step", "unit", "rustc", "config", "snapshot", "util",
];

/// How many files a room holds at most; a room in a room counts by itself.
const MAX_FILES: usize = 15;
/// How many lines of code that ships a file has at most.
const MAX_LINES: usize = 400;

/// The rooms in which no file touches the disk, a process or the clock, nor do those that they
/// import.
const PURE_ROOMS: &[&str] = &["rustc", "unit", "step"];
/// Files in them that do. `toolchain` asks a compiler for its version. `target_dir` looks for the
/// notes that cargo leaves.
const IMPURE_FILES: &[&str] = &["rustc/toolchain", "unit/target_dir"];
/// What pure files may import although it is not pure: an `Env` is handed to them, and they look
/// names up in it.
const HANDED_IN: &[&str] = &["config/env"];
/// Files elsewhere that touch none of it either.
const PURE_FILES: &[&str] = &[
    "util/path",
    "config/secrets",
    "planning/directives",
    "planning/schedule",
    "util/digest",
    "util/quote",
    "wrapper/role",
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

/// What a room does not know, although it is below it.
const STRANGERS: &[(&str, &[&str])] = &[
    ("rustc", &["crate::snapshot"]),
    ("unit", &["crate::snapshot"]),
    ("step", &["crate::snapshot"]),
    ("store", &["crate::step::dockerfile", "crate::step::plan"]),
];

/// Words that say too little, or another thing each time, with the ones to use instead: in no part
/// of a name.
const OLD_WORDS: &[(&str, &str)] = &[
    ("apart", "fallback"),
    ("delivery", "install"),
    ("gate", "barrier"),
    ("hears", "depends on the directives of"),
    ("keep", "engine cache"),
    ("keeps", "engine cache"),
    ("kept", "engine cache"),
    ("leak", "embedded path"),
    ("leaks", "embedded path"),
    ("learned", "discovered"),
    ("meant", "to host, real path"),
    ("nonce", "build id"),
    ("recipe", "provenance"),
    ("recipes", "provenance"),
    ("recording", "recorder"),
    ("rehearsal", "dry run"),
    ("repository", "version control"),
    ("said", "build output"),
    ("salt", "cache buster"),
    ("slot", "job token"),
    ("slots", "job tokens"),
    ("standin", "stub"),
    ("supply", "upload"),
    ("told", "declared, resolved"),
];
/// Words that are no names by themselves.
const NO_NAMES: &[(&str, &str)] = &[
    ("known", "resolved"),
    ("left", "deferred artifact"),
    ("marks", "sentinels"),
    ("place", "plan request, path"),
    ("places", "path map"),
    ("shown", "to container"),
    ("take", "fetch"),
];
/// Of these words, what the worker may use: a slot is a user for one process at a time there.
const WORDS_OF_WORKER: &[&str] = &["slot"];

/// The files of `src` and of the worker.
fn all_sources() -> Vec<Source> {
    Source::all().into_iter().chain(Source::of_worker()).collect()
}

#[test]
fn src_holds_rooms_and_what_starts_them() {
    let mut expected: Vec<&str> =
        ROOMS.iter().copied().chain(["bin", "lib.rs", "main.rs"]).collect();
    expected.sort_unstable();
    let mut found: Vec<String> = fs::read_dir(root().join("src")).unwrap().map(name_of).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let listed: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ROOMS, "src/lib.rs lists the rooms in another order");
}

fn name_of(entry: std::io::Result<fs::DirEntry>) -> String {
    entry.unwrap().file_name().into_string().unwrap()
}

#[test]
fn no_room_is_crowded() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in files(&["src", "worker"]) {
        *counts.entry(shown(path.parent().unwrap())).or_default() += 1;
    }
    for (room, count) in counts {
        assert!(count <= MAX_FILES, "{room} holds {count} files");
    }
}

/// From the top; what starts the program is above all rooms.
fn floor(source: &Source) -> usize {
    ROOMS.iter().position(|room| *room == source.room()).map_or(0, |floor| floor + 1)
}

#[test]
fn nobody_imports_upwards() {
    let sources = Source::all();
    let floors: BTreeMap<&str, usize> =
        sources.iter().map(|source| (source.name.as_str(), floor(source))).collect();
    for (file, imported) in &Imports::of(&sources).by_file {
        for other in imported {
            assert!(
                floors[other.as_str()] >= floors[file.as_str()],
                "src/{file}.rs imports upwards, from {other}"
            );
        }
    }
}

#[test]
fn no_imports_go_in_circles() {
    let imports = Imports::of(&Source::all());
    for file in imports.by_file.keys() {
        let circle = imports.circle(file).map(|circle| circle.join(" imports "));
        assert!(circle.is_none(), "{file} imports {}", circle.unwrap());
    }
}

fn is_pure(source: &Source) -> bool {
    PURE_ROOMS.contains(&source.room()) && !IMPURE_FILES.contains(&source.name.as_str())
}

#[test]
fn pure_files_touch_nothing() {
    let sources = Source::all();
    let is_listed =
        |source: &&Source| is_pure(source) || PURE_FILES.contains(&source.name.as_str());
    for source in sources.iter().filter(is_listed) {
        source.names_none_of(IMPURE);
        for method in DISK {
            assert!(
                !source.code.contains(&format!(".{method}(")),
                "{} calls `.{method}()`",
                source.shown()
            );
        }
    }
    for name in IMPURE_FILES.iter().chain(PURE_FILES).chain(HANDED_IN) {
        assert!(sources.iter().any(|source| source.name == *name), "there is no src/{name}.rs");
    }
}

#[test]
fn pure_rooms_import_what_is_pure() {
    let sources = Source::all();
    let imports = Imports::of(&sources);
    let find = |name: &str| sources.iter().find(|source| source.name == name).unwrap();
    for source in sources.iter().filter(|source| is_pure(source)) {
        for name in &imports.by_file[&source.name] {
            let may = is_pure(find(name))
                || PURE_FILES.contains(&name.as_str())
                || HANDED_IN.contains(&name.as_str());
            assert!(may, "{} imports src/{name}.rs, which is not pure", source.shown());
        }
    }
}

/// The compiler of any image builds the worker, with nothing else at hand.
#[test]
fn the_worker_stands_alone() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let sections = manifest.split("\n[").filter(|section| section.contains("dependencies]\n"));
    let lines = sections.flat_map(str::lines);
    let names = lines.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let crates: Vec<String> =
        names.chain(["rustcbuildx"]).map(|name| name.replace('-', "_")).collect();
    let crates: Vec<&str> = crates.iter().map(String::as_str).collect();
    for source in Source::of_worker() {
        source.names_none_of(&crates);
        // Two of its crates share a file, which is sent with both.
        let code = source.code.replace("#[path = \"../bytes/ring_buffer.rs\"]", "");
        for word in ["#[path", "include!", "include_str!", "include_bytes!"] {
            assert!(!code.contains(word), "{} has `{word}`", source.shown());
        }
    }
}

/// It is part of a pure room of `src`, too.
#[test]
fn the_protocol_touches_nothing() {
    let sources = Source::of_worker();
    let protocol = sources.iter().find(|source| source.name == "worker/protocol").unwrap();
    protocol.names_none_of(IMPURE);
}

#[test]
fn strangers_do_not_know_each_other() {
    for source in Source::all() {
        for (_, others) in STRANGERS.iter().filter(|(room, _)| *room == source.room()) {
            source.names_none_of(others);
        }
    }
}

#[test]
fn names_are_words_that_a_newcomer_can_guess() {
    for source in all_sources() {
        let may_have = |word: &str| source.room() == "worker" && WORDS_OF_WORKER.contains(&word);
        for name in source.names() {
            let parts = words_of(&name);
            let is_in_name =
                |(old, _): &&(&str, &str)| parts.iter().any(|part| part == old) && !may_have(old);
            let old = OLD_WORDS.iter().find(is_in_name);
            let old = old.or(NO_NAMES.iter().find(|(old, _)| name.to_lowercase() == *old));
            if let Some((old, new)) = old {
                panic!("{} names something `{name}`: not `{old}`, but {new}", source.shown());
            }
        }
    }
}

/// The words in a name, in lower case: those of `StandIn` and `stand_in` are `stand`, `in` and
/// `standin`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c.is_uppercase() || c == '_' {
            words.push(String::new());
        }
        words.last_mut().unwrap().extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    let pairs: Vec<String> = words.windows(2).map(<[String]>::concat).collect();
    words.into_iter().chain(pairs).collect()
}

#[test]
fn only_env_reads_the_environment() {
    for source in Source::all().iter().filter(|source| source.name != "config/env") {
        source.names_none_of(&["std::env"]);
    }
}

#[test]
fn only_util_process_starts_processes() {
    // Protocols of remotes are asynchronous.
    let may = ["util/process", "remote/kinds/network"];
    for source in Source::all().iter().filter(|source| !may.contains(&source.name.as_str())) {
        source.names_none_of(&[
            "std::process::Command",
            "std::os::unix::process::CommandExt",
            "tokio",
        ]);
    }
}

#[test]
fn only_the_program_imports_a_command() {
    let may = |source: &&Source| {
        source.room() == "cli" || ["main", "wrapper/role"].contains(&source.name.as_str())
    };
    for source in Source::all().iter().filter(|source| !may(source)) {
        source.names_none_of(&["crate::cli"]);
    }
}

#[test]
fn files_say_what_they_are_and_end_soon() {
    for source in all_sources() {
        let lines = source.code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines of code", source.shown());
    }
    for path in files(&["src", "tests", "worker"])
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
    {
        let (shown, text) = (shown(&path), fs::read_to_string(&path).unwrap());
        let is_fixture = shown.starts_with("tests/fixtures/");
        assert!(
            is_fixture || text.starts_with("//! "),
            "{shown} does not begin with a line that says what it is"
        );
        let has_units = shown.starts_with("src/") || shown.starts_with("worker/");
        assert!(has_units || text.lines().count() <= 500, "{shown} is too long");
    }
}

/// What is wider than that is a literal which rustfmt leaves alone.
#[test]
fn lines_end_soon() {
    let config = fs::read_to_string(root().join("rustfmt.toml")).unwrap();
    assert!(config.contains("max_width = 100\n"));
    for source in all_sources() {
        let comments = source.text.lines().filter(|line| line.trim_start().starts_with("//"));
        for comment in comments {
            assert!(comment.chars().count() <= 100, "{}: {comment}", source.shown());
        }
    }
}

#[test]
fn whoever_allows_says_why() {
    for source in all_sources() {
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        for (at, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.starts_with("#[allow") || line.starts_with("#![allow"))
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
    for path in files(&[
        "src",
        "tests",
        "worker",
        "hack",
        ".ci",
        "docs",
        "README.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "Cargo.lock",
    ]) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for name in &own {
            assert!(!text.contains(name.as_str()), "{} names `{name}`", shown(&path));
        }
    }
}

/// Where this machine's packages come from, unless it is where everybody's do.
fn hosts_of_this_machine() -> Vec<String> {
    let apt =
        WalkDir::new("/etc/apt").into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let mut texts: Vec<String> =
        apt.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    let home = std::env::var("CARGO_HOME")
        .unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    texts.extend(fs::read_to_string(format!("{home}/config.toml")));
    let public = [
        "debian.org",
        "ubuntu.com",
        "crates.io",
        "docker.com",
        "github.com",
        "localhost",
        "127.0.0.1",
    ];
    let mut hosts = Vec::new();
    for url in texts.iter().flat_map(|text| text.split("://").skip(1)) {
        let host = url.split(['/', ':', '"', ' ', '\n']).next().unwrap_or_default();
        if host.contains('.') && !public.iter().any(|name| host.ends_with(name)) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}
