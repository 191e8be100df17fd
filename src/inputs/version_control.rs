//! What a unit gets of the repository that its package is in, once it asked for any of it: what
//! tells the revision, and the objects only if it looks for one. Of the configuration, what may be
//! a secret is left out.
//!
//! Source: git's `gitrepository-layout` and `git-config` documentation.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{config::secrets, inputs::sources::Homes, util::path::normalised};

/// The folders in which a repository's data is, of which one may be another repository's.
pub struct VersionControl {
    /// That of a working tree: its `HEAD` and its index.
    own: Utf8PathBuf,
    /// What all working trees of a repository have in common: references and objects.
    common: Utf8PathBuf,
    /// A file in the place of the folder, which says where that is.
    link: Option<Utf8PathBuf>,
}

impl VersionControl {
    /// That which a package of the user's own is in; `None` for one that cargo downloaded.
    pub fn of(package: &Utf8Path, homes: &Homes) -> Option<Self> {
        if homes.is_from_elsewhere(package) {
            return None;
        }
        let place = homes.version_control_of(package)?.join(".git");
        let (own, link) = match fs::read_to_string(&place) {
            Ok(text) => {
                let named = text.strip_prefix("gitdir:")?.trim();
                (normalised(&place.parent()?.join(named)), Some(place))
            }
            Err(_) => (place, None),
        };
        let common = match fs::read_to_string(own.join("commondir")) {
            Ok(named) => normalised(&own.join(named.trim())),
            Err(_) => own.clone(),
        };
        Some(Self { own, common, link })
    }

    /// Whether a path is the repository's.
    pub fn has(&self, path: &Utf8Path) -> bool {
        [&self.own, &self.common].into_iter().chain(&self.link).any(|own| path.starts_with(own))
    }

    /// What to give to a unit that asked for these paths of it. Of the objects, one leads to the
    /// next, so it is all of them.
    pub fn paths<'a>(
        &self,
        asked: impl Iterator<Item = &'a Utf8Path> + Clone,
    ) -> impl Iterator<Item = Utf8PathBuf> {
        let objects = self.common.join("objects");
        let is_object = |path: &Utf8Path| {
            path.strip_prefix(&objects).is_ok_and(|below| below != "" && below != "info")
        };
        let wants_objects = asked.clone().any(is_object);
        let own = ["HEAD", "commondir", "gitdir"].map(|name| self.own.join(name));
        let common = ["HEAD", "config", "info", "objects/info", "packed-refs", "refs", "shallow"]
            .map(|name| self.common.join(name));
        let own_files = asked
            .filter(|path| self.has(path) && path.is_file() && !path.starts_with(&objects))
            .map(Utf8Path::to_owned)
            .collect::<Vec<_>>();
        self.link
            .clone()
            .into_iter()
            .chain(own)
            .chain(common)
            .chain(own_files)
            .chain(wants_objects.then_some(objects))
            .filter(|path| path.exists())
    }
}

/// Whether a file is a repository's configuration, which may hold a password or a token.
pub fn is_config(path: &Utf8Path) -> bool {
    matches!(path.file_name(), Some("config" | "config.worktree"))
        && path.parent().is_some_and(|folder| folder.join("HEAD").is_file())
}

/// The text of a configuration without what may be a secret: a header, and what stands before the
/// host in an address. A setting goes on behind a line that ends with a backslash.
pub fn without_secrets(config: &str) -> String {
    let mut text = String::with_capacity(config.len());
    let (mut is_secret, mut goes_on) = (false, false);
    for line in config.split_inclusive('\n') {
        let name = line.split('=').next().unwrap_or_default().trim().to_lowercase();
        is_secret = if goes_on {
            is_secret
        } else {
            SECRET_NAMES.iter().any(|secret| name.ends_with(secret))
        };
        goes_on = line.trim_end_matches(['\n', '\r']).ends_with('\\');
        if is_secret {
            continue;
        }
        let mut rest = 0;
        for user in secrets::users_of_addresses(line) {
            text.push_str(&line[rest..user.start]);
            rest = user.end;
        }
        text.push_str(&line[rest..]);
    }
    text
}

/// How the names of settings end whose values may be secrets.
const SECRET_NAMES: &[&str] = &["extraheader", "password", "token", "cookiefile", "helper"];

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        for (path, text) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        (dir, root)
    }

    const FILES: &[(&str, &str)] = &[
        ("w/.git/HEAD", "ref: refs/heads/main"),
        ("w/.git/config", ""),
        ("w/.git/index", ""),
        ("w/.git/refs/heads/main", ""),
        ("w/.git/objects/ab/cd", ""),
        ("w/.git/worktrees/x/HEAD", ""),
        ("w/.git/worktrees/x/commondir", "../.."),
        ("w/member/Cargo.toml", ""),
        ("x/.git", "gitdir: ../w/.git/worktrees/x\n"),
        ("x/Cargo.toml", ""),
    ];

    #[test]
    fn objects_come_with_the_first_that_is_looked_for() {
        let (_dir, root) = tree(FILES);
        let homes = Homes { user: None, cargo: root.join("cargo"), settings: vec![] };
        let case = |package: &str, asked: &[&str], expected: &[&str]| {
            let version_control = VersionControl::of(&root.join(package), &homes).unwrap();
            let asked: Vec<Utf8PathBuf> = asked.iter().map(|path| root.join(path)).collect();
            let mut given: Vec<_> =
                version_control.paths(asked.iter().map(Utf8PathBuf::as_path)).collect();
            given.sort();
            given.dedup();
            let expected: Vec<_> = expected.iter().map(|path| root.join(path)).collect();
            assert_eq!(given, expected);
        };
        let usual = ["w/.git/HEAD", "w/.git/config", "w/.git/refs"];
        case("w/member", &["w/.git", "w/.git/objects"], &usual);
        case(
            "w/member",
            &["w/.git/index"],
            &[&usual[..2], &["w/.git/index"], &usual[2..]].concat(),
        );
        let looked_for = ["w/.git/objects/ab/ef"];
        case("w/member", &looked_for, &[&usual[..2], &["w/.git/objects"], &usual[2..]].concat());
        let of_tree = ["w/.git/worktrees/x/HEAD", "w/.git/worktrees/x/commondir", "x/.git"];
        case("x", &["x/.git"], &[&usual[..], &of_tree[..]].concat());
    }

    #[test]
    fn what_was_downloaded_has_no_repository() {
        let (_dir, root) = tree(FILES);
        let homes = Homes { user: None, cargo: root.clone(), settings: vec![] };
        assert!(VersionControl::of(&root.join("w/member"), &homes).is_none());
    }

    #[test]
    fn a_configuration_comes_without_secrets() {
        let config = "[remote \"origin\"]\n\turl = https://me:token@host/a.git\n[http \
                      \"https://host/\"]\n\textraheader = AUTHORIZATION: \\\n\tbasic x\n[core]\n\tbare = \
                      false\n\turl = git@host:a\n[url \"https://me:token@a/\"]\n\tinsteadOf = \
                      ssh://git@b/\n";
        let expected = "[remote \"origin\"]\n\turl = https://host/a.git\n[http \
                        \"https://host/\"]\n[core]\n\tbare = false\n\turl = git@host:a\n[url \"https://a/\"]\n\tinsteadOf = ssh://b/\n";
        assert_eq!(without_secrets(config), expected);
    }
}
