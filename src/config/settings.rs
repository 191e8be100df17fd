//! The settings in force, each with where it came from.

use anyhow::{Context, Result, bail};

use crate::{
    config::{
        env::{Env, VARS, Var},
        secrets::is_secret,
    },
    util::logging::Log,
};

/// What starts the units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunnerChoice {
    Docker,
    Podman,
    /// The local rustc.
    None,
    /// The first engine that works.
    First,
}

/// Whose paths are the same on every machine (see [`crate::unit::path_map`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanonicalPaths {
    /// Those of packages from registries and git.
    Dependencies,
    All,
    None,
}

/// Where a setting's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    Environment,
}

#[derive(Clone, Debug)]
pub struct Config {
    pub enabled: bool,
    pub runner: RunnerChoice,
    /// An image's name without a scheme, if one is set.
    pub base_image: Option<String>,
    /// A frontend image's name without a scheme, if one is set.
    pub syntax: Option<String>,
    pub canonical_paths: CanonicalPaths,
    pub incremental: bool,
    pub set_envs: Vec<SetEnv>,
    /// Packages whose build scripts run on this machine.
    pub local_scripts: Vec<String>,
    /// Whether it is looked at what units touch.
    pub observe: bool,
    /// Packages of the workspace in whose compiles macros from elsewhere may write there.
    pub allow_writes: Vec<String>,
    /// Whether nothing is compiled locally unless all is.
    pub strict: bool,
    /// In bytes.
    pub store_size: u64,
    /// The most that the engine's store may take, in bytes.
    pub engine_store_size: u64,
    /// Whether libraries and build scripts of dependencies stay in the engine; see
    /// [`crate::target::deferred`].
    pub leave: bool,
    /// A file for what each unit's time went to.
    pub timings: Option<String>,
    pub log: Log,
}

/// A variable to give to the units of a package, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetEnv {
    pub package: Option<String>,
    pub name: String,
}

impl Config {
    /// Reads the settings; fails on a value that means nothing.
    pub fn load(env: &Env) -> Result<Self> {
        Ok(Self {
            enabled: switch(env, "RUSTCBUILDX")?,
            runner: runner(env)?,
            base_image: image(env, "RUSTCBUILDX_BASE_IMAGE")?,
            syntax: image(env, "RUSTCBUILDX_SYNTAX")?,
            canonical_paths: canonical_paths(env)?,
            incremental: switch(env, "RUSTCBUILDX_INCREMENTAL")?,
            set_envs: set_envs(env)?,
            local_scripts: list(env, "RUSTCBUILDX_LOCAL_SCRIPTS").map(str::to_owned).collect(),
            allow_writes: list(env, "RUSTCBUILDX_ALLOW_WRITES").map(str::to_owned).collect(),
            observe: switch(env, "RUSTCBUILDX_OBSERVE")?,
            strict: switch(env, "RUSTCBUILDX_STRICT")?,
            store_size: size(env, "RUSTCBUILDX_STORE_SIZE")?,
            engine_store_size: size(env, "RUSTCBUILDX_ENGINE_STORE_SIZE")?,
            leave: switch(env, "RUSTCBUILDX_LEAVE")?,
            timings: value(env, "RUSTCBUILDX_TIMINGS").map(str::to_owned),
            log: Log {
                filter: value(env, "RUSTCBUILDX_LOG").map(str::to_owned),
                style: value(env, "RUSTCBUILDX_LOG_STYLE").unwrap_or_default().to_owned(),
                path: value(env, "RUSTCBUILDX_LOG_PATH").map(str::to_owned),
            },
        })
    }

    /// Whether rustc is to run locally, whatever the unit.
    pub fn is_local(&self) -> bool {
        !self.enabled || self.runner == RunnerChoice::None
    }

    /// Whether the build script of a package is to run on this machine.
    pub fn has_local_script(&self, package: &str) -> bool {
        self.local_scripts.iter().any(|local| local == package)
    }

    /// Whether macros from elsewhere may write in the workspace while a package is compiled.
    pub fn may_write(&self, package: &str) -> bool {
        self.allow_writes.iter().any(|allowed| allowed == package)
    }
}

/// A setting's value as text and where it came from; an empty variable counts as unset.
pub fn setting<'a>(env: &'a Env, var: &Var) -> (Option<&'a str>, Origin) {
    match env.get(var.name).filter(|value| !value.is_empty()) {
        Some(value) => (Some(value), Origin::Environment),
        None => (var.default, Origin::Default),
    }
}

fn value<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    let var = VARS.iter().find(|var| var.name == name).expect("every setting is in the table");
    setting(env, var).0
}

fn switch(env: &Env, name: &str) -> Result<bool> {
    match value(env, name) {
        Some("1" | "true" | "on" | "yes") => Ok(true),
        Some("0" | "false" | "off" | "no") => Ok(false),
        other => bail!(
            "failed to read {name}=`{}`: not a switch (hint: 0 or 1)",
            other.unwrap_or_default()
        ),
    }
}

fn runner(env: &Env) -> Result<RunnerChoice> {
    match value(env, "RUSTCBUILDX_RUNNER") {
        None => Ok(RunnerChoice::First),
        Some("docker") => Ok(RunnerChoice::Docker),
        Some("podman") => Ok(RunnerChoice::Podman),
        Some("none") => Ok(RunnerChoice::None),
        Some(other) => {
            bail!(
                "failed to read RUSTCBUILDX_RUNNER=`{other}`: no such runner (hint: docker, \
                 podman or none)"
            )
        }
    }
}

