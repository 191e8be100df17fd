//! Outcomes that are kept on this machine, and how each known artifact came to be.

pub mod about;
pub mod archive;
pub mod local;
pub mod provenance;
pub mod retention;
pub mod staging;
pub mod statistics;
pub mod traces;
