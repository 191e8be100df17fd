//! Dockerfiles as values; `Display` is the only place that escapes.
//!
//! Source of the syntax: the Dockerfile reference, and BuildKit's `frontend/dockerfile/parser` for
//! how a line is taken apart.

use std::fmt::{self, Display, Formatter, Write};

use serde::{Deserialize, Serialize};

use crate::util::quote;

/// A whole file: its stages in an order in which each names only those before it.
pub struct Dockerfile<'a> {
    pub style: Style<'a>,
    pub stages: Vec<Stage<'a>>,
}

/// How a file is written for an engine.
#[derive(Clone, Copy, Default)]
pub struct Style<'a> {
    /// A frontend image; `None` is the one built into the engine.
    pub syntax: Option<&'a str>,
    /// Whether the words of a process are in variables of its stage, and not in the `RUN` itself.
    pub words_in_variables: bool,
}

pub struct Stage<'a> {
    /// An image, a stage above, or `scratch`.
    pub from: &'a str,
    pub name: &'a str,
    pub instructions: Vec<Instruction<'a>>,
}

pub enum Instruction<'a> {
    Run(&'a Run),
    Copy { from: &'a str, source: &'a str, target: &'a str },
}

/// A process in a container: always without a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub mounts: Vec<Mount>,
    pub argv: Vec<String>,
}

/// What a process sees beside its stage's root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mount {
    /// A file or folder of a stage or context; what is written there is lost.
    Bind { from: String, source: String, target: String, writable: bool },
    /// A folder that outlives the build, in the engine, or a file or folder in it.
    Cache { id: String, source: String, target: String, writable: bool },
    /// A cache folder that is named after the stage: [`Stage`] knows its name.
    Keep { target: String },
    /// A file under `/run/secrets` that is no part of the cache key.
    Secret { id: String },
}

impl Display for Dockerfile<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = self.style.syntax {
            writeln!(f, "# syntax={syntax}")?;
        }
        self.stages.iter().try_for_each(|stage| stage.write(self.style, f))
    }
}

impl Stage<'_> {
    fn write(&self, style: Style<'_>, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "FROM {} AS {}", self.from, self.name)?;
        self.instructions.iter().try_for_each(|instruction| match instruction {
            Instruction::Run(run) => run.write(self.name, style, f),
            Instruction::Copy { from, source, target } => {
                writeln!(f, "COPY --from={from} {source} {target}")
            }
        })?;
        f.write_char('\n')
    }
}

impl Run {
    /// One mount and one word a line: the parser takes no line over 64 KiB.
    fn write(&self, stage: &str, style: Style<'_>, f: &mut Formatter<'_>) -> fmt::Result {
        let mut arguments = Vec::new();
        let mounts: Vec<String> =
            self.mounts.iter().map(|mount| mount.text(stage, &mut arguments)).collect();
        for (at, value) in arguments.iter().enumerate() {
            writeln!(f, "ARG P{at}={}", quoted(value))?;
        }
        let argv = match style.words_in_variables {
            true => &write_variables(&self.argv, f)?,
            false => &self.argv,
        };
        f.write_str("RUN --network=none \\\n")?;
        for mount in mounts {
            writeln!(f, "  --mount={} \\", escape(&mount, &['\\', '"', '\'', ' ', '\t']))?;
        }
        f.write_str("  [")?;
        for (at, word) in argv.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", \\\n   " })?;
            JsonString(word).fmt(f)?;
        }
        f.write_str("]\n")
    }
}

/// Writes words as variables of a stage, quoted for a shell; returns the few words that run them.
///
/// BuildKit repeats what a `RUN` says in the step's name and progress, and in the description of
/// all that the step leaves, which it reads anew for each record whenever it looks for one to drop.
/// Variables it has once.
fn write_variables(argv: &[String], f: &mut impl Write) -> Result<Vec<String>, fmt::Error> {
    // What is in a variable has no line's end: the shell puts it in.
    let in_shell =
        |word: &String| word.split('\n').map(quote::word).collect::<Vec<_>>().join("\"$n\"");
    let text: Vec<char> = argv.iter().map(in_shell).collect::<Vec<_>>().join(" ").chars().collect();
    let (mut names, mut values) = (String::new(), String::new());
    for (at, part) in text.chunks(LONGEST_LINE / 4).enumerate() {
        writeln!(f, "ENV W{at}={}", quoted(&String::from_iter(part)))?;
        names += &format!(" W{at}");
        values += &format!("$W{at}");
    }
    let script = format!("n='\n'; eval \"unset{names}; exec {values}\"");
    Ok(["/bin/sh", "-c", &script].map(str::to_owned).to_vec())
}

