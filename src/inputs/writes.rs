//! Where units may write outside of their output folders, as they do where plain cargo builds them:
//! a build script generates sources, a macro notes what it has seen.
//!
//! Only members of the user's workspace may, within the tree that they belong to and the target
//! folder of their build; and never to what runs later by itself.

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    inputs::sources::{Homes, target_folder},
    unit::work::Unit,
};

/// Names of files and folders that tools run programs from, or by, on their own: version control,
/// cargo, rustup, shells, editors and CI. Manifests have settings of ours.
const RUN_BY_THEMSELVES: &[&str] = &[
    ".cargo",
    ".circleci",
    ".config",
    ".devcontainer",
    ".envrc",
    ".git",
    ".github",
    ".gitlab-ci.yml",
    ".gitmodules",
    ".hg",
    ".husky",
    ".idea",
    ".jj",
    ".svn",
    ".vscode",
    "Cargo.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// Whether a unit may write to a path, if it belongs to a member. A link on the way there may lead
/// anywhere, and an earlier build of the same unit may have made it.
pub fn is_within_reach(unit: &Unit, path: &Utf8Path, homes: &Homes) -> bool {
    let runs_by_itself = path.components().any(|part| RUN_BY_THEMSELVES.contains(&part.as_str()));
    let decides = homes.settings.iter().any(|file| file.starts_with(path));
    let roots = [homes.tree_of(&unit.package)].into_iter().chain(target_folder(unit));
    !runs_by_itself
        && !decides
        && roots.into_iter().any(|root| path.starts_with(&root) && !has_link(&root, path))
}

/// Whether a folder between a root and a path in it is a link.
fn has_link(root: &Utf8Path, path: &Utf8Path) -> bool {
    path.ancestors().skip(1).take_while(|folder| *folder != root).any(Utf8Path::is_symlink)
}

/// Whether a unit's package is the user's own, and not one that cargo downloaded.
pub fn is_of_member(unit: &Unit, homes: &Homes) -> bool {
    !homes.is_from_elsewhere(&unit.package)
}

/// The folder to open for a unit that writes to a path: the one that it is in, or the nearest
/// around that which exists.
pub fn folder_to_open(path: &Utf8Path) -> Option<Utf8PathBuf> {
    path.ancestors().skip(1).find(|folder| folder.is_dir()).map(Utf8Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::work::Work;

    #[test]
    fn members_write_within_their_tree_and_never_to_what_runs_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        for file in ["w/Cargo.toml", "w/member/Cargo.toml", "w/target/debug/.cargo-lock"] {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), "").unwrap();
        }
        let settings = vec![root.join("w/shared/team.toml")];
        let homes = Homes { user: None, cargo: root.join("cargo"), settings };
        let out_dir = root.join("w/target/debug/build/member-1/out");
        let work = Work::BuildScript { program: "/b".into(), out_dir, library_path: vec![] };
        let unit = Unit::new(work, root.join("w/member"), root.join("w/member"));
        let case = |path: &str, expected: bool| {
            assert_eq!(is_within_reach(&unit, &root.join(path), &homes), expected, "{path}");
        };
        case("w/member/src/generated.rs", true);
        case("w/assets/a.css", true);
        case("w/target/debug/assets/a.css", true);
        case("elsewhere/a", false);
        case("w/.git/hooks/post-checkout", false);
        case("w/member/.cargo/config.toml", false);
        case("w/rust-toolchain.toml", false);
        case("w/.config/rustcbuildx.toml", false);
        case("w/new/Cargo.toml", false);
        case("w/shared/team.toml", false);
        case("w/shared", false);
        case("w/shared/other", true);
        assert!(is_of_member(&unit, &homes));
        // Links lead out, also those that lead to where it may write; a target folder may be one.
        std::os::unix::fs::symlink(root.join("elsewhere"), root.join("w/out")).unwrap();
        std::os::unix::fs::symlink("assets", root.join("w/styles")).unwrap();
        case("w/out/a", false);
        case("w/styles/a", false);
        case("w/out", true);
        std::fs::rename(root.join("w/target"), root.join("target")).unwrap();
        std::os::unix::fs::symlink("../target", root.join("w/target")).unwrap();
        case("w/target/debug/assets/a.css", true);
        let folder = |path: &str| folder_to_open(&root.join(path));
        assert_eq!(folder("w/member/gen/new/a.rs"), Some(root.join("w/member")));
        assert_eq!(folder("w/member/a.rs"), Some(root.join("w/member")));
    }
}
