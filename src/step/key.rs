//! Keys: the digest of all that decides a unit's outcome. Where two units have the same key, the
//! outcome of one serves the other.
//!
//! | part of a key | why |
//! |---|---|
//! | the image, by its digest | its compiler, linker and C library make the outcome |
//! | the command, word by word, in order | rustc's options are sensitive to their order |
//! | the variables that the unit gets | a crate may bake in any of them |
//! | of a secret variable, a keyed digest of its value | its value is in no task |
//! | the working folder | messages and debug information contain it |
//! | the output folder and the umask | they are in dep-info and in the modes of files |
//! | each input, by the key of its step or the digest of its files | it decides, too |
//! | the name of the folder with incremental state | what is in there decides, too |
//!
//! A key comes from the text of the task
//! ([`Task::identity`](crate::step::protocol::Task::identity)), in which the protocol's version is,
//! too.

use crate::{
    step::protocol::{Source, Task},
    util::digest::digest,
};

/// Names a step and its provenance, and its outcome in the engine and in the store.
pub type Key = String;

/// The key of what is made for one command of cargo only, and of `key` otherwise.
pub fn of_command(key: &str, command: &str) -> Key {
    format!("u{}", digest([key, command]))
}

/// A digest of all that decides a task's outcome but the files that it is sent.
pub fn declared(base: &str, task: &Task) -> String {
    let mut declared = task.clone();
    declared.inputs.retain(|input| matches!(input.from, Source::Outcome(_)));
    format!("d{}", digest([base, &declared.identity()]))
}

/// The key of a task that runs in the image `base`.
pub fn of(base: &str, task: &Task) -> Key {
    format!("u{}", digest([base, &task.identity()]))
}
