//! Docker or podman, as this machine has it.

use std::{fs, io};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        env::Env,
        jobs,
        settings::{Config, RunnerChoice},
    },
    engine::{
        Engine, Receive,
        client::{Client, Event, Kind, text},
        docker, on_top, podman,
        tunnel::Tunnel,
    },
    step::{image::MADE, plan::Plan},
    util::{
        digest::digest,
        process::{self, Cmd},
        state_dir::Cache,
    },
};

/// An engine that was found on this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Installed {
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

/// Variables that say how to reach a network. Source: the predefined arguments of a Dockerfile.
const PROXIES: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// What an engine tells about itself.
pub struct About {
    /// The versions of its parts.
    pub versions: String,
    /// What kind of builder docker's builds go to.
    pub driver: Option<String>,
    /// What time it is there, by RFC 3339.
    pub time: Option<String>,
}

impl Installed {
    /// Asks the engine about itself. Fails if it does not answer.
    pub fn about(&self, cache: &Cache) -> Result<About> {
        let route: Vec<_> = self.route(cache)?.into_iter().collect();
        let ask = |program: &str, words: &[&str]| -> Result<String> {
            let cmd = Cmd { env: route.clone(), ..Cmd::new(program, words.iter().copied()) };
            let mut finished = process::run(&cmd)?;
            self.client.check(&finished, &format!("ask `{program} {}`", words.join(" ")))?;
            text(&mut finished)
        };
        let cli = &self.client.cli;
        if self.client.kind == Kind::Podman {
            let version = ask(cli, &["version", "--format={{.Client.Version}}"])?;
            // What it lacks to run anything, it says then.
            ask(cli, &["info", "--format={{.Host.Arch}}"])?;
            return Ok(About { versions: format!("podman {version}"), driver: None, time: None });
        }
        let format = "--format=client {{.Client.Version}}, server {{.Server.Version}}";
        let versions = ask(cli, &["version", format])?;
        let buildx = ask(cli, &["buildx", "version"])?;
        let buildx = buildx.split(' ').nth(1).unwrap_or_default();
        let builder = ask(cli, &["buildx", "inspect"])?;
        let driver = builder.lines().find_map(|line| line.strip_prefix("Driver:"));
        Ok(About {
            versions: format!("docker: {versions}, buildx {buildx}"),
            driver: driver.map(|driver| driver.trim().to_owned()),
            time: Some(ask(cli, &["info", "--format={{.SystemTime}}"])?),
        })
    }

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
                self.client.name()
            ),
        }
    }

    /// The command that builds a plan and writes its result to standard output as a tar file. The
    /// plan's secrets are variables of the command's environment, and `env` is added to that.
    fn command(&self, plan: &Plan, env: Vec<(String, String)>) -> Cmd {
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
        let mut env = env;
        if let (Kind::Docker, Some(temp)) = (self.client.kind, &plan.temp)
            && !plan.secrets.contains("TMPDIR")
        {
            // Its Dockerfile lies there, and stays where it is ended by more than two signals, as
            // the system sends them for each thread of a process that ends.
            env.push(("TMPDIR".to_owned(), temp.to_string()));
        }
        Cmd { env, stdin: plan.dockerfile.clone(), ..Cmd::new(&self.client.build[0], args) }
    }

    fn is_installed(&self) -> bool {
        self.client.build.first().is_some_and(|program| std::path::Path::new(program).exists())
    }
}

impl Engine for Installed {
    fn name(&self) -> &'static str {
        self.client.name()
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn processors(&self) -> usize {
        self.processors.unwrap_or_else(jobs::processors)
    }

    fn connects_often(&self) -> bool {
        self.client.kind == Kind::Docker
            && self.tunnel.is_none()
            && self.address.contains("DOCKER_HOST=ssh://")
    }

    fn route(&self, cache: &Cache) -> Result<Option<(String, String)>> {
        let open = |tunnel: &Tunnel| tunnel.open(cache).context("failed to open a tunnel");
        let host = self.tunnel.as_ref().map(open).transpose()?;
        Ok(host.map(|host| ("DOCKER_HOST".to_owned(), host)))
    }

    fn pinned(&self, image: &str) -> Result<String> {
        match self.client.kind {
            Kind::Docker => docker::pinned(&self.client, image),
            Kind::Podman => podman::pinned(&self.client, image),
        }
    }

    fn make(
        &self,
        dockerfile: &str,
        context: Option<(&str, &Utf8Path)>,
        has_host_network: bool,
        temp: &Utf8Path,
    ) -> Result<String> {
        let id = temp.join("id");
        let mut args = self.client.build[1..].to_vec();
        // An image without a name may be removed at any time. That of the folder is nobody else's.
        let now = temp.file_name().unwrap_or_default().trim_start_matches('.').to_lowercase();
        let now = format!("{MADE}:making-{now}");
        args.extend([format!("--iidfile={id}"), format!("--tag={now}")]);
        args.extend(match self.client.kind {
            Kind::Docker => docker::make_options(has_host_network),
            Kind::Podman => vec!["--layers".to_owned()],
        });
        args.extend(context.map(|(name, path)| format!("--build-context={name}={path}")));
        args.extend(has_host_network.then(|| "--network=host".to_owned()));
        // The engine takes those that are set from the command's environment.
        args.extend(PROXIES.iter().map(|name| format!("--build-arg={name}")));
        args.push("-".to_owned());
        let stdin = dockerfile.to_owned();
        let cmd = Cmd { stdin, ..Cmd::new(&self.client.build[0], args) };
        log::debug!("{cmd}");
        let mut finished = process::run(&cmd)?;
        if !finished.status.success() {
            let log = format!("{}{}", text(&mut finished)?, finished.stderr);
            bail!("{}", on_top::reasons(&log).join("\n"));
        }
        let id = fs::read_to_string(&id).with_context(|| format!("failed to read `{id}`"))?;
        let id = id.trim().trim_start_matches("sha256:");
        let name = format!("{MADE}:{id}");
        let tagged = self.client.ask(["tag", &now, &name])?;
        self.client.check(&tagged, "name an image")?;
        let untagged = self.client.ask(["image", "rm", &now])?;
        self.client.check(&untagged, "take an image's first name away")?;
        Ok(name)
    }

    fn build(
        &self,
        plan: &Plan,
        env: Vec<(String, String)>,
        purpose: &str,
        on_event: &mut dyn FnMut(Event),
        receive: Receive<'_>,
    ) -> Result<()> {
        let cmd = self.command(plan, env);
        log::debug!("{purpose}\n{cmd}");
        let mut watch = docker::Watch::default();
        let watch = |line: &str| {
            // Podman prints no events.
            if self.client.kind == Kind::Docker {
                watch.events(line).into_iter().for_each(&mut *on_event);
            }
        };
        let finished = process::run_watched(&cmd, watch, |mut result| {
            let received = receive(&mut result);
            // The command would complain of what is no longer read.
            let _ = io::copy(&mut result, &mut io::sink());
            received
        })?;
        log::debug!("{}", finished.stderr);
        self.client.check(&finished, purpose)?;
        finished.stdout
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
