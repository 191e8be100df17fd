//! What is known of a whole cargo command before it runs: its dry run, the units recorded in it,
//! their order, how many an edit of one reaches, the barrier at which units wait for the plan, and
//! the planner in the background.

pub mod background;
pub mod barrier;
pub mod caller;
pub mod directives;
pub mod dry_run;
pub mod reach;
pub mod recorder;
pub mod schedule;
