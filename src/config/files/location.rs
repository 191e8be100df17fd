//! Where a command of cargo's runs, and for which manifest: what decides whose settings hold.

use std::{fs, os::unix::ffi::OsStrExt};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use crate::{
    config::env::Env,
    util::{
        ancestors::{Process, nearest_cargo},
        process::{self, Cmd},
    },
};

const MANIFEST: &str = "--manifest-path";

/// A workspace. Source of the names: `cargo metadata`.
#[derive(Deserialize)]
pub struct Workspace {
    #[serde(rename = "workspace_root")]
    pub root: Utf8PathBuf,
    #[serde(rename = "packages")]
    pub members: Vec<Member>,
}

#[derive(Deserialize)]
pub struct Member {
    pub name: String,
    #[serde(rename = "manifest_path")]
    pub manifest: Utf8PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    folder: Utf8PathBuf,
    manifest: Option<Utf8PathBuf>,
}

impl Location {
    /// Of a command of cargo's in a folder.
    pub fn of_command(folder: &Utf8Path, words: &[String]) -> Self {
        let mut manifest = None;
        let own = words.iter().take_while(|word| *word != "--");
        let mut own = own.peekable();
        while let Some(word) = own.next() {
            let value = match word.strip_prefix(MANIFEST) {
                Some("") => own.peek().map(|value| value.as_str()),
                Some(rest) => rest.strip_prefix('='),
                None => continue,
            };
            manifest = value.map(|path| folder.join(path));
        }
        Self { folder: folder.to_owned(), manifest }
    }

    /// This process's folder.
    pub fn here(env: &Env) -> Option<Self> {
        Some(Self::of_command(&env.current_dir().ok()?, &[]))
    }

    /// Of the cargo that this process serves; `None` if there is none.
    pub fn of_cargo() -> Option<Self> {
        Self::of_process(&nearest_cargo()?)
    }

    pub fn of_process(cargo: &Process) -> Option<Self> {
        let folder = fs::read_link(format!("/proc/{}/cwd", cargo.id)).ok()?;
        let words = fs::read(format!("/proc/{}/cmdline", cargo.id)).ok()?;
        let words: Vec<String> = words
            .split(|byte| *byte == 0)
            .map(|word| std::ffi::OsStr::from_bytes(word).to_string_lossy().into_owned())
            .collect();
        Some(Self::of_command(&Utf8PathBuf::from_path_buf(folder).ok()?, &words))
    }

    /// Where cargo looks for its configuration.
    pub fn folder(&self) -> &Utf8Path {
        &self.folder
    }

    /// What tells it from all others.
    pub fn identity(&self) -> [&str; 2] {
        [self.folder.as_str(), self.manifest.as_ref().map_or("", |path| path.as_str())]
    }

    /// The manifests that decide in which workspace it is, there or not.
    pub fn manifests(&self) -> Vec<Utf8PathBuf> {
        let start = self.manifest.as_deref().and_then(Utf8Path::parent).unwrap_or(&self.folder);
        start.ancestors().map(|folder| folder.join("Cargo.toml")).collect()
    }

    /// The workspace, as cargo finds it; `None` if there is none.
    pub fn workspace(&self, env: &Env) -> Option<Workspace> {
        let nearest = || self.manifests().into_iter().find(|manifest| manifest.exists());
        let manifest = self.manifest.clone().or_else(nearest)?;
        let words = [
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version=1",
            MANIFEST,
            manifest.as_str(),
        ];
        let cargo = env.get("CARGO").unwrap_or("cargo");
        let finished = process::run(&Cmd::new(cargo, words)).ok()?;
        // Cargo says itself what is wrong.
        finished.status.success().then(|| serde_json::from_reader(finished.stdout).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_manifest() {
        let case = |words: &[&str], expected: Option<&str>| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let location = Location::of_command("/w".into(), &words);
            assert_eq!(location.manifest.as_deref().map(Utf8Path::as_str), expected, "{words:?}");
        };
        case(&["cargo", "build"], None);
        case(&["build", "--manifest-path", "a/Cargo.toml"], Some("/w/a/Cargo.toml"));
        case(&["build", "--manifest-path=/b/Cargo.toml", "-q"], Some("/b/Cargo.toml"));
        case(&["run", "--", "--manifest-path", "c/Cargo.toml"], None);
        case(&["build", "--manifest-path"], None);
    }

    #[test]
    fn cargo_knows_the_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        for (path, text) in [
            ("Cargo.toml", "[workspace]\nmembers = [\"m\"]\nexclude = [\"x\"]\n"),
            ("m/Cargo.toml", "[package]\nname = \"m\"\n"),
            ("m/src/lib.rs", ""),
            ("x/Cargo.toml", "[package]\nname = \"x\"\n"),
            ("x/src/lib.rs", ""),
        ] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), text).unwrap();
        }
        let env = Env::with(&[]);
        let case = |folder: &str, words: &[&str], expected: Option<(&str, &str)>| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let found = Location::of_command(&root.join(folder), &words).workspace(&env);
            let found = found.map(|workspace| {
                let members =
                    workspace.members.into_iter().map(|member| (member.name, member.manifest));
                (workspace.root, members.collect::<Vec<_>>())
            });
            let expected = expected.map(|(below, member)| {
                let manifest = root.join(member).join("Cargo.toml");
                (root.join(below), vec![(member.to_owned(), manifest)])
            });
            assert_eq!(found, expected, "{folder} {words:?}");
        };
        case("m/src", &[], Some((".", "m")));
        case("x", &[], Some(("x", "x")));
        case("x", &["--manifest-path", "../m/Cargo.toml"], Some((".", "m")));
        assert!(Location::of_command("/".into(), &[]).workspace(&env).is_none());
    }
}
