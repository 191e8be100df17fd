//! The process environment: what rustcbuildx reads of it, and the only reader of `std::env`.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{config::files::located::Located, util::process::Environment};

/// By this variable, `cargo green` tells the wrapper where units of its build wait: see
/// [`crate::planning::barrier`].
pub const BARRIER: &str = "RUSTCBUILDX_GATE";
/// By this variable, `cargo green` gives its build a name, and says that it tells itself at the end
/// what was slow. A planner in the background has one, too, and the wrapper tells what was slow in
/// its place: see [`crate::report::notice`].
pub const NOTICES: &str = "RUSTCBUILDX_NOTICES";
/// By this variable, the wrapper knows that it is called in a dry run, and into which folder to
/// record units: see [`crate::planning::recorder`].
pub const RECORDER: &str = "RUSTCBUILDX_RECORDING";

/// The variable with the key to sign with what is added to remotes.
pub const SIGNING_KEY: &str = "RUSTCBUILDX_SIGNING_KEY";

/// This machine's processor, as the first word of a target triple.
pub const ARCH: &str = env::consts::ARCH;

/// A copy of the environment, taken once.
///
/// Variables that are not UTF-8 are left out: no Dockerfile can hold them.
pub struct Env {
    vars: BTreeMap<String, String>,
    parent: Option<BTreeMap<String, String>>,
    /// The settings of files, by the names of their variables.
    files: BTreeMap<String, Located>,
    /// All files that decide these, there or not.
    settings_files: Vec<Utf8PathBuf>,
    /// Of whose outcomes the cache folder is: see [`crate::config::remotes::domain`].
    domain: Option<String>,
}

impl Env {
    /// This process's environment.
    pub fn current() -> Self {
        let vars = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { parent: parent_environment(), ..Self::of(vars) }
    }

    /// An environment with just these variables, none of them set by a caller.
    pub fn with(vars: &[(&str, &str)]) -> Self {
        let vars = vars.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self::of(vars)
    }

    fn of(vars: BTreeMap<String, String>) -> Self {
        let (parent, files, settings_files, domain) = Default::default();
        Self { vars, parent, files, settings_files, domain }
    }

    /// The same with the outcomes of others apart from all else.
    pub fn with_domain(self, domain: Option<String>) -> Self {
        Self { domain, ..self }
    }

    /// Of whose outcomes the cache folder is, if of others' than this machine's.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The same with settings of files, which hold where no variable sets another value.
    pub fn with_files(
        self,
        files: BTreeMap<String, Located>,
        settings_files: Vec<Utf8PathBuf>,
    ) -> Self {
        Self { files, settings_files, ..self }
    }

    /// The files that decide the settings of files, there or not.
    pub fn settings_files(&self) -> &[Utf8PathBuf] {
        &self.settings_files
    }

    /// The same with these variables, whatever they were before.
    pub fn with_variables(mut self, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let variables = variables.iter().map(owned);
        self.vars.extend(variables);
        self
    }

    /// What files have for the setting of this variable.
    pub fn in_files(&self, name: &str) -> Option<&Located> {
        self.files.get(name)
    }

    /// The variables of the settings that files have.
    pub fn names_in_files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.vars.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the calling process set this variable for this one, instead of passing on its own:
    /// so cargo gives `cargo::rustc-env` and the `[env]` table of its configuration. `None` where
    /// the system does not tell (only Linux does).
    pub fn set_by_parent(&self, name: &str) -> Option<bool> {
        let parent = self.parent.as_ref()?;
        Some(self.vars.contains_key(name) && self.vars.get(name) != parent.get(name))
    }

    /// A variable as cargo itself has it, in this process or in one that it started.
    pub fn of_cargo(&self, name: &str) -> Option<&str> {
        let is_started = self.set_by_parent("CARGO_PKG_NAME") == Some(true);
        match self.parent.as_ref().filter(|_| is_started) {
            Some(parent) => parent.get(name).map(String::as_str),
            None => self.get(name),
        }
    }

    /// What the build script of the package printed; empty where there is none. Cargo keeps it
    /// beside the script's output folder.
    pub fn script_output(&self) -> String {
        let out_dir = self.get("OUT_DIR").and_then(|out_dir| Utf8Path::new(out_dir).parent());
        let output = out_dir.and_then(|dir| fs::read(dir.join("output")).ok()).unwrap_or_default();
        String::from_utf8_lossy(&output).into_owned()
    }

    /// The entries of a list such as `PATH` that the calling process added to its own.
    pub fn added_by_parent(&self, name: &str) -> Vec<String> {
        let entries = |vars: &BTreeMap<String, String>| -> Vec<String> {
            let list = vars.get(name).map(String::as_str).unwrap_or_default();
            list.split(':').filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
        };
        let known = self.parent.as_ref().map(entries).unwrap_or_default();
        entries(&self.vars).into_iter().filter(|entry| !known.contains(entry)).collect()
    }

    /// The folder for what this user may lose: `$XDG_CACHE_HOME` or `~/.cache`, then `rustcbuildx`,
    /// and below that a folder for each domain.
    pub fn cache_dir(&self) -> Result<Utf8PathBuf> {
        let base = match self.get("XDG_CACHE_HOME").filter(|path| path.starts_with('/')) {
            Some(path) => Utf8PathBuf::from(path),
            None => self.home()?.join(".cache"),
        };
        let own = base.join("rustcbuildx");
        Ok(match &self.domain {
            None => own,
            Some(domain) => own.join("domains").join(domain),
        })
    }

