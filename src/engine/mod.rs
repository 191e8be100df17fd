//! Docker or podman: what is asked of an engine, and how. No other room knows which of them it is.

pub mod cache;
pub mod client;
mod docker;
mod hint;
mod podman;
pub mod probe;
pub mod result;
mod tunnel;
pub mod worker;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        env::Env,
        jobs,
        settings::{Config, RunnerChoice},
    },
    engine::{
        client::{Client, Event, Kind, text},
        tunnel::Tunnel,
    },
    step::plan::Plan,
    util::{
        digest::digest,
        process::{self, Cmd, Finished},
        state_dir::Cache,
    },
};

/// An engine that was found on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Engine {
    #[serde(flatten)]
    client: Client,
    /// What the environment says of where the engine is.
    address: String,
    /// A tunnel to it, which is faster than the connections that the command makes.
    tunnel: Option<Tunnel>,
    /// How many processors its machine has, as `docker info` says.
    processors: Option<usize>,
}

/// Variables by which the CLIs choose an engine; source: the docker, buildx and podman CLI
/// references.
const ADDRESS: &[&str] = &[
    "BUILDKIT_HOST",
    "BUILDX_BUILDER",
    "BUILDX_CONFIG",
    "CONTAINERS_CONF",
    "CONTAINER_CONNECTION",
    "CONTAINER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
];

impl Engine {
    /// Finds the engine of the settings, or the first that works. The result is remembered for as
    /// long as the environment that led to it is the same.
    pub fn choose(config: &Config, env: &Env, cache: &Cache) -> Result<Self> {
        let variable = |name: &&str| env.get(name).map(|value| format!("{name}={value}"));
        let address = ADDRESS.iter().filter_map(variable).collect::<Vec<_>>().join(" ");
        let path = env.get("PATH").unwrap_or_default();
        let record =
            format!("engines/{}", digest([&format!("{:?}", config.runner), &address, path]));
        if let Some(engine) = cache.read(&record).filter(Self::is_installed) {
            return Ok(engine);
        }
        let client = match config.runner {
            RunnerChoice::Docker => docker::find(env)?,
            RunnerChoice::Podman => podman::find(env)?,
            RunnerChoice::First => first_that_works(env)?,
            RunnerChoice::None => bail!("failed to choose an engine: RUSTCBUILDX_RUNNER is none"),
        };
        let engine = Self { client, address, tunnel: None, processors: None }.met(env, cache);
        // A docker elsewhere that did not answer may be met later.
        let is_away = engine.client.kind == Kind::Docker
            && engine.processors.is_none()
            && env.get("DOCKER_HOST").is_some();
        if !is_away {
            cache.write(&record, &engine)?;
        }
        Ok(engine)
    }

    /// The same with what `docker info` says, and with a tunnel, if there is one and it helps.
    fn met(mut self, env: &Env, cache: &Cache) -> Self {
        if self.client.kind == Kind::Docker {
            self.tunnel = env.get("DOCKER_HOST").and_then(Tunnel::of);
            self.processors = self.ask_processors(cache);
            if self.processors.is_none() && self.tunnel.take().is_some() {
                // Docker may listen elsewhere there, or ssh may forward nothing.
                self.processors = self.ask_processors(cache);
            }
        }
        self
    }

    fn ask_processors(&self, cache: &Cache) -> Option<usize> {
        let env = self.route(cache).ok()?.into_iter().collect();
        let mut finished = process::run(&Cmd {
            env,
            ..Cmd::new(&self.client.cli, ["info", "--format={{.NCPU}}"])
        })
        .ok()?;
        text(&mut finished)
            .ok()?
            .parse()
            .ok()
            .filter(|count| *count > 0 && finished.status.success())
    }

