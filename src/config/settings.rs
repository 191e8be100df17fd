//! The settings in force, each with where it came from.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use crate::{
    config::{
        env::Env,
        files::{
            cargo::is_name,
            lock::{self, LOCKED},
        },
        programs::{Program, programs},
        remotes::{self, RemoteSettings},
        secrets::is_secret,
        table::is_path,
        values::{Origin, list, setting, size, switch, value, written},
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

#[derive(Clone, Debug)]
pub struct Config {
    pub enabled: bool,
    pub runner: RunnerChoice,
    /// An image's name without a scheme, if one is set.
    pub base_image: Option<String>,
    /// The digests that names of images stand for in the workspace, if it has a lock file.
    pub locked: Option<BTreeMap<String, String>>,
    /// What the base image lacks.
    pub on_top: OnTop,
    /// Programs of this machine that it is to have.
    pub programs: Vec<Program>,
    /// A frontend image's name without a scheme, if one is set.
    pub syntax: Option<String>,
    pub canonical_paths: CanonicalPaths,
    /// Whether optimized builds name sources as a published crate has them.
    pub published_paths: bool,
    pub incremental: bool,
    pub set_envs: Vec<SetEnv>,
    /// Packages whose build scripts run on this machine.
    pub local_scripts: Vec<String>,
    /// Whether it is looked at what units touch.
    pub observe: bool,
    /// Packages of the workspace in whose compiles macros from elsewhere may write there.
    pub allow_writes: Vec<String>,
    /// Where outcomes are shared, in the order in which they are asked.
    pub remotes: Vec<RemoteSettings>,
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

/// What is put on top of the base image.
#[derive(Clone, Debug, Default)]
pub struct OnTop {
    /// Packages of the distributions that have these managers.
    pub apt: Vec<String>,
    pub apk: Vec<String>,
    pub dnf: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Further instructions of a Dockerfile.
    pub dockerfile: Option<String>,
    /// Whether the steps that make it have the network of the engine's machine.
    pub has_host_network: bool,
    /// The settings that say so, as their user wrote them.
    pub settings: Vec<String>,
}

impl OnTop {
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    fn load(env: &Env) -> Result<Self> {
        let names = ["APT", "APK", "DNF", "ENV", "DOCKERFILE"];
        let names = names.map(|name| format!("RUSTCBUILDX_IMAGE_{name}"));
        let is_set = |name: &&String| value(env, name).is_some_and(|value| !value.is_empty());
        let network = "RUSTCBUILDX_IMAGE_NETWORK";
        Ok(Self {
            apt: packages(env, &names[0])?,
            apk: packages(env, &names[1])?,
            dnf: packages(env, &names[2])?,
            env: pairs(env, &names[3])?,
            dockerfile: text_or_file(env, &names[4])?,
            has_host_network: match value(env, network).unwrap_or_default() {
                "default" => false,
                "host" => true,
                _ => bail!(
                    "failed to read {}: no such network (hint: default or host)",
                    written(env, network)
                ),
            },
            settings: names.iter().filter(is_set).map(|name| written(env, name)).collect(),
        })
    }
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
            locked: env.in_files(LOCKED).map(|text| lock::parse(&text.value)).transpose()?,
            on_top: OnTop::load(env)?,
            programs: programs(env, tools(env)?),
            syntax: image(env, "RUSTCBUILDX_SYNTAX")?,
            canonical_paths: canonical_paths(env)?,
            published_paths: switch(env, "RUSTCBUILDX_PUBLISHED_PATHS")?,
            incremental: switch(env, "RUSTCBUILDX_INCREMENTAL")?,
            set_envs: set_envs(env)?,
            local_scripts: list(env, "RUSTCBUILDX_LOCAL_SCRIPTS").map(str::to_owned).collect(),
            allow_writes: list(env, "RUSTCBUILDX_ALLOW_WRITES").map(str::to_owned).collect(),
            observe: switch(env, "RUSTCBUILDX_OBSERVE")?,
            remotes: remotes::load(env)?,
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

/// What a workspace's files take from the sandbox, for a notice: who builds it may not have written
/// them.
pub fn taken_from_sandbox(env: &Env, config: &Config) -> Option<String> {
    let own = env.config_dir().ok();
    let is_own = |file: &Utf8Path| {
        file.starts_with("/etc") || own.as_ref().is_some_and(|own| file.starts_with(own))
    };
    let takes = [
        ("RUSTCBUILDX", !config.enabled),
        ("RUSTCBUILDX_RUNNER", config.runner == RunnerChoice::None),
        ("RUSTCBUILDX_LOCAL_SCRIPTS", !config.local_scripts.is_empty()),
    ];
    let of_workspace = |name: &str| match setting(env, name).1 {
        Origin::File(located) => {
            located.at.iter().any(|at| !is_own(&at.file)).then(|| written(env, name))
        }
        _ => None,
    };
    let taken: Vec<String> = takes
        .iter()
        .filter(|(_, takes)| *takes)
        .filter_map(|(name, _)| of_workspace(name))
        .collect();
    let are = |taken: &[String]| {
        format!("less is in the sandbox than could be, as the workspace says: {}", taken.join(", "))
    };
    (!taken.is_empty()).then(|| are(&taken))
}

fn runner(env: &Env) -> Result<RunnerChoice> {
    match value(env, "RUSTCBUILDX_RUNNER") {
        None => Ok(RunnerChoice::First),
        Some("docker") => Ok(RunnerChoice::Docker),
        Some("podman") => Ok(RunnerChoice::Podman),
        Some("none") => Ok(RunnerChoice::None),
        Some(_) => bail!(
            "failed to read {}: no such runner (hint: docker, podman or none)",
            written(env, "RUSTCBUILDX_RUNNER")
        ),
    }
}

fn canonical_paths(env: &Env) -> Result<CanonicalPaths> {
    match value(env, "RUSTCBUILDX_CANONICAL_PATHS").unwrap_or_default() {
        "dependencies" => Ok(CanonicalPaths::Dependencies),
        "all" => Ok(CanonicalPaths::All),
        "none" => Ok(CanonicalPaths::None),
        _ => bail!(
            "failed to read {}: no such choice (hint: dependencies, all or none)",
            written(env, "RUSTCBUILDX_CANONICAL_PATHS")
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
                "failed to read {}: scheme `{scheme}` is not known (hint: docker-image://NAME)",
                written(env, name)
            )
        }
    };
    if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c == '$' || c == '\\') {
        bail!(
            "failed to read {}: not an image's name (hint: docker-image://NAME[:TAG][@DIGEST])",
            written(env, name)
        );
    }
    Ok(Some(image.to_owned()))
}

/// Names of programs, or their whole paths.
fn tools(env: &Env) -> Result<Vec<String>> {
    let name = "RUSTCBUILDX_TOOLS";
    match list(env, name).find(|item| !is_name(item)) {
        Some(other) => bail!(
            "failed to read {}: `{other}` is no program (hint: a name on PATH, or a whole path)",
            written(env, name)
        ),
        None => Ok(list(env, name).map(str::to_owned).collect()),
    }
}

/// Names of packages, which a shell reads.
fn packages(env: &Env, name: &str) -> Result<Vec<String>> {
    let is_name = |item: &str| {
        item.starts_with(|c: char| c.is_ascii_alphanumeric())
            && item.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:=~^".contains(c))
    };
    match list(env, name).find(|item| !is_name(item)) {
        Some(other) => {
            bail!("failed to read {}: `{other}` is no package's name", written(env, name))
        }
        None => Ok(list(env, name).map(str::to_owned).collect()),
    }
}

/// Variables with values.
fn pairs(env: &Env, name: &str) -> Result<Vec<(String, String)>> {
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_sound = !name.is_empty() && name.chars().all(is_name) && !value.contains('\n');
        is_sound.then(|| (name.to_owned(), value.to_owned()))
    };
    let words = shlex::split(value(env, name).unwrap_or_default());
    words.and_then(|words| words.into_iter().map(pair).collect()).with_context(|| {
        let written = written(env, name);
        format!("failed to read {written}: not variables of one line (hint: NAME=value)")
    })
}

