//! rustc's argument table, and a rustc command line read by it.
//!
//! The words stay verbatim and in order: [`RustcArgs::words`] gives back what was given. What a
//! word means stands beside it, so that nobody re-parses a string. A word the table does not know
//! is kept as [`Flag::Unknown`]: rustc, not this tool, decides what is an error.
//!
//! Source of the rules: `rustc --help -v`, and `getopts`, which rustc parses its command line with:
//! short options may be clustered (`-vV`), a value may be joined (`-Ldir`, `--cfg=x`) or be the
//! next word, and `--` ends the options.

use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::rustc::{crate_type::CrateType, emit::Emit};

/// Every option of `rustc --help -v`, and a place for those of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    Allow,
    CapLints,
    Cfg,
    CheckCfg,
    Codegen,
    Color,
    CrateName,
    CrateType,
    Debuginfo,
    Deny,
    DiagnosticWidth,
    Edition,
    Emit,
    EnvSet,
    ErrorFormat,
    Explain,
    Extern,
    Forbid,
    ForceWarn,
    Help,
    Json,
    LibraryPath,
    Link,
    Optimize,
    OutDir,
    Output,
    Print,
    RemapPathPrefix,
    RemapPathScope,
    Sysroot,
    Target,
    Test,
    Unknown,
    Unpretty,
    Unstable,
    Verbose,
    Version,
    Warn,
}

struct Spec {
    flag: Flag,
    short: Option<char>,
    long: Option<&'static str>,
    takes_value: bool,
}

const fn with_value(flag: Flag, short: Option<char>, long: Option<&'static str>) -> Spec {
    Spec { flag, short, long, takes_value: true }
}

const fn switch(flag: Flag, short: Option<char>, long: Option<&'static str>) -> Spec {
    Spec { flag, short, long, takes_value: false }
}

const TABLE: &[Spec] = &[
    switch(Flag::Help, Some('h'), Some("help")),
    with_value(Flag::Cfg, None, Some("cfg")),
    with_value(Flag::CheckCfg, None, Some("check-cfg")),
    with_value(Flag::LibraryPath, Some('L'), None),
    with_value(Flag::Link, Some('l'), None),
    with_value(Flag::CrateType, None, Some("crate-type")),
    with_value(Flag::CrateName, None, Some("crate-name")),
    with_value(Flag::Edition, None, Some("edition")),
    with_value(Flag::Emit, None, Some("emit")),
    with_value(Flag::Print, None, Some("print")),
    switch(Flag::Debuginfo, Some('g'), None),
    switch(Flag::Optimize, Some('O'), None),
    with_value(Flag::Output, Some('o'), None),
    with_value(Flag::OutDir, None, Some("out-dir")),
    with_value(Flag::Explain, None, Some("explain")),
    switch(Flag::Test, None, Some("test")),
    with_value(Flag::Target, None, Some("target")),
    with_value(Flag::Allow, Some('A'), Some("allow")),
    with_value(Flag::Warn, Some('W'), Some("warn")),
    with_value(Flag::ForceWarn, None, Some("force-warn")),
    with_value(Flag::Deny, Some('D'), Some("deny")),
    with_value(Flag::Forbid, Some('F'), Some("forbid")),
    with_value(Flag::CapLints, None, Some("cap-lints")),
    with_value(Flag::Codegen, Some('C'), Some("codegen")),
    switch(Flag::Version, Some('V'), Some("version")),
    switch(Flag::Verbose, Some('v'), Some("verbose")),
    with_value(Flag::Extern, None, Some("extern")),
    with_value(Flag::Sysroot, None, Some("sysroot")),
    with_value(Flag::ErrorFormat, None, Some("error-format")),
    with_value(Flag::Json, None, Some("json")),
    with_value(Flag::Color, None, Some("color")),
    with_value(Flag::DiagnosticWidth, None, Some("diagnostic-width")),
    with_value(Flag::RemapPathPrefix, None, Some("remap-path-prefix")),
    with_value(Flag::RemapPathScope, None, Some("remap-path-scope")),
    with_value(Flag::EnvSet, None, Some("env-set")),
    with_value(Flag::Unpretty, None, Some("unpretty")),
    with_value(Flag::Unstable, Some('Z'), None),
];