impl Mount {
    /// What the stage of this name put into its [`Mount::Keep`] folder in an earlier build.
    pub fn from_engine_cache(stage: &str, source: &str, target: &str) -> Self {
        Self::Cache {
            id: engine_cache_id(stage),
            source: source.to_owned(),
            target: target.to_owned(),
            writable: false,
        }
    }

    /// The folder of [`Mount::Keep`] of the stage of this name, for another one to fill.
    pub fn into_engine_cache(stage: &str, target: &str) -> Self {
        Self::Cache {
            id: engine_cache_id(stage),
            source: "/".to_owned(),
            target: target.to_owned(),
            writable: true,
        }
    }

    /// The stage and the source that [`Self::from_engine_cache`] made this mount of; `None` for
    /// other mounts.
    pub fn as_from_engine_cache(&self) -> Option<(&str, &str)> {
        match self {
            Self::Cache { id, source, writable: false, .. } => {
                Some((id.strip_prefix(ENGINE_CACHE_ID)?, source))
            }
            _ => None,
        }
    }

    pub fn secret(id: &str) -> Self {
        Self::Secret { id: id.to_owned() }
    }

    /// The value of `--mount`. BuildKit reads it byte by byte, so what is not ASCII goes to
    /// `arguments`, whose values it expands.
    fn text<'a>(&'a self, stage: &str, arguments: &mut Vec<&'a str>) -> String {
        match self {
            Self::Bind { from, source, target, writable } => {
                let (source, target) =
                    (field("source", source, arguments), field("target", target, arguments));
                format!(
                    "type=bind,from={from},{source},{target}{}",
                    if *writable { ",rw" } else { "" }
                )
            }
            Self::Cache { id, source, target, writable } => {
                let (source, target) =
                    (field("source", source, arguments), field("target", target, arguments));
                format!(
                    "type=cache,id={id},{source},{target}{}",
                    if *writable { "" } else { ",ro" }
                )
            }
            Self::Keep { target } => {
                format!(
                    "type=cache,id={},{}",
                    engine_cache_id(stage),
                    field("target", target, arguments)
                )
            }
            Self::Secret { id } => format!("type=secret,id={id}"),
        }
    }
}

const ENGINE_CACHE_ID: &str = "rustcbuildx-";

fn engine_cache_id(stage: &str) -> String {
    format!("{ENGINE_CACHE_ID}{stage}")
}

/// `key=value` of a mount: a CSV field, whose value is then read like a shell word.
fn field<'a>(key: &str, value: &'a str, arguments: &mut Vec<&'a str>) -> String {
    if !value.is_ascii() {
        arguments.push(value);
        return format!("{key}=${{P{}}}", arguments.len() - 1);
    }
    let word = escape(value, &['\\', '"', '\'', '$']);
    if word.contains([',', '"']) || word.starts_with(' ') {
        format!("\"{key}={}\"", word.replace('"', "\"\""))
    } else {
        format!("{key}={word}")
    }
}

/// The value of an `ARG` or `ENV`, in which nothing is put in.
fn quoted(value: &str) -> String {
    format!("\"{}\"", escape(value, &['\\', '"', '$']))
}

fn escape(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A JSON string that the line-based parser above JSON leaves alone.
///
/// It drops lines that begin with `#`, takes `<<WORD` for a heredoc, ends lines at 64 KiB and reads
/// a backslash before a line's end in its own way; and where it names the step, it puts the stage's
/// variables in. So the characters of all that are written as escapes, and a long string is
/// continued on further lines.
struct JsonString<'a>(&'a str);

const LONGEST_LINE: usize = 32 * 1024;

