//! What the user asks for: the environment, the settings in it and in files, and how they
//! are explained.

pub mod env;
pub mod files;
pub mod help;
pub mod jobs;
pub mod programs;
pub mod remotes;
pub mod secrets;
pub mod settings;
pub mod table;
pub mod values;
