//! What is put under the user's target folder: artifacts, shims of build scripts, stubs.

pub mod install;
pub mod left;
pub mod shim;
pub mod stub;
