//! What went wrong, in words, and what the worker reports to its client beside outcomes: files with
//! a line for each item.

use std::{
    fmt::Display,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    result,
};

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

/// The folder of the report, beside those of the outcomes.
const REPORT: &str = "report";
/// In the report: the number of the store. If the client counts on another, nothing was done.
pub const STORE: &str = "store";
/// In the report: the names of what the client is to send, before anything can run.
pub const LACKING: &str = "lacking";
/// In the report: the keys of tasks that could not run beside the others of this batch, and why.
pub const APART: &str = "apart";
/// In the report: the keys of tasks that cannot run beside any others, and why.
pub const ALONE: &str = "alone";

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
