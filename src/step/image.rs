//! The image that units run in, as far as their steps depend on it.

use serde::{Deserialize, Serialize};

/// A resolved image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Image {
    /// The name it was asked for by.
    pub name: String,
    /// The name with the digest; the bare name where the image has none (never pushed or pulled).
    pub pinned: String,
    /// What its `rustc -vV` prints.
    pub version: String,
    /// Its `rustc --print sysroot`.
    pub sysroot: String,
    /// Its `PATH`.
    pub path: String,
    /// What its `getconf GNU_LIBC_VERSION` prints; empty for another C library.
    pub libc: String,
}

impl Image {
    /// A program of the image's toolchain.
    pub fn tool(&self, name: &str) -> String {
        format!("{}/bin/{name}", self.sysroot)
    }

    /// Whether its compilers make programs that load their C library when they start.
    pub fn has_shared_libc(&self) -> bool {
        self.host().ends_with("-gnu")
    }

    /// The target triple its compiler runs on.
    pub fn host(&self) -> &str {
        self.version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default()
    }
}