    /// The folder of the user's configuration: `$XDG_CONFIG_HOME` or `~/.config`.
    pub fn config_dir(&self) -> Result<Utf8PathBuf> {
        match self.get("XDG_CONFIG_HOME").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Utf8PathBuf::from(path)),
            None => Ok(self.home()?.join(".config")),
        }
    }

    /// Cargo's home folder: `$CARGO_HOME` or `~/.cargo`.
    pub fn cargo_home(&self) -> Result<Utf8PathBuf> {
        match self.get("CARGO_HOME").filter(|path| !path.is_empty()) {
            Some(path) => Ok(Utf8PathBuf::from(path)),
            None => Ok(self.home()?.join(".cargo")),
        }
    }

    fn home(&self) -> Result<Utf8PathBuf> {
        env::home_dir()
            .and_then(|home| Utf8PathBuf::from_path_buf(home).ok())
            .context("failed to find the home folder (hint: set HOME)")
    }
}

/// The process's arguments, the program's own name left out.
pub fn arguments() -> Vec<OsString> {
    env::args_os().skip(1).collect()
}

impl Env {
    /// The folder this process was started in, as UTF-8, and as cargo spells it: the system
    /// resolves links in its name, cargo does not in the package's.
    pub fn current_dir(&self) -> Result<Utf8PathBuf> {
        let dir = env::current_dir().context("failed to find the current folder")?;
        let dir = Utf8PathBuf::from_path_buf(dir).map_err(|dir| {
            anyhow::anyhow!("failed to use the folder `{}`: its name is not UTF-8", dir.display())
        })?;
        let package = self
            .get("CARGO_MANIFEST_DIR")
            .map(Utf8Path::new)
            .filter(|package| !package.starts_with(&dir));
        Ok(package.and_then(|package| spelled_like(package, &dir)).unwrap_or(dir))
    }
}

/// The folder above `package`, or `package`, that is `dir` once links are resolved.
fn spelled_like(package: &Utf8Path, dir: &Utf8Path) -> Option<Utf8PathBuf> {
    let resolved = package.canonicalize_utf8().ok()?;
    let below = resolved.strip_prefix(dir).ok()?;
    let spelled = package.ancestors().nth(below.components().count())?;
    package.ends_with(below).then(|| spelled.to_owned())
}

/// This program's file.
pub fn current_exe() -> Result<Utf8PathBuf> {
    let exe = env::current_exe().context("failed to find this program's file")?;
    Utf8PathBuf::from_path_buf(exe)
        .map_err(|exe| anyhow::anyhow!("failed to use `{}`: its name is not UTF-8", exe.display()))
}

/// This program's file by the name that its caller has for it, which is that of cargo's notes: the
/// system resolves links in its own.
pub fn called_as() -> Result<Utf8PathBuf> {
    let own = current_exe()?;
    let called =
        env::args_os().next().and_then(|name| Utf8PathBuf::from_path_buf(name.into()).ok());
    let is_own = |called: &Utf8PathBuf| {
        called.is_absolute() && called.canonicalize_utf8().is_ok_and(|path| path == own)
    };
    Ok(called.filter(is_own).unwrap_or(own))
}

/// The environment that another process was started with; `None` if the system does not tell.
pub fn environment_of(process: u32) -> Option<Environment> {
    let bytes = fs::read(format!("/proc/{process}/environ")).ok()?;
    Some(pairs(&bytes))
}

/// Source: proc_pid_environ(5).
fn pairs(environ: &[u8]) -> Environment {
    let pair = |pair: &[u8]| {
        let at = pair.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((word(&pair[..at]), word(&pair[at + 1..])))
    };
    environ.split(|byte| *byte == 0).filter_map(pair).collect()
}

fn parent_environment() -> Option<BTreeMap<String, String>> {
    let parent = rustix::process::getppid()?;
    let pairs = environment_of(parent.as_raw_nonzero().get().unsigned_abs())?;
    let text = |word: OsString| word.to_string_lossy().into_owned();
    Some(pairs.into_iter().map(|(name, value)| (text(name), text(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_read_as_it_is() {
        let found = pairs(b"A=1\0B=a=b\n\0C=\0=x\0none\0D=\xff\0");
        let found: Vec<_> =
            found.iter().map(|(name, value)| (name.to_str().unwrap(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 4] =
            [("A", b"1"), ("B", b"a=b\n"), ("C", b""), ("D", b"\xff")];
        assert_eq!(found, expected);
        assert!(environment_of(0).is_none());
    }

    #[test]
    fn a_folder_is_spelled_as_cargo_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        fs::create_dir_all(root.join("real/w/member")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let (package, real) = (root.join("link/w/member"), root.join("real/w"));
        assert_eq!(spelled_like(&package, &real), Some(root.join("link/w")));
        assert_eq!(spelled_like(&package, &real.join("member")), Some(package.clone()));
        assert_eq!(spelled_like(&package, &root.join("other")), None);
    }
}
