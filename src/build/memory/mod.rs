//! What is remembered of units from one build to the next.

mod about;
pub(super) mod discovered;
mod traces;
