//! A unit as a step of a container: its mounts, its command, and the Dockerfile that runs it.

pub mod dockerfile;
pub mod image;
pub mod key;
pub mod layout;
pub mod plan;
pub mod spec;
pub mod stage;
