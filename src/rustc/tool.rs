//! The compilers that cargo calls through a wrapper, and their place on its command line.

use serde::{Deserialize, Serialize};

/// The compilers cargo calls through a wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tool {
    Rustc,
    Clippy,
}

impl Tool {
    /// What their programs are called.
    pub const NAMES: &[(&str, Self)] = &[("rustc", Self::Rustc), ("clippy-driver", Self::Clippy)];

    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, tool)| *tool)
    }

    /// How many words cargo put before rustc's arguments: a compiler, behind the user's own
    /// wrappers, if any. Arguments begin with an option, an `@file` or, where a person calls, a
    /// source.
    pub fn programs(words: &[String]) -> usize {
        let is_argument = |word: &String| word.starts_with(['-', '@']) || word.ends_with(".rs");
        words.iter().skip(1).position(is_argument).map_or(1, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_come_before_arguments() {
        let count =
            |line: &str| Tool::programs(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for (line, expected) in [
            ("/t/bin/rustc -vV", 1),
            ("rustc - --crate-name ___", 1),
            ("rustc src/a.rs --crate-name a", 1),
            ("rustc @arguments", 1),
            ("rustc", 1),
            ("clippy-driver /t/bin/rustc -vV", 2),
            ("clippy-driver --version", 1),
            ("/w/wrap.sh my-rustc --crate-name a src/a.rs", 2),
            ("one two rustc --crate-name a", 3),
        ] {
            assert_eq!(count(line), expected, "{line}");
        }
        assert_eq!((Tool::named("rustc"), Tool::named("miri")), (Some(Tool::Rustc), None));
    }
}
