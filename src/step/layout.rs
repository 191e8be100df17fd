//! Where things are: every path in a container, and every name in an outcome, that the worker and
//! its client agree on.

/// The folder of everything in a container that belongs to the worker.
pub const WORKER: &str = "/rustcbuildx";
/// The folder of the `git` that notes that it was called and becomes the image's own. It comes
/// first in a build script's `PATH`.
pub const BIN: &str = "/rustcbuildx/bin";

/// In an outcome: the folder of the files that the task wrote.
pub const FILES: &str = "files";
/// In an outcome: the process's standard output.
pub const STDOUT: &str = "stdout";
/// In an outcome: the process's standard error.
pub const STDERR: &str = "stderr";
/// In an outcome: the process's exit status as a shell gives it.
pub const STATUS: &str = "status";
/// In an outcome: the number of the call in which it was made.
pub const BUILD_ID: &str = "nonce";
/// In an outcome: exists if the files stayed in the engine; see [`crate::target::deferred`].
pub const DEFERRED: &str = "left";
/// In an outcome: exists if a build script called git.
pub const CALLED_GIT: &str = "git";
