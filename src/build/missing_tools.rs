//! What a failed unit looked for and did not find in its container: a program, a library, or a
//! file.
//!
//! Source of the texts: rustc and the linkers it calls, the `cc`, `cmake`, `pkg-config`, `bindgen`
//! and `prost-build` crates, shells, `env` and `make`; of the network's: curl, wget, git, cargo,
//! glibc's `gai_strerror`, the `reqwest` and `ureq` crates, Python, Node and Go.

use std::{fmt, fs};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    inputs::{
        observed::Observed,
        sources::{Given, why_withheld},
    },
    rustc::dep_info,
    store::archive::Outcome,
    unit::work::Unit,
    util::{
        path::normalised,
        process::{self, Cmd},
    },
};

/// What to tell the user of a failed unit that missed something which this machine has.
pub fn complaint(
    unit: &Unit,
    outcome: &Outcome,
    observed: &Observed,
    image: &str,
) -> Option<String> {
    let output = [&outcome.stdout[..], &outcome.stderr[..]].concat();
    let output = String::from_utf8_lossy(&output);
    let name = unit.name();
    let files = dep_info::unreadable_files(&output)
        .into_iter()
        .map(|path| normalised(&unit.cwd.join(path)));
    let files: Vec<Utf8PathBuf> = files.collect();
    if let Some((file, why)) = files.iter().find_map(|file| Some((file, why_withheld(unit, file)?)))
    {
        return Some(format!(
            "failed to give `{file}` to {name}: {why} (hint: RUSTCBUILDX_RUNNER=none builds \
             locally)"
        ));
    }
    let given = Given::of(unit);
    if let Some(file) = files.iter().find(|file| file.exists() && !given.has(file)) {
        return Some(format!(
            "failed to give `{file}` to {name}: it is not in the tree that the package `{}` \
             belongs to \
             (hint: a tree is a repository or a workspace; RUSTCBUILDX_RUNNER=none builds locally)",
            unit.package
        ));
    }
    let is_script = unit.is_build_script();
    let Observed { hosts, programs, .. } = observed;
    let looked_for = programs.iter().filter(|_| is_script).cloned().map(Missing::Program);
    let named_in_source = |panic: &Panic| program_in_source(unit, panic);
    let unnamed = panics(&output)
        .iter()
        .filter_map(named_in_source)
        .map(Missing::Program)
        .collect::<Vec<_>>();
    if let Some(missing) =
        find(&output).into_iter().chain(unnamed).chain(looked_for).find(Missing::is_here)
    {
        let instead =
            if is_script { format!("; {}", without_sandbox(unit)) } else { String::new() };
        let (key, variable, item) = match (missing.package(), &missing) {
            (None, Missing::Program(program)) => ("tools", "TOOLS", program.clone()),
            (package, _) => {
                ("image.apt", "IMAGE_APT", package.unwrap_or_else(|| "PACKAGE".to_owned()))
            }
        };
        return Some(format!(
            "failed to find {missing} for {name} in the image `{image}`; this machine has it \
             (hint: `{key} = [\"{item}\"]` in `.config/rustcbuildx.toml`, or \
             RUSTCBUILDX_{variable}={item}, adds it{instead})"
        ));
    }
    let host = hosts.first().map(|host| format!("`{host}`"));
    let host = host.or_else(|| asks_for_network(&output).then(|| "the network".to_owned()));
    host.map(|host| {
        format!(
            "failed to reach {host} for {name}: no container has a network (hint: {}, outside of \
             any sandbox)",
            without_sandbox(unit)
        )
    })
}

