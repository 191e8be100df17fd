//! Docker: BuildKit through the buildx plugin.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use serde::Deserialize;

use crate::{
    config::env::Env,
    engine::{
        client::{Client, Event, Kind, text, without_tag},
        hint::hint,
    },
    step::image::MADE,
};

/// Where the docker CLI looks for plugins, after its configuration folder.
/// Source: `cli-plugins/manager` of the docker CLI.
const PLUGIN_FOLDERS: &[&str] = &[
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The installed CLI. The plugin is called directly where it is found: that saves half of a call's
/// time.
pub fn find(env: &Env) -> Result<Client> {
    let cli = which::which("docker").context(
        "failed to find `docker` on PATH (hint: install docker, or RUSTCBUILDX_RUNNER=podman)",
    )?;
    let cli = cli.to_string_lossy().into_owned();
    let plugin = plugin_folders(env)
        .into_iter()
        .map(|dir| dir.join("docker-buildx"))
        .find(|path| path.is_file());
    let build = match plugin {
        Some(plugin) => vec![plugin.to_string_lossy().into_owned(), "build".to_owned()],
        None => vec![cli.clone(), "buildx".to_owned(), "build".to_owned()],
    };
    Ok(Client { kind: Kind::Docker, build, cli })
}

fn plugin_folders(env: &Env) -> Vec<PathBuf> {
    let config = match env.get("DOCKER_CONFIG") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => env.get("HOME").map(|home| Path::new(home).join(".docker")),
    };
    let own = config.into_iter().map(|dir| dir.join("cli-plugins"));
    own.chain(PLUGIN_FOLDERS.iter().map(PathBuf::from)).collect()
}

/// Fails unless the engine answers and the CLI can build.
pub fn check(client: Client) -> Result<Client> {
    for args in [["buildx", "version"], ["info", "--format={{.ID}}"]] {
        let finished = client.ask(args)?;
        if !finished.status.success() {
            bail!("`docker {}` failed: {}", args.join(" "), client.complaint(&finished.stderr));
        }
    }
    Ok(client)
}

pub fn build_options() -> Vec<String> {
    ["--progress=rawjson", "--provenance=false", "--output=-"].map(str::to_owned).to_vec()
}

/// For a build whose result is an image of the engine's.
pub fn make_options(has_host_network: bool) -> Vec<String> {
    let allowed = has_host_network.then_some("--allow=network.host");
    let options = ["--progress=plain", "--provenance=false", "--load"];
    options.into_iter().chain(allowed).map(str::to_owned).collect()
}

/// Reads the progress of a build: BuildKit's `SolveStatus` as JSON, one a line.
#[derive(Default)]
pub struct Watch {
    /// The digests of the steps that are the worker's. Each has the beginning of a line that is not
    /// complete yet.
    workers: HashMap<String, Vec<u8>>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    vertexes: Vec<Vertex>,
    #[serde(default)]
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct Vertex {
    digest: String,
    name: String,
}

#[derive(Deserialize)]
struct Log {
    vertex: String,
    /// In base 64.
    #[serde(default)]
    data: String,
}

impl Watch {
    /// The events in a line of progress.
    pub fn events(&mut self, line: &str) -> Vec<Event> {
        let Ok(status) = serde_json::from_str::<Status>(line) else { return vec![] };
        for Vertex { digest, name } in status.vertexes {
            if name.starts_with('[') && name.contains("] RUN ") {
                self.workers.entry(digest).or_default();
            }
        }
        let mut events = Vec::new();
        for log in status.logs {
            let Some(said) = self.workers.get_mut(&log.vertex) else { continue };
            said.extend(BASE64.decode(log.data.as_bytes()).unwrap_or_default());
            while let Some(end) = said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = said.drain(..=end).collect();
                events.extend(Event::of(&String::from_utf8_lossy(&line)));
            }
        }
        events
    }
}

#[derive(Deserialize)]
struct Manifest {
    digest: String,
}

/// See [`Engine::pinned`](crate::engine::Engine::pinned).
pub fn pinned(client: &Client, image: &str) -> Result<String> {
    let mut remote =
        client.ask(["buildx", "imagetools", "inspect", "--format={{json .Manifest}}", image])?;
    if remote.status.success() {
        let manifest: Manifest = serde_json::from_str(&text(&mut remote)?)
            .with_context(|| format!("failed to read the manifest of `{image}`"))?;
        return Ok(format!("{}@{}", without_tag(image), manifest.digest));
    }
    let mut local = client.ask(["image", "inspect", "--format={{.Id}}", image])?;
    if !local.status.success() {
        bail!(
            "failed to find the image `{image}`: {} {}",
            client.complaint(&remote.stderr),
            hint(&format!("{}{}", remote.stderr, local.stderr), Some(image), client.name())
        );
    }
    // BuildKit looks for a name with a digest in the registry, also where the image was built or
    // named here.
    let id = text(&mut local)?;
    let name = format!("{MADE}:{}", id.trim_start_matches("sha256:"));
    let tagged = client.ask(["tag", image, &name])?;
    client.check(&tagged, &format!("name the image `{image}`"))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a real build, shortened.
    #[test]
    fn progress_is_read() {
        let mut watch = Watch::default();
        let begun = r#"{"vertexes":[{"digest":"sha256:a","inputs":["sha256:b"],"name":"[batch 1/1] RUN --network=none x","started":"2026-11-23T02:03:55Z"},{"digest":"sha256:c","name":"[internal] load .dockerignore"}]}"#;
        assert_eq!(watch.events(begun), []);
        let mut said = |vertex: &str, text: &str| {
            let data = BASE64.encode(text.as_bytes());
            watch.events(&format!(
                r#"{{"logs":[{{"vertex":"sha256:{vertex}","stream":1,"data":"{data}"}}]}}"#
            ))
        };
        let started = |key: &str| Event::Started { key: key.to_owned() };
        let ended = |key: &str, is_stored| Event::Ended { key: key.to_owned(), is_stored };
        assert_eq!(said("a", "rustcbuildx start u1\nrustcbuildx sta"), [started("u1")]);
        assert_eq!(said("c", "rustcbuildx start u3\n"), []);
        assert_eq!(said("a", "rt u2\nrustcbuildx stored u3\n"), [started("u2"), ended("u3", true)]);
        let text = "failed to unpack".to_owned();
        assert_eq!(
            said("a", "rustcbuildx end u1 0\nfailed to unpack\n"),
            [ended("u1", false), Event::Message { text }]
        );
        assert_eq!(watch.events("ERROR: failed to build"), []);
    }
}
