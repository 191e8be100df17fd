//! What is remembered of units from one build to the next.

mod discovered;
mod traces;
