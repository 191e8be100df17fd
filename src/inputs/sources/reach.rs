//! How far a package's files may refer to each other: the workspace or repository that the package
//! belongs to.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{config::env::Env, util::path::normalised};

/// The folders at which a tree ends.
#[derive(Clone)]
pub struct Homes {
    /// The user's home folder, which some keep under version control.
    pub user: Option<Utf8PathBuf>,
    pub cargo: Utf8PathBuf,
    /// The files that decide what leaves the sandbox.
    pub settings: Vec<Utf8PathBuf>,
}

impl Homes {
    pub fn of(env: &Env) -> Result<Self> {
        Ok(Self {
            user: env.get("HOME").map(Utf8PathBuf::from),
            cargo: env.cargo_home()?,
            settings: env.settings_files().iter().map(|path| normalised(path)).collect(),
        })
    }

    /// The folder under version control that a package is in; never the home folder, which some
    /// keep so.
    pub fn version_control_of<'a>(&self, package: &'a Utf8Path) -> Option<&'a Utf8Path> {
        self.folders_around(package).find(|dir| dir.join(".git").exists())
    }

    /// A package's folder and those that it is in, up to the home folder or the root, which do not
    /// count.
    fn folders_around<'a>(&self, package: &'a Utf8Path) -> impl Iterator<Item = &'a Utf8Path> {
        package
            .ancestors()
            .take_while(|dir| dir.parent().is_some() && Some(*dir) != self.user.as_deref())
    }

    /// The tree that a package belongs to: its repository, or the folder of the topmost manifest
    /// around it. For a package that cargo downloaded or vendored it is the package alone.
    pub fn tree_of(&self, package: &Utf8Path) -> Utf8PathBuf {
        let checkouts = self.cargo.join("git/checkouts");
        if let Ok(below) = package.strip_prefix(&checkouts) {
            // A folder for the repository, and one in it for the revision.
            return checkouts.join(below.components().take(2).collect::<Utf8PathBuf>());
        }
        if self.is_from_elsewhere(package) {
            return package.to_owned();
        }
        let topmost =
            || self.folders_around(package).filter(|dir| dir.join("Cargo.toml").exists()).last();
        self.version_control_of(package).or_else(topmost).unwrap_or(package).to_owned()
    }

    /// Whether cargo downloaded a package, or `cargo vendor` did.
    pub fn is_from_elsewhere(&self, package: &Utf8Path) -> bool {
        package.starts_with(&self.cargo) || package.join(".cargo-checksum.json").exists()
    }

    /// The folder in which files may lie that a package names: its tree or, if it belongs to none,
    /// the folder that it is in.
    pub fn reach_of(&self, package: &Utf8Path) -> Utf8PathBuf {
        let tree = self.tree_of(package);
        let is_alone = tree == package && !self.is_from_elsewhere(package);
        let beside = self.folders_around(package).nth(1).filter(|_| is_alone);
        beside.map(Utf8Path::to_owned).unwrap_or(tree)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let files = [
            "w/Cargo.toml",
            "w/member/Cargo.toml",
            "w/vendor/a/Cargo.toml",
            "w/vendor/a/.cargo-checksum.json",
        ];
        for path in files.into_iter().chain([
            "repository/.git/HEAD",
            "repository/a/Cargo.toml",
            "lonely/Cargo.toml",
        ]) {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), "").unwrap();
        }
        (dir, root)
    }

    #[test]
    fn a_package_belongs_to_a_tree() {
        let (_dir, root) = tree();
        let homes = |home: &str| Homes {
            user: Some(root.join(home)),
            cargo: root.join("w/.cargo"),
            settings: vec![],
        };
        let case = |home: &str, package: &str, tree: &str, reach: &str| {
            let (homes, package) = (homes(home), root.join(package));
            assert_eq!(
                (homes.tree_of(&package), homes.reach_of(&package)),
                (root.join(tree), root.join(reach))
            );
        };
        case("none", "w/member", "w", "w");
        case("none", "repository/a", "repository", "repository");
        case("none", "w/vendor/a", "w/vendor/a", "w/vendor/a");
        case(
            "none",
            "w/.cargo/registry/src/i/a-1",
            "w/.cargo/registry/src/i/a-1",
            "w/.cargo/registry/src/i/a-1",
        );
        case(
            "none",
            "w/.cargo/git/checkouts/r/1a/b/c",
            "w/.cargo/git/checkouts/r/1a",
            "w/.cargo/git/checkouts/r/1a",
        );
        // The home folder is no tree, even where it is under version control or has a manifest.
        case("w", "w/member", "w/member", "w/member");
        case("repository", "repository/a", "repository/a", "repository/a");
    }

    #[test]
    fn what_was_downloaded_is_from_elsewhere() {
        let (_dir, root) = tree();
        let homes = Homes { user: None, cargo: root.join("w/.cargo"), settings: vec![] };
        assert!(homes.is_from_elsewhere(&root.join("w/.cargo/git/checkouts/r/1a")));
        assert!(homes.is_from_elsewhere(&root.join("w/vendor/a")));
        assert!(!homes.is_from_elsewhere(&root.join("w/member")));
    }

    #[test]
    fn the_home_folder_is_no_repository() {
        let (_dir, root) = tree();
        let package = root.join("repository/a");
        let homes = |home: &str| Homes {
            user: Some(root.join(home)),
            cargo: root.join("cargo"),
            settings: vec![],
        };
        assert_eq!(
            homes("none").version_control_of(&package),
            Some(root.join("repository").as_path())
        );
        assert_eq!(homes("repository").version_control_of(&package), None);
    }

    #[test]
    fn what_belongs_to_nothing_reaches_its_neighbours() {
        let (_dir, root) = tree();
        let homes = Homes { user: None, cargo: root.join("cargo"), settings: vec![] };
        let lonely = root.join("lonely");
        assert_eq!((homes.tree_of(&lonely), homes.reach_of(&lonely)), (lonely, root));
    }
}