fn text_or_file(env: &Env, name: &str) -> Result<Option<String>> {
    match value(env, name) {
        // Each process would look for it in a folder of its own.
        Some(path) if is_path(path) && !path.is_empty() && !path.starts_with('/') => bail!(
            "failed to read {}: not the whole path of a file (hint: \"$PWD/{path}\")",
            written(env, name)
        ),
        Some(path) if is_path(path) && !path.is_empty() => {
            let text = std::fs::read_to_string(path);
            text.map(Some).with_context(|| format!("failed to read {}", written(env, name)))
        }
        text => Ok(text.filter(|text| !text.is_empty()).map(str::to_owned)),
    }
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
                "failed to read {}: `{item}` names no variable (hint: NAME or PACKAGE:NAME)",
                written(env, "RUSTCBUILDX_SET_ENVS")
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
        refused("RUSTCBUILDX_IMAGE_APT", "a,b;c", "`b;c` is no package's name");
        refused("RUSTCBUILDX_IMAGE_ENV", "A", "not variables of one line (hint: NAME=value)");
        refused("RUSTCBUILDX_IMAGE_ENV", "A='b", "not variables of one line");
        refused("RUSTCBUILDX_IMAGE_DOCKERFILE", "tools", "(hint: \"$PWD/tools\")");
        refused("RUSTCBUILDX_IMAGE_DOCKERFILE", "/no/such/file", "failed to read RUSTC");
        refused("RUSTCBUILDX_IMAGE_NETWORK", "bridge", "no such network");
        refused("RUSTCBUILDX_BASE_IMAGE", "https://x", "scheme `https`");
        refused("RUSTCBUILDX_BASE_IMAGE", "docker-image://a b", "not an image's name");
    }
}
