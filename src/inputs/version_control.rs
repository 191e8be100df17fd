//! Version control never leaves this machine: a build script that asks about it is run here instead
//! of in a container.

use crate::{inputs::sources::Homes, store::archive::Outcome, unit::work::Unit};

/// Whether a build script asked about the repository that its package is in, of which its container
/// has nothing.
///
/// Never that of a package from elsewhere: it would be a way out of the sandbox.
pub fn is_missed(unit: &Unit, outcome: &Outcome, homes: &Homes) -> bool {
    unit.is_build_script()
        && (outcome.called_git || misses_one(&outcome.stdout) || misses_one(&outcome.stderr))
        && homes.version_control_of(&unit.package).is_some()
        && !homes.is_from_elsewhere(&unit.package)
}

/// What libraries say that read a repository by themselves. Source: libgit2, gix, and vergen's name
/// for no answer.
fn misses_one(said: &[u8]) -> bool {
    let texts =
        ["could not find repository", "not find a git repository", "VERGEN_IDEMPOTENT_OUTPUT"];
    texts.iter().any(|text| memchr::memmem::find(said, text.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_say_what_they_miss() {
        assert!(misses_one(b"cargo:rustc-env=VERGEN_GIT_SHA=VERGEN_IDEMPOTENT_OUTPUT"));
        assert!(!misses_one(b"cargo:rerun-if-changed=build.rs"));
    }
}
