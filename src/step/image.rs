//! The image that units run in, as far as their steps depend on it.

use serde::{Deserialize, Serialize};

/// How the names of images begin that are made here, which end with what they are made of. No
/// registry has them.
pub const MADE: &str = "localhost/rustcbuildx";

/// Whether what an image's name stands for never changes: it has a digest, or is one of [`MADE`].
/// Others whose names begin so are their users'.
pub fn is_for_good(name: &str) -> bool {
    let id = name.strip_prefix(MADE).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default();
    let is_digest = id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit());
    name.contains("@sha256:") || is_digest
}

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
    /// Variables that the settings give to all that runs in it.
    pub variables: Vec<(String, String)>,
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
        self.field("host: ")
    }

    /// The version of its compiler, as a number.
    pub fn release(&self) -> &str {
        self.field("release: ")
    }

    fn field(&self, name: &str) -> &str {
        self.version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_begins_like_ours_may_change() {
        assert!(is_for_good("rust@sha256:0"));
        assert!(is_for_good(&format!("{MADE}:{}", "0a".repeat(32))));
        for name in ["rust:1", "localhost/rustcbuildx", "localhost/rustcbuildx:making-tmpx"] {
            assert!(!is_for_good(name), "{name}");
        }
        assert!(!is_for_good(&format!("{MADE}-base:{}", "0a".repeat(32))));
    }
}
