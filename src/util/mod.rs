//! What every room uses and no room owns: files, processes, text.

pub mod ancestors;
pub mod digest;
pub mod disk;
pub mod logging;
pub mod path;
pub mod process;
pub mod quote;
pub mod spelling;
pub mod state_dir;
