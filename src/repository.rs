//! Version control, which stays on this machine: a build script that asks about it is run here.

use camino::Utf8Path;

use crate::{artifacts::Outcome, env::Env, unit::Unit};

/// The folder of [`WITNESS`]'s program: first in a build script's `PATH`.
pub const BIN: &str = "/rustcbuildx/bin";
/// Under [`OUT`](crate::stage::OUT): there if a build script called git.
pub const CALLED: &str = "git";

/// Makes a `git` that leaves a mark and becomes the image's own, if that has one.
pub const WITNESS: &str = r#"mkdir -p /rustcbuildx/bin && cat >/rustcbuildx/bin/git <<'END' && chmod 755 /rustcbuildx/bin/git || exit
#!/bin/sh
: >/rustcbuildx/outcome/git
PATH=${PATH#/rustcbuildx/bin:}; exec git "$@"
END
"#;

/// Whether a build script asked about the repository that its package is in, of which its container has nothing.
///
/// Never that of a package from elsewhere: it would be a way out of the sandbox.
pub fn is_missed(unit: &Unit, outcome: &Outcome, env: &Env) -> bool {
    unit.is_build_script()
        && (outcome.called_git || misses_one(&outcome.stdout) || misses_one(&outcome.stderr))
        && around(&unit.package, env.get("HOME")).is_some()
        && !is_from_elsewhere(&unit.package, env)
}

/// Whether cargo downloaded a package, or `cargo vendor` did.
fn is_from_elsewhere(package: &Utf8Path, env: &Env) -> bool {
    let is_downloaded = env.cargo_home().is_ok_and(|home| package.starts_with(home));
    is_downloaded || package.join(".cargo-checksum.json").exists()
}

/// The folder under version control that a package is in; never the home folder, which some keep so.
pub fn around<'a>(package: &'a Utf8Path, home: Option<&str>) -> Option<&'a Utf8Path> {
    folders_around(package, home).find(|dir| dir.join(".git").exists())
}

/// A package's folder and those that it is in, up to the home folder or the root, which do not count.
pub fn folders_around<'a>(package: &'a Utf8Path, home: Option<&str>) -> impl Iterator<Item = &'a Utf8Path> {
    package.ancestors().take_while(move |dir| dir.parent().is_some() && Some(dir.as_str()) != home)
}

/// What libraries say that read a repository by themselves. Source: libgit2, gix, and vergen's name for no answer.
fn misses_one(said: &[u8]) -> bool {
    let texts = ["could not find repository", "not find a git repository", "VERGEN_IDEMPOTENT_OUTPUT"];
    texts.iter().any(|text| memchr::memmem::find(said, text.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_folder_is_no_repository() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("w/p")).unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        let package = root.join("w/p");
        assert_eq!(around(&package, None), Some(root));
        assert_eq!(around(&package, Some(root.as_str())), None);
    }

    #[test]
    fn what_was_downloaded_is_from_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let env = Env::with(&[("CARGO_HOME", root.join("cargo").as_str())]);
        assert!(is_from_elsewhere(&root.join("cargo/git/checkouts/a/1"), &env));
        assert!(!is_from_elsewhere(root, &env));
        std::fs::write(root.join(".cargo-checksum.json"), "{}").unwrap();
        assert!(is_from_elsewhere(root, &env));
    }

    #[test]
    fn libraries_say_what_they_miss() {
        assert!(misses_one(b"cargo:rustc-env=VERGEN_GIT_SHA=VERGEN_IDEMPOTENT_OUTPUT"));
        assert!(!misses_one(b"cargo:rerun-if-changed=build.rs"));
    }
}
