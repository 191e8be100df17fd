//! Folders as they were at one moment: what is in them, digested, and copied to where nobody writes
//! to it.

pub mod cargo_target;
pub mod content;
pub mod copy;
pub mod digests;
pub mod scan;
