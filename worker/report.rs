//! What the worker reports to its client beside outcomes: files with a line for each item.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use crate::problem::{Explain, Result};

/// The folder of the report, beside those of the outcomes.
const REPORT: &str = "report";
/// In the report: the names of what the client is to send, before anything can run.
pub const LACKING: &str = "lacking";
/// In the report: the keys of tasks that cannot run beside the others, and why.
pub const FALLBACK: &str = "apart";

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
