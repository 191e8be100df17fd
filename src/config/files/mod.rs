//! The settings that stand in files: which files there are, what each says, and which of them
//! decides.

pub mod cargo;
mod file;
mod layers;
pub mod located;
pub mod location;
pub mod lock;
mod member;
pub mod overrides;
pub mod registries;
pub mod resolved;
pub mod schema;
