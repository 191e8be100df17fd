//! Keys: the digest of all that decides a unit's outcome. Where two units have the same key, the
//! outcome of one serves the other.
//!
//! | part of a key | why |
//! |---|---|
//! | the image, by its digest | its compiler, linker and C library make the outcome |
//! | the command, word by word, in order | rustc's options are sensitive to their order |
//! | the variables that the unit gets | a crate may bake in any of them |
//! | of a secret variable, a keyed digest of its value | its value is in no Dockerfile |
//! | the working folder | messages and debug information contain it |
//! | the output folder and the umask | they are in dep-info and in the modes of files |
//! | each mount, by the key of its step or the digest of its files | it decides, too |
//!
//! A cache buster, where a step is to be one that no cache holds, makes another key. The key then
//! becomes the name of the step's process: see [`Step::called`](crate::step::spec::Step::called).

use crate::{step::dockerfile::Run, util::digest::digest};

/// Names a step and its provenance, and is the name of its stage or context in a Dockerfile.
pub type Key = String;

/// The key of a step that runs a unit in the image `base`.
pub fn of(base: &str, run: &Run) -> Key {
    let text = serde_json::to_string(run).expect("a step is plain text");
    format!("u{}", digest([base, &text]))
}
