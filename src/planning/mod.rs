//! How a whole cargo command is known before it runs: the dry run, what it records, and the barrier that units wait at.

pub mod barrier;
pub mod directives;
pub mod dry_run;
pub mod recorder;
pub mod schedule;
