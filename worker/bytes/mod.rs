//! What looks at every byte of outcomes, or at every call of a task's processes.
//!
//! In the engine this is a crate of its own: it alone is optimized, which takes most of the time
//! that a compiler needs for the worker.

pub mod lz4;
pub mod memory;
pub mod ring_buffer;
pub mod search;
pub mod sum;
pub mod texts;
