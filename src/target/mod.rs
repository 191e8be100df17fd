//! What is put under the user's target folder: artifacts, shims of build scripts, stubs; and what
//! units wrote elsewhere.

pub mod deferred;
pub mod install;
pub mod shim;
pub mod stub;
pub mod written;