/// The setting by which a unit is not held to what containers have.
pub(super) fn without_sandbox(unit: &Unit) -> String {
    match unit.is_build_script() {
        true => format!(
            "RUSTCBUILDX_LOCAL_SCRIPTS={} runs this script on this machine",
            unit.package_name()
        ),
        false => "RUSTCBUILDX_RUNNER=none builds locally".to_owned(),
    }
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
        self.path().is_some()
    }

    /// Where this machine has it.
    fn path(&self) -> Option<Utf8PathBuf> {
        let in_folders = |names: &[String]| {
            let folders =
                ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share"];
            let triples = Utf8Path::new("/usr/lib").read_dir_utf8().into_iter().flatten().flatten();
            let triples = triples
                .map(|entry| entry.into_path())
                .filter(|path| path.as_str().contains("-linux-"));
            let folders = folders.iter().map(|folder| Utf8Path::new(folder).to_owned());
            let paths = folders
                .chain(triples)
                .flat_map(|folder| names.iter().map(move |name| folder.join(name)));
            paths.into_iter().find(|path| path.exists())
        };
        match self {
            Self::Program(name) => Utf8PathBuf::from_path_buf(which::which(name).ok()?).ok(),
            Self::Library(name) => in_folders(&[format!("lib{name}.so"), format!("lib{name}.a")]),
            Self::Package(name) => in_folders(&[format!("pkgconfig/{name}.pc")]),
        }
    }

    /// The package of this machine's distribution that it is from, if that is one of Debian's kind.
    fn package(&self) -> Option<String> {
        let path = self.path()?;
        // What a distribution installed by another name of the folder, or as an alternative.
        let names = [Some(path.clone()), path.canonicalize_utf8().ok()];
        names.into_iter().flatten().find_map(|path| {
            let cmd = Cmd::new("dpkg-query", ["--search", path.as_str()]);
            let finished = process::run(&cmd).ok().filter(|finished| finished.status.success())?;
            let text = std::io::read_to_string(finished.stdout).ok()?;
            let package = text.split([':', ',']).next()?.trim();
            (!package.is_empty() && !package.contains(' ')).then(|| package.to_owned())
        })
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
    ("Could not find `", "`"),
];
const LIBRARIES: &[(&str, &str)] = &[("cannot find -l", ":"), ("unable to find library -l", "\n")];
const PACKAGES: &[(&str, &str)] = &[("The system library `", "` required by crate")];
/// Words that name no program, and the program they mean.
const WORDS: &[(&str, &str)] = &[
    ("The pkg-config command could not be found", "pkg-config"),
    ("Unable to find libclang", "clang"),
];

/// What the output of a failed unit says it misses, in the order of their kinds.
fn find(output: &str) -> Vec<Missing> {
    // Inside of rustc's JSON messages, lines end with an escape.
    let output = output.replace("\\n", "\n").replace("\\\"", "\"") + "\n";
    let named =
        |texts: &'static [(&str, &str)]| texts.iter().flat_map(|text| names(&output, *text));
    let meant = WORDS
        .iter()
        .filter(|(words, _)| output.contains(words))
        .map(|(_, program)| program.to_string());
    let panics = panics(&output);
    let told = output
        .lines()
        .filter_map(program_of_a_shell)
        .chain(panics.iter().filter_map(Panic::program));
    let programs =
        named(PROGRAMS).chain(told.map(str::to_owned).collect::<Vec<_>>()).map(Missing::Program);
    let libraries =
        named(LIBRARIES).map(Missing::Library).chain(named(PACKAGES).map(Missing::Package));
    programs.chain(libraries).chain(meant.map(Missing::Program)).collect()
}

/// What a shell, `env` or `make` did not find, of which it says a line:
///
/// - `sh: 1: git: not found`, `./build.sh: line 3: npm: command not found`, `make: git: Command not
///   found`
/// - `/usr/bin/env: ‘python3’: No such file or directory`, `make: npm: No such file or directory`
fn program_of_a_shell(line: &str) -> Option<&str> {
    let ends = [
        ": not found",
        ": command not found",
        ": Command not found",
        ": No such file or directory",
    ];
    let line = line.trim();
    let told = ends.iter().find_map(|end| line.strip_suffix(end))?;
    let (before, name) = told.rsplit_once(": ")?;
    let is_line =
        |word: &str| word.trim_start_matches("line ").bytes().all(|byte| byte.is_ascii_digit());
    let speaker = Utf8Path::new(before.split([':', '[']).next()?).file_name()?;
    let is_tool = ["ash", "bash", "dash", "env", "gmake", "make", "sh"].contains(&speaker);
    // A file that a script itself did not find is no program.
    let is_file = line.ends_with(ends[3]) && !["env", "gmake", "make"].contains(&speaker);
    let is_spoken = is_tool || before.rsplit_once(": ").is_some_and(|(_, number)| is_line(number));
    let name = name.trim_matches(['‘', '’', '\'']);
    (is_spoken && !is_file && !name.is_empty() && !name.contains([' ', '/'])).then_some(name)
}