    /// The variable that makes a command use the tunnel, which is opened if need be. `None` if
    /// there is no tunnel. Fails if it cannot be opened; the command then finds its own way.
    pub fn route(&self, cache: &Cache) -> Result<Option<(String, String)>> {
        let host = self
            .tunnel
            .as_ref()
            .map(|tunnel| tunnel.open(cache))
            .transpose()
            .context("failed to open a tunnel")?;
        Ok(host.map(|host| ("DOCKER_HOST".to_owned(), host)))
    }

    /// Whether its command opens a new connection for each request to a remote machine.
    pub fn connects_often(&self) -> bool {
        self.client.kind == Kind::Docker
            && self.tunnel.is_none()
            && self.address.contains("DOCKER_HOST=ssh://")
    }

    pub fn name(&self) -> &'static str {
        self.client.name()
    }

    /// How many processes it can run at once.
    pub fn processors(&self) -> usize {
        self.processors.unwrap_or_else(jobs::processors)
    }

    /// The variables that say where the engine is, as `NAME=value` and blanks.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Reads the lines that a build prints, and returns the worker's events in each. Podman prints
    /// none.
    pub fn watch(&self) -> impl FnMut(&str) -> Vec<Event> + use<> {
        let mut watch = match self.client.kind {
            Kind::Docker => Some(docker::Watch::default()),
            Kind::Podman => None,
        };
        move |line| watch.as_mut().map(|watch| watch.events(line)).unwrap_or_default()
    }

    /// The command that builds a plan and writes its result to standard output as a tar file. The
    /// plan's secrets are variables of the command's environment, and `env` is added to that.
    /// [`Engine::watch`] reads what it prints.
    pub fn build(&self, plan: &Plan, env: Vec<(String, String)>) -> Cmd {
        let mut args = self.client.build[1..].to_vec();
        args.extend(match self.client.kind {
            Kind::Docker => docker::build_options(),
            Kind::Podman => podman::build_options(),
        });
        args.extend(plan.secrets.iter().map(|id| format!("--secret=id={id},env={id}")));
        for (name, path) in &plan.contexts {
            args.push(format!("--build-context={name}={path}"));
        }
        args.push("-".to_owned());
        Cmd { env, stdin: plan.dockerfile.clone(), ..Cmd::new(&self.client.build[0], args) }
    }

    /// Pulls an image and shows the engine's own progress. Its answer is the error.
    pub fn pull(&self, image: &str) -> Result<()> {
        let cmd = Cmd::new(&self.client.cli, ["pull", image]);
        log::debug!("{cmd}");
        match process::run_visibly(&cmd)?.success() {
            true => Ok(()),
            false => bail!(
                "failed to pull `{image}` with {} (hint: is the name right, and the registry \
                 within reach of the engine? RUSTCBUILDX_BASE_IMAGE=docker-image://NAME sets \
                 another image)",
                self.name()
            ),
        }
    }

    /// The digest of an image in its registry, or of the image that the engine has. `None` if the
    /// image was built there and has no digest.
    pub fn digest(&self, image: &str) -> Result<Option<String>> {
        match self.client.kind {
            Kind::Docker => docker::digest(&self.client, image),
            Kind::Podman => podman::digest(&self.client, image),
        }
    }

    /// Fails if a call that was to do `task` did not succeed.
    pub fn check<T>(&self, finished: &Finished<T>, task: &str) -> Result<()> {
        self.client.check(finished, task)
    }

    fn is_installed(&self) -> bool {
        self.client.build.first().is_some_and(|program| std::path::Path::new(program).exists())
    }
}

fn first_that_works(env: &Env) -> Result<Client> {
    let mut reasons = Vec::new();
    match docker::find(env).and_then(docker::check) {
        Ok(client) => return Ok(client),
        Err(error) => reasons.push(format!("docker: {error:#}")),
    }
    match podman::find(env) {
        Ok(client) => return Ok(client),
        Err(error) => reasons.push(format!("podman: {error:#}")),
    }
    bail!(
        "failed to find an engine\n  {}\n(hint: RUSTCBUILDX_RUNNER=none builds locally)",
        reasons.join("\n  ")
    )
}
