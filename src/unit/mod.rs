//! What a unit of work is: one compile or one run of a build script, with no container in sight.

pub mod baked_paths;
pub mod outputs;
pub mod path_map;
pub mod work;
