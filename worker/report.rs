//! What went wrong, in words, and what the worker reports to its client beside outcomes.

use std::{
    fmt::Display,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    result,
};

use crate::protocol::REPORT;

pub type Result<T> = result::Result<T, String>;

pub trait Explain<T> {
    /// Says what failed, before why.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> Explain<T> for result::Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| format!("{}: {error}", what()))
    }
}

pub struct Report {
    folder: PathBuf,
}

impl Report {
    /// An empty report.
    pub fn new(outcomes: &Path) -> Result<Self> {
        let folder = outcomes.join(REPORT);
        fs::create_dir_all(&folder).explain(|| format!("failed to make `{}`", folder.display()))?;
        Ok(Self { folder })
    }

    /// Adds a line to one of its files.
    pub fn add(&self, name: &str, line: &str) -> Result<()> {
        let path = self.folder.join(name);
        let file = File::options().create(true).append(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .explain(|| format!("failed to write `{}`", path.display()))
    }
}
