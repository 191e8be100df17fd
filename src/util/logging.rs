//! The log: off unless asked for.

use std::fs::OpenOptions;

use anyhow::{Context, Result};
use env_logger::{Builder, Target};

/// How to log.
#[derive(Clone, Debug)]
pub struct Log {
    pub filter: Option<String>,
    pub style: String,
    pub path: Option<String>,
}

/// Starts logging as set; fails if the log's file cannot be opened.
pub fn start(log: &Log) -> Result<()> {
    let Some(filter) = &log.filter else { return Ok(()) };
    let mut builder = Builder::new();
    builder.parse_filters(filter).parse_write_style(&log.style).format_timestamp_millis();
    if let Some(path) = &log.path {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| {
            format!("failed to open the log `{path}` (hint: RUSTCBUILDX_LOG_PATH names it)")
        })?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    builder.try_init().context("failed to start the log")
}