/// A panic for want of a file, mostly a program that was to be run.
///
/// Source: `std::io::Error`'s `Debug`, and the standard library's panic hook.
#[derive(Debug, PartialEq)]
struct Panic<'a> {
    /// Where it happened.
    file: &'a str,
    line: usize,
    message: &'a str,
}

const NOT_FOUND: &str = "Os { code: 2, kind: NotFound";

fn panics(output: &str) -> Vec<Panic<'_>> {
    let panic = |text| {
        let (place, message) = str::split_once(text, ":\n")?;
        let message = message.split("\nnote: ").next()?;
        let mut parts = place.rsplitn(3, ':');
        let (_column, line, file) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        message.contains(NOT_FOUND).then_some(Panic { file, line, message })
    };
    output.split("panicked at ").skip(1).filter_map(panic).collect()
}

impl<'a> Panic<'a> {
    /// The program that its message names, between quotes or by a well-known name: `failed to run
    /// git: Os { … }`.
    fn program(&self) -> Option<&'a str> {
        let words = self.message.split(NOT_FOUND).next()?;
        let quoted = ['`', '"', '\''].into_iter().find_map(|quote| words.split(quote).nth(1));
        let quoted = quoted.and_then(|quoted| quoted.split(' ').next());
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        let mut bare = words.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.'));
        let is_name =
            |word: &&str| !word.is_empty() && word.chars().all(is_part) && !word.contains("::");
        quoted.filter(is_name).or_else(|| bare.find(|word| WELL_KNOWN.contains(word)))
    }
}

/// Programs that build scripts call, whose names are no words of a sentence.
const WELL_KNOWN: &[&str] = &[
    "autoconf",
    "automake",
    "bazel",
    "bison",
    "bun",
    "cargo",
    "clang",
    "cmake",
    "curl",
    "deno",
    "dotnet",
    "flatc",
    "flex",
    "gcc",
    "git",
    "go",
    "hg",
    "java",
    "javac",
    "llvm-config",
    "meson",
    "nasm",
    "ninja",
    "node",
    "npm",
    "npx",
    "perl",
    "php",
    "pkg-config",
    "pnpm",
    "protoc",
    "python",
    "python3",
    "ruby",
    "rustc",
    "rustup",
    "sass",
    "svn",
    "swig",
    "tsc",
    "uv",
    "wasm-bindgen",
    "wasm-pack",
    "wget",
    "yarn",
    "yasm",
    "zig",
];

/// The program that the code above a panic of a build script was to run. A statement is rarely
/// longer than a few lines.
fn program_in_source(unit: &Unit, panic: &Panic) -> Option<String> {
    const STATEMENT: usize = 12;
    // Of a member of a workspace, the file is named from the workspace's folder.
    let path = unit
        .package
        .ancestors()
        .map(|folder| folder.join(panic.file))
        .find(|path| path.is_file())?;
    let text = fs::read_to_string(path).ok()?;
    let lines: Vec<&str> = text.lines().take(panic.line).collect();
    let statement = lines[lines.len().saturating_sub(STATEMENT)..].join("\n");
    let (_, behind) = statement.rsplit_once("Command::new(\"")?;
    let name = behind.split('"').next()?;
    (!name.is_empty() && !name.contains(['/', ' '])).then(|| name.to_owned())
}

/// Whether a unit was not served by a network, of which its container has none.
fn asks_for_network(output: &str) -> bool {
    let said = [
        "Could not resolve host",
        "Could not resolve hostname",
        "Network is unreachable",
        "Network unreachable",
        "Temporary failure in name resolution",
        "curl: (6)",
        "curl: (7)",
        "dns error",
        "dns lookup failed",
        "failed to lookup address information",
        "getaddrinfo EAI_AGAIN",
        "getaddrinfo ENOTFOUND",
        "network failure seems to have happened",
        "no such host",
        "server misbehaving",
        "spurious network error",
        "unable to resolve host address",
        "urlopen error",
    ];
    said.iter().any(|text| output.contains(text))
}

