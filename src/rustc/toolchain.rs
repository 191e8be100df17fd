//! The local compiler, which the image's compiler replaces: which version it is.

use std::{fs, io, os::unix::fs::MetadataExt};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

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
    /// Asks `rustc`, a name or path as cargo gives it; remembers the answer as long as the files
    /// are the same. Not, if a rustup proxy decides by the folder which toolchain is asked.
    pub fn of(rustc: &str, env: &Env, cache: &Cache) -> Result<Self> {
        let path = which::which(rustc)
            .with_context(|| format!("failed to find the compiler `{rustc}`"))?;
        let path = Utf8Path::from_path(&path).context("the compiler's path is not UTF-8")?;
        let is_proxy = fs::canonicalize(path)
            .is_ok_and(|file| file.file_name().is_some_and(|name| name == "rustup"));
        let real = if is_proxy { behind_proxy(env) } else { Some(path.to_owned()) };
        let Some(real) = real else { return Self::ask(path) };
        let stamps = files_of(&real).into_iter().map(|file| {
            let data = fs::metadata(&file).ok()?;
            Some(format!("{file} {} {}.{}", data.len(), data.mtime(), data.mtime_nsec()))
        });
        let name = format!("rustc/{}", digest(stamps.map(Option::unwrap_or_default)));
        if let Some(version) = cache.read(&name) {
            return Ok(Self(version));
        }
        let version = Self::ask(path)?;
        cache.write(&name, &version.0)?;
        Ok(version)
    }

    /// Asks a compiler, whatever is remembered.
    pub fn ask(path: &Utf8Path) -> Result<Self> {
        answer(path.as_str(), &["-vV"]).map(Self)
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
/// The folder that a compiler's toolchain is in.
pub fn sysroot(rustc: &str) -> Result<Utf8PathBuf> {
    answer(rustc, &["--print", "sysroot"]).map(Utf8PathBuf::from)
}

/// What a program of a toolchain says when it is asked.
pub fn answer(program: &str, words: &[&str]) -> Result<String> {
    let question = || format!("`{program} {}`", words.join(" "));
    let finished = process::run(&Cmd::new(program, words.iter().copied()))?;
    if !finished.status.success() {
        bail!("failed to ask {}: {}", question(), finished.stderr.trim());
    }
    let text = io::read_to_string(finished.stdout);
    let text = text.with_context(|| format!("failed to read what {} says", question()))?;
    Ok(text.trim().to_owned())
}

/// A compiler's program, and its library, which has the version's text: another build of the same
/// toolchain may replace only that.
pub fn files_of(rustc: &Utf8Path) -> Vec<Utf8PathBuf> {
    let libraries = rustc.parent().and_then(Utf8Path::parent).map(|root| root.join("lib"));
    let entries = libraries.into_iter().flat_map(|folder| folder.read_dir_utf8()).flatten();
    let libraries = entries.flatten().filter(|entry| entry.file_name().starts_with("librustc_"));
    let mut libraries: Vec<_> = libraries.map(|entry| entry.into_path()).collect();
    libraries.sort();
    [vec![rustc.to_owned()], libraries].concat()
}

/// The compiler that a rustup proxy starts, where a variable alone decides that.
///
/// Source: `RUSTUP_HOME` and `RUSTUP_TOOLCHAIN` in rustup's documentation. The latter is a
/// toolchain's whole name or its folder; of another name, such as `stable`, rustup knows more.
fn behind_proxy(env: &Env) -> Option<Utf8PathBuf> {
    let toolchain = env.get("RUSTUP_TOOLCHAIN").filter(|name| !name.is_empty())?;
    let home = match env.get("RUSTUP_HOME").filter(|home| !home.is_empty()) {
        Some(home) => Utf8PathBuf::from(home),
        None => Utf8Path::new(env.get("HOME")?).join(".rustup"),
    };
    let rustc = home.join("toolchains").join(toolchain).join("bin/rustc");
    rustc.exists().then_some(rustc)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// As after `rustup update`, or where a compiler of one's own is built again.
    #[test]
    fn a_toolchain_that_is_replaced_is_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let [bin, lib] = ["bin", "lib"].map(|name| dir.join("toolchains/own").join(name));
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&lib).unwrap();
        let write = |file: &Utf8Path, text: &str| {
            fs::write(file, text).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        };
        let (proxy, library) = (dir.join("rustup"), lib.join("librustc_driver-1.so"));
        write(&proxy, &format!("#!/bin/sh\nexec {bin}/rustc \"$@\"\n"));
        symlink(&proxy, dir.join("rustc")).unwrap();
        write(&bin.join("rustc"), &format!("#!/bin/sh\necho x >>{dir}/asked\ncat {library}\n"));
        write(&library, "rustc 1.0.0\n");
        let vars = [("RUSTUP_HOME", dir.as_str()), ("RUSTUP_TOOLCHAIN", "own")];
        let (env, cache) = (Env::with(&vars), Cache::open(dir.join("cache")).unwrap());
        let version = || Version::of(dir.join("rustc").as_str(), &env, &cache).unwrap().0;
        let asked = || fs::read_to_string(dir.join("asked")).unwrap().lines().count();
        assert_eq!(
            (version(), version(), asked()),
            ("rustc 1.0.0".into(), "rustc 1.0.0".into(), 1)
        );
        write(&library, "rustc 1.10.0\n");
        assert_eq!(
            (version(), version(), asked()),
            ("rustc 1.10.0".into(), "rustc 1.10.0".into(), 2)
        );
    }
}
