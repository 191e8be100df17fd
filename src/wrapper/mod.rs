//! One call by cargo: who calls, what is asked for, and how the call ends.

pub mod build_script;
pub mod compile;
pub mod identity;
pub mod role;