fn names(output: &str, (before, behind): (&str, &str)) -> Vec<String> {
    let parts = output.split(before).skip(1);
    let is_name =
        |name: &&str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '/');
    parts
        .filter_map(|part| Some(part.split_once(behind)?.0))
        .filter(is_name)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::work::Work;

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
            "failed to execute command: No such file or directory (os error 2)\nis `cmake` not \
             installed?",
            program("cmake"),
        );
        case("sh: 1: git: not found", program("git"));
        case("/bin/sh: 12: git: not found", program("git"));
        case("sh: python3: not found", program("python3"));
        case("bash: line 1: git: command not found", program("git"));
        case("./build.sh: line 3: npm: command not found", program("npm"));
        case("/usr/bin/env: ‘python3’: No such file or directory", program("python3"));
        case("env: 'node': No such file or directory", program("node"));
        case("make: npm: No such file or directory", program("npm"));
        case("make[1]: git: Command not found", program("git"));
        case("Could not find `protoc`. If `protoc` is installed, try", program("protoc"));
        case("panicked: Unable to find libclang: \"couldn't find", program("clang"));
        case(
            "/usr/bin/ld: cannot find -lpq: No such file or directory",
            Missing::Library("pq".into()),
        );
        case(
            r#"{"rendered":"rust-lld: error: unable to find library -lpq\ncollect2"}"#,
            Missing::Library("pq".into()),
        );
        case(
            "The system library `openssl` required by crate `openssl-sys` was not found.",
            Missing::Package("openssl".into()),
        );
        for other in [
            "error[E0308]: mismatched types\nCould not find `a b` in c",
            "cat: x.txt: No such file or directory",
            "./build.sh: line 3: x.txt: No such file or directory",
            "error: the crate: not found",
        ] {
            assert!(find(other).is_empty(), "{other}");
        }
    }

    fn panic(message: &str) -> String {
        let end = "Os { code: 2, kind: NotFound, message: \"No such file or directory\" }";
        format!(
            "thread 'main' (7) panicked at build.rs:4:10:\n{message}{end}\nnote: run with \
             `RUST_BACKTRACE=1`\n"
        )
    }

    #[test]
    fn a_panic_may_name_a_program() {
        let program = |name: &str| Missing::Program(name.to_owned());
        case(&panic("failed to run git: "), program("git"));
        case(&panic("couldn't execute `tool-of-ours --version`: "), program("tool-of-ours"));
        case(&panic("Failed to run npm install.: "), program("npm"));
        assert!(find(&panic("called `Result::unwrap()` on an `Err` value: ")).is_empty());
        assert!(find("panicked at build.rs:4:10:\nfailed to run git: exit status: 1").is_empty());
    }

    #[test]
    fn the_source_of_a_panic_may_name_a_program() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        fs::create_dir(root.join("app")).unwrap();
        let text = "fn main() {\n    Command::new(\"python3\")\n        .output()\n        \
                    .unwrap();\n    Command::new(\"git\");\n}\n";
        fs::write(root.join("app/build.rs"), text).unwrap();
        let work =
            Work::BuildScript { program: "/p".into(), out_dir: "/o".into(), library_path: vec![] };
        let unit = Unit::new(work, root.join("app"), root.join("app"));
        let output = panic("called `Result::unwrap()` on an `Err` value: ")
            .replace("at build.rs", "at app/build.rs");
        let found = panics(&output);
        assert_eq!((found.len(), found[0].file, found[0].line), (1, "app/build.rs", 4));
        assert_eq!(program_in_source(&unit, &found[0]), Some("python3".to_owned()));
    }

    #[test]
    fn what_asks_for_the_network() {
        for said in [
            "curl: (6) Could not resolve host: example.org",
            "fatal: unable to access 'https://example.org/': Could not resolve host: example.org",
            "warning: spurious network error (3 tries remaining): [6] Could not resolve hostname",
            "reqwest::Error { kind: Request, source: ConnectError(\"dns error\", Custom { kind: \
             Uncategorized, error: \"failed to lookup address information: Temporary failure in \
             name resolution\" }) }",
            "wget: unable to resolve host address 'example.org'",
            "npm error request to https://example.org failed, reason: getaddrinfo EAI_AGAIN \
             example.org",
            "Os { code: 101, kind: NetworkUnreachable, message: \"Network is unreachable\" }",
        ] {
            assert!(asks_for_network(said), "{said}");
        }
        assert!(!asks_for_network("error[E0425]: cannot find function `connect` in this scope"));
    }
}
