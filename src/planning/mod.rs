//! What is known of a whole cargo command before it runs: its dry run, the units recorded in it,
//! their order, and the barrier at which units wait for the plan.

pub mod barrier;
pub mod directives;
pub mod dry_run;
pub mod recorder;
pub mod schedule;