/// What one word, or a word and its value, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    Option { flag: Flag, value: Option<String> },
    Input(String),
}

/// A rustc command line without the program's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct RustcArgs {
    words: Vec<String>,
    args: Vec<Arg>,
}

impl From<Vec<String>> for RustcArgs {
    fn from(words: Vec<String>) -> Self {
        Self::parse(words)
    }
}

impl From<RustcArgs> for Vec<String> {
    fn from(args: RustcArgs) -> Self {
        args.words
    }
}

impl RustcArgs {
    /// Reads a command line; never fails, since an error in it is rustc's to report.
    pub fn parse(words: Vec<String>) -> Self {
        let mut args = Vec::with_capacity(words.len());
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == "--" {
                args.extend(rest.by_ref().cloned().map(Arg::Input));
            } else if let Some(long) = word.strip_prefix("--") {
                args.push(parse_long(long, &mut rest));
            } else if word.len() > 1 && word.starts_with('-') {
                parse_shorts(&word[1..], &mut rest, &mut args);
            } else {
                args.push(Arg::Input(word.clone()));
            }
        }
        Self { words, args }
    }

    /// The command line as it was given.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The parsed arguments, in order.
    pub fn args(&self) -> &[Arg] {
        &self.args
    }

    pub fn has(&self, wanted: Flag) -> bool {
        self.args.iter().any(|arg| matches!(arg, Arg::Option { flag, .. } if *flag == wanted))
    }

    /// The values of a repeatable option, in order.
    pub fn values(&self, wanted: Flag) -> impl Iterator<Item = &str> {
        self.args.iter().filter_map(move |arg| match arg {
            Arg::Option { flag, value: Some(value) } if *flag == wanted => Some(value.as_str()),
            _ => None,
        })
    }

    /// The last value of an option: rustc refuses most of them when given twice.
    pub fn value(&self, wanted: Flag) -> Option<&str> {
        self.values(wanted).last()
    }

    /// The files to compile: rustc wants exactly one.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.args.iter().filter_map(|arg| match arg {
            Arg::Input(input) => Some(input.as_str()),
            Arg::Option { .. } => None,
        })
    }

    /// The last value of `-C name=value`; rustc takes `_` for `-` in the name, and a bare `-C name`
    /// for a switch, given here as an empty value.
    pub fn codegen(&self, wanted: &str) -> Option<&str> {
        self.values(Flag::Codegen)
            .map(|option| option.split_once('=').unwrap_or((option, "")))
            .filter(|(name, _)| name.replace('_', "-") == wanted)
            .map(|(_, value)| value)
            .last()
    }

    pub fn crate_types(&self) -> Vec<CrateType> {
        self.values(Flag::CrateType).flat_map(|list| list.split(',')).map(CrateType::from).collect()
    }

    pub fn emits(&self) -> Vec<Emit> {
        self.values(Flag::Emit).flat_map(|list| list.split(',')).map(Emit::from).collect()
    }

    /// `--extern [options:]name[=path]`, as (name, path).
    pub fn externs(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.values(Flag::Extern).map(|spec| {
            let (name, path) = match spec.split_once('=') {
                Some((name, path)) => (name, Some(path)),
                None => (spec, None),
            };
            (name.rsplit(':').next().unwrap_or(name), path)
        })
    }

    /// `-L [kind=]path`, as (kind, path); rustc's default kind is `all`.
    pub fn library_paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values(Flag::LibraryPath).map(|spec| spec.split_once('=').unwrap_or(("all", spec)))
    }

    /// The folders in which a compiler started in `cwd` looks for the crates of other units.
    pub fn crate_folders(&self, cwd: &Utf8Path) -> Vec<Utf8PathBuf> {
        self.library_paths()
            .filter(|(kind, _)| matches!(*kind, "dependency" | "crate"))
            .map(|(_, dir)| cwd.join(dir))
            .collect()
    }
}

