//! What a failed unit looked for and did not find in its container: a program, a library, a file, or crates that fit.
//!
//! Source of the texts: rustc and the linkers it calls, the `cc`, `cmake`, `pkg-config`, `bindgen` and
//! `prost-build` crates, and shells.

use std::fmt;

use camino::Utf8Path;

use crate::{
    artifacts::Outcome,
    dep_info,
    learned::normalised,
    sources::are_given,
    unit::{Unit, Work},
};

/// Whether rustc found no crates that go together. Where a crate's bytes are others each time it is compiled, as with
/// a macro that walks a hash map, the engine may keep others than this machine has.
///
/// Source: rustc's index of error codes.
pub fn is_of_crates(outcome: &Outcome) -> bool {
    let codes = ["E0460", "E0461", "E0462", "E0463", "E0519", "E0786"];
    outcome.status != 0 && codes.iter().any(|code| memchr::memmem::find(&outcome.stderr, code.as_bytes()).is_some())
}

/// Whether it failed to write where it may only read.
pub fn is_of_writing(outcome: &Outcome) -> bool {
    let texts = ["Read-only file system", "ReadOnlyFilesystem", "os error 30"];
    let says = |said: &[u8]| texts.iter().any(|text| memchr::memmem::find(said, text.as_bytes()).is_some());
    outcome.status != 0 && (says(&outcome.stdout) || says(&outcome.stderr))
}

/// What to tell the user of a failed unit that missed something which this machine has.
pub fn complaint(unit: &Unit, outcome: &Outcome, image: &str) -> Option<String> {
    let output = [&outcome.stdout[..], &outcome.stderr[..]].concat();
    let output = String::from_utf8_lossy(&output);
    let name = unit.name();
    let mut files = dep_info::unreadable_files(&output).into_iter().map(|path| normalised(&unit.cwd.join(path)));
    if let Some(file) = files.find(|file| file.exists() && !are_given(unit, file)) {
        return Some(format!(
            "failed to give `{file}` to {name}: it is not in the tree that the package `{}` belongs to \
             (hint: a tree is a repository or a workspace; RUSTCBUILDX_RUNNER=none builds locally)",
            unit.package
        ));
    }
    let missing = find(&output).into_iter().find(Missing::is_here)?;
    let instead = match unit.work {
        Work::BuildScript { .. } => {
            format!(", or RUSTCBUILDX_LOCAL_SCRIPTS={} to run this script here", unit.package_name())
        }
        Work::Compile { .. } => String::new(),
    };
    Some(format!(
        "failed to find {missing} for {name} in the image `{image}`; this machine has it \
         (hint: RUSTCBUILDX_BASE_IMAGE=docker-image://NAME for an image that has it, too{instead})"
    ))
}

/// Something a machine has or has not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    Program(String),
    /// A library by its name for a linker.
    Library(String),
    /// A library by its name for pkg-config.
    Package(String),
}

impl Missing {
    /// Whether this machine has it in one of the usual places: then the image is at fault.
    fn is_here(&self) -> bool {
        let in_folders = |names: &[String]| {
            let folders = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share"];
            let triples = Utf8Path::new("/usr/lib").read_dir_utf8().into_iter().flatten().flatten();
            let triples = triples.map(|entry| entry.into_path()).filter(|path| path.as_str().contains("-linux-"));
            let mut folders = folders.iter().map(|folder| Utf8Path::new(folder).to_owned()).chain(triples);
            folders.any(|folder| names.iter().any(|name| folder.join(name).exists()))
        };
        match self {
            Self::Program(name) => which::which(name).is_ok(),
            Self::Library(name) => in_folders(&[format!("lib{name}.so"), format!("lib{name}.a")]),
            Self::Package(name) => in_folders(&[format!("pkgconfig/{name}.pc")]),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "the program `{name}`"),
            Self::Library(name) | Self::Package(name) => write!(f, "the library `{name}`"),
        }
    }
}

/// What comes before a name, and what behind it.
const PROGRAMS: &[(&str, &str)] = &[
    ("linker `", "` not found"),
    ("failed to find tool \"", "\""),
    ("Failed to find tool. Is `", "` installed?"),
    ("is `", "` not installed?"),
    ("sh: 1: ", ": not found"),
    ("Could not find `", "`"),
];
const LIBRARIES: &[(&str, &str)] = &[("cannot find -l", ":"), ("unable to find library -l", "\n")];
const PACKAGES: &[(&str, &str)] = &[("The system library `", "` required by crate")];
/// Words that name no program, and the program they mean.
const WORDS: &[(&str, &str)] =
    &[("The pkg-config command could not be found", "pkg-config"), ("Unable to find libclang", "clang")];

/// What the output of a failed unit says it misses, in the order of their kinds.
fn find(output: &str) -> Vec<Missing> {
    // Inside of rustc's JSON messages, lines end with an escape.
    let output = output.replace("\\n", "\n").replace("\\\"", "\"") + "\n";
    let named = |texts: &'static [(&str, &str)]| texts.iter().flat_map(|text| names(&output, *text));
    let meant = WORDS.iter().filter(|(words, _)| output.contains(words)).map(|(_, program)| program.to_string());
    let programs = named(PROGRAMS).map(Missing::Program);
    let libraries = named(LIBRARIES).map(Missing::Library).chain(named(PACKAGES).map(Missing::Package));
    programs.chain(libraries).chain(meant.map(Missing::Program)).collect()
}

fn names(output: &str, (before, behind): (&str, &str)) -> Vec<String> {
    let parts = output.split(before).skip(1);
    let is_name = |name: &&str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '/');
    parts.filter_map(|part| Some(part.split_once(behind)?.0)).filter(is_name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(output: &str, expected: Missing) {
        assert_eq!(find(output), [expected]);
    }

    #[test]
    fn what_tools_say_of_what_they_miss() {
        let program = |name: &str| Missing::Program(name.to_owned());
        case("error: linker `clang` not found\n  |\n", program("clang"));
        case("error occurred in cc-rs: failed to find tool \"c++\": No such file", program("c++"));
        case(
            "failed to execute command: No such file or directory (os error 2)\nis `cmake` not installed?",
            program("cmake"),
        );
        case("sh: 1: git: not found", program("git"));
        case("Could not find `protoc`. If `protoc` is installed, try", program("protoc"));
        case("panicked: Unable to find libclang: \"couldn't find", program("clang"));
        case("/usr/bin/ld: cannot find -lpq: No such file or directory", Missing::Library("pq".into()));
        case(r#"{"rendered":"rust-lld: error: unable to find library -lpq\ncollect2"}"#, Missing::Library("pq".into()));
        case(
            "The system library `openssl` required by crate `openssl-sys` was not found.",
            Missing::Package("openssl".into()),
        );
        assert!(find("error[E0308]: mismatched types\nCould not find `a b` in c").is_empty());
    }
}
