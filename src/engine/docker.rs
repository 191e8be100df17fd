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
        client::{Client, Event, Kind, text},
        hint::hint,
    },
    step::layout::MISSED,
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

pub fn build_options(watched: bool) -> Vec<String> {
    let progress = if watched { "--progress=rawjson" } else { "--progress=plain" };
    [progress, "--provenance=false", "--output=-"].map(str::to_owned).to_vec()
}

/// Reads the progress of a build: BuildKit's `SolveStatus` as JSON, one a line.
#[derive(Default)]
pub struct Watch {
    /// The stages of the vertices seen.
    stages: HashMap<String, String>,
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
    started: Option<String>,
    completed: Option<String>,
    #[serde(default)]
    cached: bool,
}

#[derive(Deserialize)]
struct Log {
    vertex: String,
    /// In base 64.
    #[serde(default)]
    data: String,
}

impl Watch {
    /// The events in a line of progress. A step that prints something is at work, unless it misses
    /// a file.
    pub fn events(&mut self, line: &str) -> Vec<Event> {
        let Ok(status) = serde_json::from_str::<Status>(line) else { return vec![] };
        let mut events = Vec::new();
        for Vertex { digest, name, started, completed, cached } in status.vertexes {
            let step = name.strip_prefix('[').and_then(|name| name.split_once("] RUN "));
            let Some(stage) = step.and_then(|(step, _)| step.split(' ').next()) else { continue };
            if started.is_some() {
                events.push(Event::Begun { stage: stage.to_owned() });
            }
            if completed.is_some() {
                events.push(Event::Done { stage: stage.to_owned(), cached });
            }
            self.stages.insert(digest, stage.to_owned());
        }
        let said = status.logs.iter().filter_map(|log| {
            let stage = self.stages.get(&log.vertex)?.clone();
            let text = BASE64.decode(log.data.as_bytes()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            Some(if text.starts_with(MISSED) {
                Event::Missed { text }
            } else {
                Event::AtWork { stage }
            })
        });
        events.extend(said);
        events
    }
}

#[derive(Deserialize)]
struct Manifest {
    digest: String,
}

pub fn digest(client: &Client, image: &str) -> Result<Option<String>> {
    let mut remote =
        client.ask(["buildx", "imagetools", "inspect", "--format={{json .Manifest}}", image])?;
    if remote.status.success() {
        let manifest: Manifest = serde_json::from_str(&text(&mut remote)?)
            .with_context(|| format!("failed to read the manifest of `{image}`"))?;
        return Ok(Some(manifest.digest));
    }
    let mut local =
        client.ask(["image", "inspect", "--format={{join .RepoDigests \" \"}}", image])?;
    if !local.status.success() {
        bail!(
            "failed to find the image `{image}`: {} {}",
            client.complaint(&remote.stderr),
            hint(&format!("{}{}", remote.stderr, local.stderr), Some(image), client.name())
        );
    }
    let digests = text(&mut local)?;
    Ok(digests.split(' ').find_map(|name| Some(name.split_once('@')?.1.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a real build, shortened.
    #[test]
    fn progress_is_read() {
        let mut watch = Watch::default();
        let begun = r#"{"vertexes":[{"digest":"sha256:a","inputs":["sha256:b"],"name":"[u1 1/1] RUN --network=none x","started":"2026-11-23T02:03:55Z"},{"digest":"sha256:c","name":"[internal] load .dockerignore"}]}"#;
        let said = r#"{"logs":[{"vertex":"sha256:a","stream":1,"data":"Lgo=","timestamp":"2026-11-23T02:03:56Z"},{"vertex":"sha256:c","data":""}]}"#;
        let done = r#"{"vertexes":[{"digest":"sha256:a","name":"[u1 1/1] RUN --network=none x","completed":"2026-11-23T02:03:57Z","cached":true}]}"#;
        let stage = || "u1".to_owned();
        assert_eq!(watch.events(begun), [Event::Begun { stage: stage() }]);
        assert_eq!(watch.events(said), [Event::AtWork { stage: stage() }]);
        let missed = said.replace("Lgo=", "b3BlbiAvcnVzdGNidWlsZHgvY3JhdGVzL3UyL2ZpbGVzL2EK");
        assert_eq!(watch.events(&missed), [Event::Missed { text: format!("{MISSED}/u2/files/a") }]);
        assert_eq!(watch.events(done), [Event::Done { stage: stage(), cached: true }]);
        assert_eq!(watch.events("ERROR: failed to build"), []);
    }
}