impl fmt::Display for RustcArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::util::quote::words(&self.words))
    }
}

fn parse_long<'a>(long: &str, rest: &mut impl Iterator<Item = &'a String>) -> Arg {
    let (name, joined) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    match TABLE.iter().find(|spec| spec.long == Some(name)) {
        Some(spec) if spec.takes_value => {
            Arg::Option { flag: spec.flag, value: joined.or_else(|| rest.next().cloned()) }
        }
        Some(spec) => Arg::Option { flag: spec.flag, value: joined },
        None => Arg::Option { flag: Flag::Unknown, value: Some(format!("--{long}")) },
    }
}

fn parse_shorts<'a>(
    cluster: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    args: &mut Vec<Arg>,
) {
    for (at, short) in cluster.char_indices() {
        match TABLE.iter().find(|spec| spec.short == Some(short)) {
            Some(spec) if spec.takes_value => {
                let joined = &cluster[at + short.len_utf8()..];
                let value = match joined {
                    "" => rest.next().cloned(),
                    joined => Some(joined.to_owned()),
                };
                args.push(Arg::Option { flag: spec.flag, value });
                return;
            }
            Some(spec) => args.push(Arg::Option { flag: spec.flag, value: None }),
            None => {
                let value = Some(format!("-{}", &cluster[at..]));
                args.push(Arg::Option { flag: Flag::Unknown, value });
                return;
            }
        }
    }
}

