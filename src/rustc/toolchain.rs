//! The local compiler, which the image's compiler replaces: which version it is.

use std::{fs, io::Read, os::unix::fs::MetadataExt};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use crate::{
    config::env::Env,
    util::{
        digest::digest,
        process::{self, Cmd},
        state_dir::Cache,
    },
};

/// What `rustc -vV` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

impl Version {
    /// Asks `rustc`, a name or path as cargo gives it; remembers the answer as long as the file is
    /// the same and the environment, not the folder, chooses the toolchain behind a rustup proxy.
    pub fn of(rustc: &str, env: &Env, cache: &Cache) -> Result<Self> {
        let path = which::which(rustc)
            .with_context(|| format!("failed to find the compiler `{rustc}`"))?;
        let path = Utf8Path::from_path(&path).context("the compiler's path is not UTF-8")?;
        let is_proxy = fs::canonicalize(path)
            .is_ok_and(|file| file.file_name().is_some_and(|name| name == "rustup"));
        let toolchain = env.get("RUSTUP_TOOLCHAIN").unwrap_or_default();
        if is_proxy && toolchain.is_empty() {
            return Self::ask(path);
        }
        let data = fs::metadata(path).with_context(|| format!("failed to read `{path}`"))?;
        let name = digest([
            path.as_str(),
            toolchain,
            &format!("{} {}.{}", data.len(), data.mtime(), data.mtime_nsec()),
        ]);
        let name = format!("rustc/{name}");
        if let Some(version) = cache.read(&name) {
            return Ok(Self(version));
        }
        let version = Self::ask(path)?;
        cache.write(&name, &version.0)?;
        Ok(version)
    }

    fn ask(path: &Utf8Path) -> Result<Self> {
        let mut finished = process::run(&Cmd::new(path.as_str(), ["-vV"]))?;
        if !finished.status.success() {
            bail!("failed to ask `{path} -vV`: {}", finished.stderr.trim());
        }
        let mut text = String::new();
        finished
            .stdout
            .read_to_string(&mut text)
            .with_context(|| format!("failed to read what `{path} -vV` says"))?;
        Ok(Self(text.trim().to_owned()))
    }

    /// One of its lines, such as `release` or `host`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The first line: name, version, commit.
    pub fn short(&self) -> &str {
        self.0.lines().next().unwrap_or_default()
    }
}
