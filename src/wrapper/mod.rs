//! One call by cargo: who calls, and what becomes of the call.

pub mod build_script;
pub mod compile;
pub mod identity;
pub mod role;
