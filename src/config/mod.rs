//! What the user asks for: the environment, the settings in it, and how they are explained.

pub mod env;
pub mod help;
pub mod jobs;
pub mod secrets;
pub mod settings;
