//! Where things are in a container: every path and name that a step and its reader agree on.

/// The folder that holds a unit's outcome in its stage.
///
/// Not right below the root: to digest a folder, BuildKit walks all of the folder that it is in.
pub const OUT: &str = "/rustcbuildx/outcome";
/// Where a step copies its outcome to, for the steps of later builds: see [`crate::engine::kept`].
pub const KEPT: &str = "/rustcbuildx/kept";
/// Under [`OUT`] and [`KEPT`]: the files the unit wrote.
pub const FILES: &str = "files";
/// Under [`OUT`]: the process's standard output.
pub const STDOUT: &str = "stdout";
/// Under [`OUT`]: the process's standard error.
pub const STDERR: &str = "stderr";
/// Under [`OUT`]: the process's exit status as a shell gives it.
pub const STATUS: &str = "status";
/// Under [`OUT`]: the number of the build that ran the process. If it is another build's number,
/// the engine reused that build's outcome.
pub const BUILD_ID: &str = "nonce";
/// Under [`OUT`]: exists if the files stayed in the engine; see [`crate::target::left`].
pub const LEFT: &str = "left";
/// The secret with the build's number, how many threads a compiler may use and, where they are
/// bounded, how many of the build's processes may run at once, or `all` for one on each processor.
/// A secret is no part of the cache key.
pub const BUILD_SECRET: &str = "RUSTCBUILDX_BUILD";
/// The folder with a folder for each crate that is mounted from the engine's cache. Links lead
/// there from the crates' own paths. Some processes print where a link leads: a linker that fails
/// prints its inputs so.
pub const CRATES: &str = "/rustcbuildx/crates";
/// How a step's output begins if one of those crates is missing.
pub const MISSED: &str = "open /rustcbuildx/crates";
/// Lock files shared by all steps of a build.
pub const JOB_TOKENS: &str = "/rustcbuildx/slots";
/// The cache mount of lock files: alone among them it holds nothing that a unit's outcome depends
/// on.
pub const JOB_TOKENS_ID: &str = "rustcbuildx-slots";
/// The folder of the `git` that notes that it was called: first in a build script's `PATH`.
pub const BIN: &str = "/rustcbuildx/bin";
/// Under [`OUT`]: there if a build script called git.
pub const CALLED: &str = "git";
