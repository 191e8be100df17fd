//! What a unit of work is: one compile or one run of a build script, with no container in sight.

pub mod baked_paths;
pub mod invocation;
pub mod path_map;
pub mod published_paths;
pub mod target_dir;
pub mod variables;
pub mod work;