fn canonical_paths(env: &Env) -> Result<CanonicalPaths> {
    match value(env, "RUSTCBUILDX_CANONICAL_PATHS").unwrap_or_default() {
        "dependencies" => Ok(CanonicalPaths::Dependencies),
        "all" => Ok(CanonicalPaths::All),
        "none" => Ok(CanonicalPaths::None),
        other => bail!(
            "failed to read RUSTCBUILDX_CANONICAL_PATHS=`{other}`: no such choice (hint: \
             dependencies, all or none)"
        ),
    }
}

fn image(env: &Env, name: &str) -> Result<Option<String>> {
    let Some(value) = value(env, name) else { return Ok(None) };
    let image = match value.split_once("://") {
        None => value,
        Some(("docker-image", image)) => image,
        Some((scheme, _)) => {
            bail!(
                "failed to read {name}=`{value}`: scheme `{scheme}` is not known (hint: \
                 docker-image://NAME)"
            )
        }
    };
    if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c == '$' || c == '\\') {
        bail!(
            "failed to read {name}=`{value}`: not an image's name (hint: \
             docker-image://NAME[:TAG][@DIGEST])"
        );
    }
    Ok(Some(image.to_owned()))
}

/// A number without a unit is mostly a slip: few bytes hold nothing. Only nothing at all needs no
/// unit.
fn size(env: &Env, name: &str) -> Result<u64> {
    let value = value(env, name).unwrap_or_default();
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = value.split_at(digits);
    let factor = match unit.trim().to_ascii_uppercase().trim_end_matches('B') {
        "" if unit.is_empty() && number.parse::<u64>().is_ok_and(|number| number > 0) => {
            let meant = match number.len() {
                0..3 => format!("{number}GB"),
                3..6 => format!("{number}MB or {number}GB"),
                _ => format!("{number}B"),
            };
            bail!("failed to read {name}=`{value}`: it has no unit (hint: is {meant} meant?)")
        }
        "" => Some(1),
        "K" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        "T" => Some(1_000_000_000_000),
        _ => None,
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor));
    bytes.with_context(|| {
        format!("failed to read {name}=`{value}`: not a size (hint: a number and KB, MB, GB or TB)")
    })
}

fn list<'a>(env: &'a Env, name: &str) -> impl Iterator<Item = &'a str> {
    value(env, name).unwrap_or_default().split([',', ' ']).filter(|item| !item.is_empty())
}

fn set_envs(env: &Env) -> Result<Vec<SetEnv>> {
    let mut set_envs = Vec::new();
    for item in list(env, "RUSTCBUILDX_SET_ENVS") {
        let (package, name) = match item.split_once(':') {
            Some((package, name)) => (Some(package.to_owned()), name.to_owned()),
            None => (None, item.to_owned()),
        };
        // A shell reads the names of secrets.
        if name.is_empty()
            || is_secret(&name) && name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        {
            bail!(
                "failed to read RUSTCBUILDX_SET_ENVS: `{item}` names no variable (hint: NAME or \
                 PACKAGE:NAME)"
            );
        }
        set_envs.push(SetEnv { package, name });
    }
    Ok(set_envs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(name: &str, value: &str, expected: &str) {
        let error = Config::load(&Env::with(&[(name, value)])).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_defaults_hold_without_an_environment() {
        let config = Config::load(&Env::with(&[("RUSTCBUILDX_RUNNER", "")])).unwrap();
        assert!(config.enabled && config.incremental);
        assert_eq!(config.store_size, 20_000_000_000);
        assert_eq!(config.runner, RunnerChoice::First);
        assert_eq!(config.base_image, None);
        let size = |value| {
            Config::load(&Env::with(&[("RUSTCBUILDX_STORE_SIZE", value)])).unwrap().store_size
        };
        assert_eq!(["0", "0GB", "5B", "500 MB"].map(size), [0, 0, 5, 500_000_000]);
    }

    #[test]
    fn the_environment_decides() {
        let config = Config::load(&Env::with(&[
            ("RUSTCBUILDX", "0"),
            ("RUSTCBUILDX_BASE_IMAGE", "docker-image://host:5000/rust:1@sha256:0"),
            ("RUSTCBUILDX_SET_ENVS", "A, p:MY_TOKEN"),
        ]))
        .unwrap();
        assert!(config.is_local());
        assert_eq!(config.base_image.as_deref(), Some("host:5000/rust:1@sha256:0"));
        let set_env = |package: Option<&str>, name: &str| SetEnv {
            package: package.map(str::to_owned),
            name: name.to_owned(),
        };
        assert_eq!(config.set_envs, [set_env(None, "A"), set_env(Some("p"), "MY_TOKEN")]);
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        refused("RUSTCBUILDX", "maybe", "not a switch");
        refused("RUSTCBUILDX_RUNNER", "containerd", "docker, podman or none");
        refused("RUSTCBUILDX_CANONICAL_PATHS", "some", "dependencies, all or none");
        refused("RUSTCBUILDX_STORE_SIZE", "much", "not a size");
        refused("RUSTCBUILDX_STORE_SIZE", "20", "it has no unit (hint: is 20GB meant?");
        refused("RUSTCBUILDX_STORE_SIZE", "500", "hint: is 500MB or 500GB meant?");
        refused("RUSTCBUILDX_STORE_SIZE", "20000000000", "hint: is 20000000000B meant?");
        refused("RUSTCBUILDX_STORE_SIZE", "99999999TB", "not a size");
        refused("RUSTCBUILDX_SET_ENVS", "A,p:", "`p:` names no variable");
        refused("RUSTCBUILDX_SET_ENVS", "$(x)_TOKEN", "names no variable");
        refused("RUSTCBUILDX_BASE_IMAGE", "https://x", "scheme `https`");
        refused("RUSTCBUILDX_BASE_IMAGE", "docker-image://a b", "not an image's name");
    }
}
