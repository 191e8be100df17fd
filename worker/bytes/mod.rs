//! What looks at every byte of outcomes.
//!
//! In the engine this is a crate of its own: it alone is optimized, which takes most of the time
//! that a compiler needs for the worker.

pub mod lz4;
pub mod search;
pub mod sum;
