//! Dockerfiles as values; `Display` is the only place that escapes.
//!
//! Source of the syntax: the Dockerfile reference, and BuildKit's `frontend/dockerfile/parser` for
//! how a line is taken apart.

use std::fmt::{self, Display, Formatter, Write};

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
}

pub struct Stage<'a> {
    /// An image, a stage above, or `scratch`.
    pub from: &'a str,
    pub name: &'a str,
    pub instructions: Vec<Instruction<'a>>,
}

pub enum Instruction<'a> {
    User(&'a str),
    Run(&'a Run),
    Copy { from: &'a str, source: &'a str, target: &'a str },
}

/// A process in a container: always without a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub mounts: Vec<Mount>,
    pub argv: Vec<String>,
}

/// What a process sees beside its stage's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A context, which nobody can write to.
    Bind { from: String, target: String },
    /// A folder in the engine that outlives the build.
    Cache { id: String, target: String },
    /// What is at a path in such a folder, which nobody can write to.
    InCache { id: String, source: String, target: String },
    /// A file under `/run/secrets` that is no part of the cache key.
    Secret { id: String },
}

impl Display for Dockerfile<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = self.style.syntax {
            writeln!(f, "# syntax={syntax}")?;
        }
        self.stages.iter().try_for_each(|stage| stage.fmt(f))
    }
}

impl Display for Stage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "FROM {} AS {}", self.from, self.name)?;
        self.instructions.iter().try_for_each(|instruction| match instruction {
            Instruction::User(user) => writeln!(f, "USER {user}"),
            Instruction::Run(run) => run.fmt(f),
            Instruction::Copy { from, source, target } => {
                writeln!(f, "COPY --from={from} {source} {target}")
            }
        })?;
        f.write_char('\n')
    }
}

impl Display for Run {
    /// One mount and one word a line: the parser takes no line over 64 KiB.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("RUN --network=none \\\n")?;
        self.mounts.iter().try_for_each(|mount| writeln!(f, "  --mount={mount} \\"))?;
        f.write_str("  [")?;
        for (at, word) in self.argv.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", \\\n   " })?;
            JsonString(word).fmt(f)?;
        }
        f.write_str("]\n")
    }
}

impl Display for Mount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { from, target } => write!(f, "type=bind,from={from},target={target}"),
            Self::Cache { id, target } => write!(f, "type=cache,id={id},target={target}"),
            Self::InCache { id, source, target } => {
                write!(f, "type=cache,id={id},source={source},target={target},readonly")
            }
            Self::Secret { id } => write!(f, "type=secret,id={id}"),
        }
    }
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

    #[test]
    fn words_survive_the_line_parser() {
        let word = "#!a\n# b <<EOF \"q\" \\ é\u{1}".to_owned();
        let text = Run { mounts: vec![], argv: vec![word.clone()] }.to_string();
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with('#')) && !text.contains("<<")
        );
        let json = text.trim_start_matches("RUN --network=none \\\n").trim();
        assert_eq!(serde_json::from_str::<Vec<String>>(json).unwrap(), [word]);
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
                Mount::Cache { id: "c".into(), target: "/c".into() },
                Mount::Bind { from: "s".into(), target: "/w".into() },
            ],
            argv: vec!["rustc".into(), "-vV".into()],
        };
        let file = Dockerfile {
            style: Style { syntax: Some("docker/dockerfile:1") },
            stages: vec![
                Stage { from: "img", name: "base", instructions: vec![] },
                Stage {
                    from: "base",
                    name: "u",
                    instructions: vec![Instruction::User("root"), Instruction::Run(&run)],
                },
                Stage {
                    from: "scratch",
                    name: "out",
                    instructions: vec![Instruction::Copy { from: "u", source: "/o", target: "/" }],
                },
            ],
        };
        assert_eq!(
            file.to_string(),
            "# syntax=docker/dockerfile:1\nFROM img AS base\n\nFROM base AS u\nUSER root\nRUN \
             --network=none \\\n  --mount=type=secret,id=n \\\n  \
             --mount=type=cache,id=c,target=/c \\\n  --mount=type=bind,from=s,target=/w \\\n  \
             [\"rustc\", \\\n   \"-vV\"]\n\nFROM scratch AS out\nCOPY --from=u /o /\n\n"
        );
    }
}
