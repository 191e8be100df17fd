//! What is remembered of units from one build to the next.

mod about;
mod discovered;
mod traces;
