//! Which folders of the host matter for a unit: its target folder, its workspace, and where cargo
//! puts what it downloads.

use std::iter;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::settings::CanonicalPaths,
    rustc::args::Flag,
    unit::{
        path_map::{CARGO_HOME, Pair, PathMap, TARGET, WORKSPACE},
        work::{Unit, Work},
    },
    util::path::normalised,
};

impl PathMap {
    /// The path map of a unit, by the folders that it names and what cargo wrote into them.
    pub fn of(unit: &Unit, choice: CanonicalPaths, cargo_home: &Utf8Path) -> Self {
        let mut pairs = vec![Pair::new(cargo_home.to_owned(), CARGO_HOME)];
        if let Some(host) = target_folder(unit) {
            // Where its path leads through a folder and up again, it has two.
            let plain = normalised(&host);
            pairs.extend((plain != host).then(|| Pair::new(plain, TARGET)));
            pairs.push(Pair::new(host, TARGET));
        }
        let is_dependency = is_dependency(unit, cargo_home);
        if choice == CanonicalPaths::All && !is_dependency {
            pairs.push(Pair::new(workspace_root(unit), WORKSPACE));
        }
        let is_common = match choice {
            CanonicalPaths::Dependencies => is_dependency,
            CanonicalPaths::All => true,
            CanonicalPaths::None => false,
        };
        Self::new(pairs, is_common)
    }
}

/// Whether a unit is of a package from a registry or git.
pub fn is_dependency(unit: &Unit, cargo_home: &Utf8Path) -> bool {
    downloaded(cargo_home).iter().any(|folder| unit.package.starts_with(folder))
}

/// Where cargo puts the packages of registries and of git.
pub fn downloaded(cargo_home: &Utf8Path) -> [Utf8PathBuf; 2] {
    ["registry/src", "git/checkouts"].map(|folder| cargo_home.join(folder))
}

/// The target or build folder that a unit writes to, if cargo left its notes there.
pub fn target_folder(unit: &Unit) -> Option<Utf8PathBuf> {
    let platform = match &unit.work {
        Work::Compile { args, .. } => args.value(Flag::Target),
        Work::BuildScript { .. } => unit.env.get("TARGET").map(String::as_str),
    };
    target_root(unit.out_dir(), platform)
}

/// The target or build folder around what is made for a `platform`, as `--target` names it.
pub fn target_root(out_dir: &Utf8Path, platform: Option<&str>) -> Option<Utf8PathBuf> {
    let mut noted = noted_folders(out_dir);
    let nearest = noted.next()?;
    // Cargo tags the folder of a platform as it does the one around it.
    let name =
        platform.and_then(|platform| Utf8Path::new(platform.trim_end_matches(".json")).file_name());
    let around = noted
        .next()
        .filter(|around| nearest.parent() == Some(around) && nearest.file_name() == name);
    Some(around.unwrap_or(nearest).to_owned())
}

/// The folders around a path in which cargo keeps notes, or a lock one below, the nearest first: a
/// temporary one has no note where `CARGO_CACHE_RUSTC_INFO=0`.
pub fn noted_folders(path: &Utf8Path) -> impl Iterator<Item = &Utf8Path> {
    let has = |dir: &Utf8Path, names: &[&str]| names.iter().any(|name| dir.join(name).exists());
    let below = iter::once(None).chain(path.ancestors().map(Some));
    path.ancestors().zip(below).filter_map(move |(dir, below)| {
        let is_locked =
            below.is_some_and(|below| has(below, &[".cargo-lock", ".cargo-build-lock"]));
        (is_locked || has(dir, &[".rustc_info.json", "CACHEDIR.TAG"])).then_some(dir)
    })
}

/// Where cargo starts the compiler of a member; its build script is started in its own folder.
fn workspace_root(unit: &Unit) -> Utf8PathBuf {
    match unit.work {
        Work::Compile { .. } => unit.cwd.clone(),
        Work::BuildScript { .. } => {
            let with_manifest =
                unit.package.ancestors().take_while(|dir| dir.join("Cargo.toml").exists());
            with_manifest.last().unwrap_or(&unit.package).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platforms_folder_is_no_target_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let folders = [
            "target/debug/deps",
            "target/own.one/debug/deps",
            "target/of-an-editor/debug/deps",
            "temporary/debug/deps",
        ];
        let notes = [
            "target/CACHEDIR.TAG",
            "target/own.one/CACHEDIR.TAG",
            "target/of-an-editor/.rustc_info.json",
            "temporary/debug/.cargo-lock",
        ];
        folders.iter().for_each(|folder| std::fs::create_dir_all(root.join(folder)).unwrap());
        notes.iter().for_each(|note| std::fs::write(root.join(note), "").unwrap());
        for (folder, platform, expected) in [
            (folders[0], None, Some("target")),
            (folders[0], Some("x86_64-unknown-linux-gnu"), Some("target")),
            (folders[1], Some("/w/own.one.json"), Some("target")),
            (folders[1], Some("own.one"), Some("target")),
            (folders[2], Some("x86_64-unknown-linux-gnu"), Some("target/of-an-editor")),
            (folders[3], None, Some("temporary")),
            ("src", None, None),
        ] {
            assert_eq!(
                target_root(&root.join(folder), platform),
                expected.map(|folder| root.join(folder))
            );
        }
    }
}
