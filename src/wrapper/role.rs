//! Who calls this program, and for what: decided by the arguments alone.

use std::ffi::OsString;

use camino::Utf8Path;

use crate::{cli, planning::background, target::shim};

#[derive(Debug, PartialEq)]
pub enum Role {
    /// Cargo, as `RUSTC_WRAPPER`: a compiler and its arguments.
    Compiler(Vec<OsString>),
    /// A build script's shim: the path of itself.
    BuildScript(String),
    /// The wrapper, which has this program plan for a cargo: the number of that process.
    Planner(String),
    /// A person.
    Command(Vec<OsString>),
}

impl Role {
    pub fn of(args: Vec<OsString>) -> Self {
        match args.first().and_then(|first| first.to_str()) {
            Some(shim::COMMAND) if args.len() == 2 && args[1].to_str().is_some() => {
                Self::BuildScript(args[1].to_string_lossy().into_owned())
            }
            Some(background::COMMAND) if args.len() == 2 => {
                Self::Planner(args[1].to_string_lossy().into_owned())
            }
            Some(first) if is_compiler(first) || is_called(first, &args[1..]) => {
                Self::Compiler(args)
            }
            None if !args.is_empty() => Self::Compiler(args),
            _ => Self::Command(args),
        }
    }
}

/// Cargo gives the compiler as a path, or by a name such as `rustc` or `clippy-driver`.
fn is_compiler(word: &str) -> bool {
    let name = Utf8Path::new(word).file_name().unwrap_or(word);
    !word.starts_with('-')
        && !cli::NAMES.contains(&word)
        && (word.contains('/') || name.contains("rustc") || name.contains("driver"))
}

/// Whether a word of another name is called as cargo calls a compiler or, before a compiler, the
/// user's own wrapper.
fn is_called(word: &str, args: &[OsString]) -> bool {
    let mut args = args.iter().map(|arg| arg.to_string_lossy());
    !word.starts_with('-')
        && !cli::NAMES.contains(&word)
        && args.any(|arg| arg.starts_with(['-', '@']) || is_compiler(&arg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(line: &str) -> Role {
        Role::of(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn compilers_are_told_from_commands() {
        for line in [
            "rustc -vV",
            "/t/bin/rustc x.rs",
            "clippy-driver rustc -",
            "./my-compiler x",
            "mycompiler -vV",
            "mine my-rustc -vV",
        ] {
            assert!(matches!(role(line), Role::Compiler(_)), "{line}");
        }
        for line in ["", "env", "pull", "--help", "-V", "frobnicate", "build"] {
            assert!(matches!(role(line), Role::Command(_)), "{line}");
        }
        assert_eq!(role("--run-build-script /x"), Role::BuildScript("/x".to_owned()));
        assert_eq!(role("--plan-in-background 7"), Role::Planner("7".to_owned()));
    }
}
