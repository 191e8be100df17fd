//! The files of the crate, and the code in them that ships.

use std::{
    fs,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

/// A file of `src` or `worker` and the code in it that ships: without comments, unit tests and
/// `#[cfg(test)]` items.
pub struct Source {
    /// Without its ending, and below `src`: `rustc/args`, `engine/mod`. A file of the worker begins
    /// with that: `worker/batch`.
    pub name: String,
    /// The module that it is: `rustc`, `args`. Empty for `lib.rs`.
    pub module: Vec<String>,
    pub text: String,
    pub code: String,
    /// Every path in the code, those of `use` in full.
    pub paths: Vec<String>,
    /// Those that a `pub use` hands on.
    pub handed_on: Vec<String>,
}

impl Source {
    /// The files of `src`.
    pub fn all() -> Vec<Self> {
        files(&["src"]).iter().map(|path| Self::of(path)).collect()
    }

    /// The files of the worker.
    pub fn of_worker() -> Vec<Self> {
        files(&["worker"]).iter().map(|path| Self::of(path)).collect()
    }

    fn of(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let code = shipped(&text);
        let name = shown(&path.with_extension("")).trim_start_matches("src/").to_owned();
        let mut module: Vec<String> = name.split('/').map(str::to_owned).collect();
        module.pop_if(|last| last == "mod" || last == "lib");
        let Paths { all: paths, handed_on } = Paths::of(&code);
        Self { name, module, text, code, paths, handed_on }
    }

    /// The room that the file is in; that of `main.rs` is `main`.
    pub fn room(&self) -> &str {
        self.name.split('/').next().unwrap()
    }

    /// The names of the file, its functions and its types.
    pub fn names(&self) -> Vec<String> {
        let words: Vec<&str> =
            self.code.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let introduces = |word: &str| ["enum", "fn", "struct", "trait", "type"].contains(&word);
        let named =
            words.windows(2).filter(|pair| introduces(pair[0])).map(|pair| pair[1].to_owned());
        let own = self.module.last().cloned();
        named.chain(own).filter(|name| !name.is_empty()).collect()
    }

    pub fn shown(&self) -> String {
        let folder = if self.room() == "worker" { "" } else { "src/" };
        format!("{folder}{}.rs", self.name)
    }

    #[track_caller]
    pub fn names_none_of(&self, forbidden: &[&str]) {
        for path in &self.paths {
            let is_below = |name: &&&str| {
                path.strip_prefix(**name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if let Some(name) = forbidden.iter().find(is_below) {
                panic!("{} names `{path}`, but `{name}` is not for it", self.shown());
            }
        }
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A path as seen from the root of the repository.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

pub fn files(below: &[&str]) -> Vec<PathBuf> {
    let entries = below.iter().flat_map(|name| WalkDir::new(root().join(name)).sort_by_file_name());
    entries
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect()
}

/// The lines that are neither comments nor below a `#[cfg(test)]`, whose item ends at a line that
/// closes it or, for one without a body, ends it: rustfmt puts both at the item's own indentation.
pub fn shipped(text: &str) -> String {
    let mut code = String::new();
    let mut test: Option<&str> = None;
    for line in text.lines() {
        let (indent, bare) = line.split_at(line.len() - line.trim_start().len());
        match test {
            Some(own) if indent == own && (bare.starts_with('}') || bare.ends_with(';')) => {
                test = None
            }
            None if bare.starts_with("#[cfg(test)]") => test = Some(indent),
            None if !bare.starts_with("//") => code.extend([line, "\n"]),
            _ => {}
        }
    }
    code
}

/// The paths that a file names.
#[derive(Default)]
struct Paths {
    all: Vec<String>,
    handed_on: Vec<String>,
}

impl Paths {
    fn of(code: &str) -> Self {
        let mut found = Self::default();
        let (mut rest, mut beside) = (code, String::new());
        while let Some(at) = rest.find("use ") {
            let starts = rest[..at].chars().next_back().is_none_or(char::is_whitespace);
            let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
            if starts {
                let mut used = Vec::new();
                expand("", &rest[at + 4..end], &mut used);
                let is_handed_on = rest[..at].trim_end().ends_with("pub");
                if is_handed_on { &mut found.handed_on } else { &mut found.all }.extend(used);
            }
            beside += &rest[..at];
            rest = &rest[if starts { end } else { at + 4 }..];
        }
        beside += rest;
        let words = beside.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        found.all.extend(
            words.filter(|word| word.contains("::") && !word.ends_with("::")).map(str::to_owned),
        );
        found
    }
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
    let code = "use std::{\n    env, fs::{self, File},\n};\nuse tokio as t;\npub use self::{a::A, b};\nfn f() { std::process::exit(1); let pause = 1; }\n";
    let found = Paths::of(code);
    for path in ["std::env", "std::fs", "std::fs::File", "tokio", "std::process::exit"] {
        assert!(found.all.iter().any(|found| found == path), "{path}: {:?}", found.all);
    }
    assert_eq!(found.handed_on, ["self::a::A", "self::b"]);
}

#[test]
fn tests_do_not_ship() {
    let text = "a\n// b\nimpl C {\n    #[cfg(test)]\n    fn d() {\n        if e {\n        }\n    }\n\n    fn f() {}\n}\n#[cfg(test)]\nmod tests {\n    g\n}\n";
    assert_eq!(shipped(text), "a\nimpl C {\n\n    fn f() {}\n}\n");
}
