//! What the user asks for: the environment, the settings in it and in files, and how they
//! are explained.

pub mod env;
mod file;
pub mod help;
pub mod jobs;
mod layers;
pub mod located;
pub mod location;
mod member;
pub mod overrides;

pub mod resolved;
pub mod schema;
pub mod secrets;
pub mod settings;
pub mod table;
