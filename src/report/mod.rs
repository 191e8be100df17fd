//! What a person is told about a build: notices, unknown settings, timings.

pub mod misspelt;
pub mod notice;
pub mod timings;
