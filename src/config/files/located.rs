//! A value in files of settings.

use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

/// A setting's value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// As the setting's variable has it.
    pub value: String,
    /// More than one, where members of a workspace add to it.
    pub at: Vec<At>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub file: Utf8PathBuf,
    pub line: usize,
}

impl Located {
    /// Adds further items to a list.
    pub fn extend(&mut self, items: &Self) {
        let values = [&self.value, &items.value].map(String::as_str);
        let values: Vec<&str> = values.into_iter().filter(|value| !value.is_empty()).collect();
        self.value = values.join(",");
        self.at.extend(items.at.iter().cloned());
    }

    /// Where it stands, for a person.
    pub fn for_people(&self) -> String {
        self.at.iter().map(At::to_string).collect::<Vec<_>>().join(" and ")
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`:{}", self.file.as_str().escape_debug(), self.line)
    }
}
