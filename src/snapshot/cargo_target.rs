//! Recognizes cargo's target folders by what lies in them: other tools write the same tag, and not
//! every target folder has one.
//!
//! Source: `core/compiler/layout.rs` of cargo for the names, `cargo_util::paths` for the words of
//! its tag.

use std::{ffi::OsStr, fs, path::Path};

/// In the root of a target folder only.
const NOTES: &str = ".rustc_info.json";
const TAG: &str = "CACHEDIR.TAG";
/// How cargo's own tag differs from those of other tools.
const TAGGED_BY_CARGO: &[u8] = b"created by cargo";
/// In a profile's folder only.
const LOCKS: &[&str] = &[".cargo-lock", ".cargo-build-lock", ".cargo-artifact-lock"];
const FINGERPRINTS: &str = ".fingerprint";
/// In a profile's folder, too.
const CONTENTS: &[&str] = &["build", "deps", "examples", "incremental"];

/// Whether a folder with just these entries is a target folder, or that of a profile in one. One
/// with a manifest is a package, whatever else a user has cargo put there.
pub fn is_one<'a>(dir: &Path, names: impl Iterator<Item = &'a OsStr> + Clone) -> bool {
    let has =
        |wanted: &[&str]| names.clone().any(|name| wanted.iter().any(|wanted| name == *wanted));
    if has(&["Cargo.toml"]) {
        return false;
    }
    has(&[NOTES])
        || (has(LOCKS) || has(&[FINGERPRINTS])) && has(CONTENTS)
        || has(&[TAG]) && is_cargos(&dir.join(TAG))
}

fn is_cargos(tag: &Path) -> bool {
    fs::read(tag).is_ok_and(|text| memchr::memmem::find(&text, TAGGED_BY_CARGO).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(names: &[&str], expected: bool) {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(is_one(dir.path(), names.iter().map(OsStr::new)), expected, "{names:?}");
    }

    #[test]
    fn target_folders_are_known_by_what_lies_in_them() {
        case(&[".rustc_info.json"], true);
        case(&[".fingerprint", "deps"], true);
        case(&[".cargo-lock", "examples", "app"], true);
        case(&[".cargo-build-lock", "build"], true);
        case(&[".rustc_info.json", "Cargo.toml", "src", "debug"], false);
        case(&["build", "deps"], false);
        case(&[".fingerprint"], false);
        case(&["CACHEDIR.TAG", "deps"], false);
        case(&[], false);
    }

    #[test]
    fn only_cargos_own_tag_counts() {
        let dir = tempfile::tempdir().unwrap();
        let signature = "Signature: 8a477f597d28d172789f06886806bc55\n";
        for (text, expected) in
            [("", false), ("# This file is a cache directory tag created by cargo.\n", true)]
        {
            fs::write(dir.path().join(TAG), format!("{signature}{text}")).unwrap();
            assert_eq!(is_one(dir.path(), [OsStr::new(TAG)].into_iter()), expected, "{text}");
        }
    }
}
