//! The command-line client of an engine: what docker and podman have in common.

use std::{borrow::Cow, io::Read};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    engine::hint::hint,
    step::{key::Key, lines::on_one_line},
    util::process::{self, Cmd, Finished},
};

/// An installed command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Client {
    pub kind: Kind,
    /// The command that builds, with its leading arguments.
    pub build: Vec<String>,
    /// The command for everything else.
    pub cli: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Docker,
    Podman,
}

/// What the worker reports of its tasks, which it names by their keys.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The worker has the store of this number, and all that it was sent is in there.
    Ready {
        store: String,
    },
    Started {
        key: Key,
    },
    /// The task cannot run beside the others of its call.
    Apart {
        key: Key,
    },
    /// The task ran, or the engine had its outcome.
    Ended {
        key: Key,
        is_stored: bool,
    },
    /// A build script's program holds a path that only containers have.
    Embeds {
        key: Key,
    },
    /// What a build script printed that ended well.
    Printed {
        key: Key,
        stdout: String,
    },
    /// Something else that the worker prints, for people.
    Message {
        text: String,
    },
}

impl Event {
    /// The event in a line that the worker printed; `None` if the line is empty.
    pub fn of(line: &str) -> Option<Self> {
        let line = line.trim();
        let Some(words) = line.strip_prefix("rustcbuildx ") else {
            return (!line.is_empty()).then(|| Self::Message { text: line.to_owned() });
        };
        let (word, rest) = words.split_once(' ')?;
        let (key, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let key = key.to_owned();
        Some(match word {
            "ready" => Self::Ready { store: key },
            "embeds" => Self::Embeds { key },
            "apart" => Self::Apart { key },
            "start" => Self::Started { key },
            "end" => Self::Ended { key, is_stored: false },
            "stored" => Self::Ended { key, is_stored: true },
            // The engine cuts off what is too much at once.
            "printed" => Self::Printed { key, stdout: on_one_line(rest)? },
            _ => Self::Message { text: line.to_owned() },
        })
    }
}

impl Client {
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }

    /// The error of a call that was to do `task` and did not.
    pub fn check<T>(&self, finished: &Finished<T>, task: &str) -> Result<()> {
        if finished.status.success() {
            return Ok(());
        }
        let (complaint, hint) =
            (self.complaint(&finished.stderr), hint(&finished.stderr, None, self.name()));
        bail!("failed to {task} with {}: {complaint} {hint}", self.name())
    }

    /// What matters of an engine's messages, for an error of ours.
    pub fn complaint(&self, stderr: &str) -> String {
        let lines: Vec<&str> =
            stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let errors: Vec<&str> = lines
            .iter()
            .copied()
            .filter(|line| line.to_ascii_lowercase().starts_with("error"))
            .collect();
        let told =
            if errors.is_empty() { &lines[lines.len().saturating_sub(5)..] } else { &errors[..] };
        match told.iter().map(|line| shortened(line)).collect::<Vec<_>>().join("\n") {
            none if none.is_empty() => format!("{} said nothing", self.name()),
            told => told,
        }
    }

    /// Runs the command with these arguments to its end.
    pub fn ask<const N: usize>(&self, args: [&str; N]) -> Result<Finished> {
        let cmd = Cmd::new(&self.cli, args);
        log::debug!("{cmd}");
        process::run(&cmd)
    }
}

/// An image's name without `:tag` and `@digest`; a registry's port stays.
pub fn without_tag(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// A line without its middle, if it is long: engines quote the whole step that failed.
fn shortened(line: &str) -> Cow<'_, str> {
    const ENDS: [usize; 2] = [200, 300];
    let length = line.chars().count();
    if length <= ENDS.iter().sum() {
        return line.into();
    }
    let (start, end) = (line.chars().take(ENDS[0]), line.chars().skip(length - ENDS[1]));
    start.chain(" … ".chars()).chain(end).collect()
}

/// What a command that ended wrote to its standard output.
pub fn text(finished: &mut Finished) -> Result<String> {
    let mut text = String::new();
    finished.stdout.read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_cut_off() {
        assert_eq!(without_tag("localhost:5000/rust:1.95-slim"), "localhost:5000/rust");
        assert_eq!(without_tag("localhost:5000/rust"), "localhost:5000/rust");
        assert_eq!(without_tag("rust:1@sha256:ab"), "rust");
    }

    #[test]
    fn a_long_line_keeps_its_ends() {
        assert_eq!(shortened("ERROR: ü"), "ERROR: ü");
        let line = format!("ERROR: process \"{}\" did not complete: ü", "x".repeat(1000));
        let short = shortened(&line);
        assert!(
            short.starts_with("ERROR: process \"xx") && short.ends_with("xx\" did not complete: ü"),
            "{short}"
        );
        assert_eq!(short.chars().count(), 503);
    }
}