/// Puts the lines of each `@file` in its place, as rustc does before it reads its options.
///
/// `read` gives a file's text. Fails as it fails; a file may not name another one.
pub fn expand_files(
    words: Vec<String>,
    read: impl Fn(&str) -> io::Result<String>,
) -> io::Result<Vec<String>> {
    if !words.iter().any(|word| word.starts_with('@')) {
        return Ok(words);
    }
    let mut expanded = Vec::with_capacity(words.len());
    for word in words {
        match word.strip_prefix('@') {
            Some(path) => expanded.extend(read(path)?.lines().map(str::to_owned)),
            None => expanded.push(word),
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> RustcArgs {
        RustcArgs::parse(line.iter().map(|word| word.to_string()).collect())
    }

    #[track_caller]
    fn case(line: &[&str], expected: &[(Flag, Option<&str>)]) {
        let parsed = parse(line);
        let got: Vec<_> = parsed
            .args()
            .iter()
            .map(|arg| match arg {
                Arg::Option { flag, value } => (*flag, value.as_deref()),
                Arg::Input(input) => panic!("{input} read as an input"),
            })
            .collect();
        assert_eq!(got, expected);
        assert_eq!(parsed.words(), line);
    }

    proptest::proptest! {
        #[test]
        fn any_command_line_comes_back(words in proptest::collection::vec("-{0,2}[^\\x00]{0,20}", 0..12)) {
            let args = RustcArgs::parse(words.clone());
            assert_eq!(args.words(), words);
            assert_eq!(shlex::split(&args.to_string()), Some(words));
        }
    }

    #[test]
    fn values_are_joined_or_the_next_word() {
        for line in [
            &["-C", "lto=thin"][..],
            &["-Clto=thin"],
            &["--codegen", "lto=thin"],
            &["--codegen=lto=thin"],
        ] {
            case(line, &[(Flag::Codegen, Some("lto=thin"))]);
        }
        case(&["-Ldependency=/d"], &[(Flag::LibraryPath, Some("dependency=/d"))]);
        case(&["--cfg", "feature=\"a b\""], &[(Flag::Cfg, Some("feature=\"a b\""))]);
        case(&["-Zunstable-options"], &[(Flag::Unstable, Some("unstable-options"))]);
    }

    #[test]
    fn short_options_cluster() {
        case(&["-vV"], &[(Flag::Verbose, None), (Flag::Version, None)]);
        case(
            &["-gOCopt-level=1"],
            &[
                (Flag::Debuginfo, None),
                (Flag::Optimize, None),
                (Flag::Codegen, Some("opt-level=1")),
            ],
        );
        case(&["-gx1"], &[(Flag::Debuginfo, None), (Flag::Unknown, Some("-x1"))]);
    }

    #[test]
    fn unknown_options_are_kept() {
        case(&["--from-the-future=1"], &[(Flag::Unknown, Some("--from-the-future=1"))]);
        case(&["--from-the-future"], &[(Flag::Unknown, Some("--from-the-future"))]);
    }

    #[test]
    fn a_missing_value_is_rustcs_to_report() {
        case(&["--edition"], &[(Flag::Edition, None)]);
        case(&["-C"], &[(Flag::Codegen, None)]);
    }

    #[test]
    fn inputs_stand_anywhere() {
        let inputs = |line: &[&str]| parse(line).inputs().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(inputs(&["src/lib.rs", "--test"]), ["src/lib.rs"]);
        assert_eq!(inputs(&["--test", "-"]), ["-"]);
        assert_eq!(inputs(&["-g", "--", "-strange.rs"]), ["-strange.rs"]);
    }

    #[test]
    fn codegen_names_take_both_dashes_and_the_last_wins() {
        let args = parse(&["-Copt_level=1", "-C", "opt-level=3", "-Csave-temps"]);
        assert_eq!(args.codegen("opt-level"), Some("3"));
        assert_eq!(args.codegen("save-temps"), Some(""));
        assert_eq!(args.codegen("lto"), None);
    }

    #[test]
    fn externs_have_options_names_and_paths() {
        let args = parse(&["--extern", "noprelude:std=/a/b=c.rlib", "--extern=proc_macro"]);
        assert_eq!(
            args.externs().collect::<Vec<_>>(),
            [("std", Some("/a/b=c.rlib")), ("proc_macro", None)]
        );
    }

    #[test]
    fn files_are_expanded_once() {
        let read = |path: &str| match path {
            "args" => Ok("--cfg\na b\n@args".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let words = vec!["x.rs".to_owned(), "@args".to_owned(), "-g".to_owned()];
        assert_eq!(expand_files(words, read).unwrap(), ["x.rs", "--cfg", "a b", "@args", "-g"]);
        assert!(expand_files(vec!["@none".to_owned()], read).is_err());
    }

    #[test]
    fn the_table_names_each_spelling_once() {
        for (at, spec) in TABLE.iter().enumerate() {
            for other in &TABLE[at + 1..] {
                assert_ne!(spec.flag, other.flag);
                assert!(spec.short.is_none() || spec.short != other.short);
                assert!(spec.long.is_none() || spec.long != other.long);
            }
        }
    }

    /// The table against the local rustc's own help: every option listed there is known here.
    #[test]
    fn the_table_covers_the_local_rustc() {
        let help = std::process::Command::new("rustc").args(["--help", "-v"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let options = help.split("Additional help").next().unwrap();
        let mut seen = 0;
        for line in options.lines().map(str::trim).filter(|line| line.starts_with('-')) {
            for word in
                line.split([',', ' ']).filter(|word| word.starts_with('-') && word.len() > 1)
            {
                let name = word.trim_start_matches('-');
                let known = TABLE.iter().any(|spec| {
                    spec.long == Some(name)
                        || spec.short.is_some_and(|short| name == short.to_string())
                });
                assert!(known, "rustc's option {word} is not in the table");
                seen += 1;
            }
        }
        assert!(seen > 30, "read only {seen} options from rustc's help");
    }
}