impl Display for JsonString<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut column = 0;
        for c in self.0.chars() {
            if column > LONGEST_LINE {
                f.write_str("\\\n")?;
                column = 0;
            }
            column += match c {
                '"' => write!(f, "\\\"").map(|()| 2)?,
                '\n' => write!(f, "\\n").map(|()| 2)?,
                // Blanks at the start of a line might be taken for indentation.
                c if matches!(c, '\\' | '#' | '<' | '$')
                    || c.is_control()
                    || c.is_whitespace() && column == 0 =>
                {
                    write!(f, "\\u{:04x}", u32::from(c)).map(|()| 6)?
                }
                c => f.write_char(c).map(|()| c.len_utf8())?,
            };
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(run: Run) -> String {
        let stage = Stage { from: "b", name: "s", instructions: vec![Instruction::Run(&run)] };
        let text = Dockerfile { style: Style::default(), stages: vec![stage] }.to_string();
        text.strip_prefix("FROM b AS s\n").unwrap().to_owned()
    }

    #[track_caller]
    fn bind(target: &str, expected: &str) {
        let mount = Mount::Bind {
            from: "a".into(),
            source: "/s".into(),
            target: target.into(),
            writable: false,
        };
        let text = text(Run { mounts: vec![mount], argv: vec![] });
        assert_eq!(
            text.lines().nth(1).unwrap(),
            format!("  --mount=type=bind,from=a,source=/s,{expected} \\")
        );
    }

    #[test]
    fn mount_targets_are_escaped_for_each_reader() {
        bind("/a/b-c_d.e+f@1", "target=/a/b-c_d.e+f@1");
        bind("/a b", "target=/a\\ b");
        bind("/a,b", "\\\"target=/a,b\\\"");
        bind("/$a", "target=/\\\\$a");
        bind("/a\"b", "\\\"target=/a\\\\\\\"\\\"b\\\"");
    }

    #[test]
    fn letters_beyond_ascii_go_through_arguments() {
        let mount = Mount::Bind {
            from: "a".into(),
            source: "/s".into(),
            target: "/ü $x".into(),
            writable: false,
        };
        let text = text(Run { mounts: vec![mount], argv: vec![] });
        assert!(text.starts_with("ARG P0=\"/ü \\$x\"\nRUN"), "{text}");
        assert!(text.contains("target=${P0} \\"), "{text}");
    }

    #[test]
    fn words_survive_the_line_parser() {
        let word = "#!a\n# b <<EOF \"q\" \\ é\u{1}".to_owned();
        let text = text(Run { mounts: vec![], argv: vec![word.clone()] });
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with('#')) && !text.contains("<<")
        );
        let json = text.trim_start_matches("RUN --network=none \\\n").trim();
        assert_eq!(serde_json::from_str::<Vec<String>>(json).unwrap(), [word]);
    }

    #[test]
    fn words_survive_variables() {
        let odd = "#!a\n# b <<EOF \"q\" '$W0' `c` \\ é\u{1}\t\n";
        let long = "$x\"\n é\\".repeat(10_000);
        let words = ["printf", "%s\\0", "", odd, "\n", &long].map(str::to_owned);
        let mut dockerfile = String::new();
        let argv = write_variables(&words, &mut dockerfile).unwrap();
        assert!(
            dockerfile.lines().count() > 2 && dockerfile.lines().all(|line| line.len() < 65_000)
        );
        let variables = dockerfile.lines().map(|line| {
            let (name, value) = line.strip_prefix("ENV ").unwrap().split_once('=').unwrap();
            let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            (name, value.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\"))
        });
        let said =
            std::process::Command::new(&argv[0]).args(&argv[1..]).envs(variables).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.split_terminator('\0').collect::<Vec<_>>(), words[2..]);
    }

    #[test]
    fn long_words_are_continued() {
        for word in ["x#y z\\".repeat(40_000), "x".repeat(100_000), "a\"".repeat(60_000)] {
            let text = JsonString(&word).to_string();
            assert!(text.lines().all(|line| line.len() < 65_000));
            assert!(text.lines().count() > 1);
            assert_eq!(serde_json::from_str::<String>(&text.replace("\\\n", "")).unwrap(), word);
        }
    }

    #[test]
    fn stages_read_like_a_dockerfile() {
        let run = Run {
            mounts: vec![
                Mount::Secret { id: "n".into() },
                Mount::Cache {
                    id: "c".into(),
                    source: "/a".into(),
                    target: "/c".into(),
                    writable: false,
                },
                Mount::Keep { target: "/k".into() },
                Mount::Bind {
                    from: "s".into(),
                    source: "/".into(),
                    target: "/w".into(),
                    writable: true,
                },
            ],
            argv: vec!["rustc".into(), "-vV".into()],
        };
        let file = Dockerfile {
            style: Style { syntax: Some("docker/dockerfile:1"), words_in_variables: false },
            stages: vec![
                Stage { from: "img", name: "base", instructions: vec![] },
                Stage { from: "base", name: "u", instructions: vec![Instruction::Run(&run)] },
                Stage {
                    from: "scratch",
                    name: "out",
                    instructions: vec![Instruction::Copy { from: "u", source: "/o", target: "/" }],
                },
            ],
        };
        assert_eq!(
            file.to_string(),
            "# syntax=docker/dockerfile:1\nFROM img AS base\n\nFROM base AS u\nRUN --network=none \
             \\\n  --mount=type=secret,id=n \\\n  --mount=type=cache,id=c,source=/a,target=/c,ro \
             \\\n  --mount=type=cache,id=rustcbuildx-u,target=/k \\\n  \
             --mount=type=bind,from=s,source=/,target=/w,rw \\\n  [\"rustc\", \\\n   \"-vV\"]\n\n\
             FROM scratch AS out\nCOPY --from=u /o /\n\n"
        );
    }
}
