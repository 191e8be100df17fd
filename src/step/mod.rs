//! A unit as a step: the task for the worker, its key, and the Dockerfile that runs a batch.

pub mod dockerfile;
pub mod image;
pub mod key;
#[path = "../../worker/lines.rs"]
pub mod lines;
#[path = "../../worker/pack.rs"]
pub mod pack;
pub mod plan;
#[path = "../../worker/protocol.rs"]
pub mod protocol;
pub mod spec;
pub mod task;
#[path = "../../worker/touched.rs"]
pub mod touched;
