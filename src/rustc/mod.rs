//! rustc's own words: its arguments, what they say about outputs, and what it writes and prints.

pub mod args;
pub mod crate_type;
pub mod dep_info;
pub mod emit;
pub mod outputs;
pub mod tool;
pub mod toolchain;
