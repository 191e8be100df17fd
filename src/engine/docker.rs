//! Docker: BuildKit through the buildx plugin.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Engine, Kind, text};
use crate::env::Env;

/// Where the docker CLI looks for plugins, after its configuration folder.
/// Source: `cli-plugins/manager` of the docker CLI.
const PLUGIN_FOLDERS: &[&str] = &[
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The installed CLI. The plugin is called directly where it is found: that saves half of a call's time.
pub fn find(env: &Env, address: String) -> Result<Engine> {
    let cli = which::which("docker")
        .context("failed to find `docker` on PATH (hint: install docker, or RUSTCBUILDX_RUNNER=podman)")?;
    let cli = cli.to_string_lossy().into_owned();
    let plugin = plugin_folders(env).into_iter().map(|dir| dir.join("docker-buildx")).find(|path| path.is_file());
    let build = match plugin {
        Some(plugin) => vec![plugin.to_string_lossy().into_owned(), "build".to_owned()],
        None => vec![cli.clone(), "buildx".to_owned(), "build".to_owned()],
    };
    Ok(Engine { kind: Kind::Docker, build, cli, address })
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
pub fn check(engine: Engine) -> Result<Engine> {
    for args in [["buildx", "version"], ["info", "--format={{.ID}}"]] {
        let finished = engine.ask(&engine.cli, args)?;
        if !finished.status.success() {
            bail!("`docker {}` failed: {}", args.join(" "), engine.complaint(&finished.stderr));
        }
    }
    Ok(engine)
}

pub fn build_options() -> Vec<String> {
    ["--progress=plain", "--provenance=false", "--output=-"].map(str::to_owned).to_vec()
}

#[derive(Deserialize)]
struct Manifest {
    digest: String,
}

pub fn digest(engine: &Engine, image: &str) -> Result<Option<String>> {
    let mut remote =
        engine.ask(&engine.cli, ["buildx", "imagetools", "inspect", "--format={{json .Manifest}}", image])?;
    if remote.status.success() {
        let manifest: Manifest = serde_json::from_str(&text(&mut remote)?)
            .with_context(|| format!("failed to read the manifest of `{image}`"))?;
        return Ok(Some(manifest.digest));
    }
    let mut local = engine.ask(&engine.cli, ["image", "inspect", "--format={{join .RepoDigests \" \"}}", image])?;
    if !local.status.success() {
        bail!(
            "failed to find the image `{image}`: {} {}",
            engine.complaint(&remote.stderr),
            engine.hint(&format!("{}{}", remote.stderr, local.stderr))
        );
    }
    let digests = text(&mut local)?;
    Ok(digests.split(' ').find_map(|name| Some(name.split_once('@')?.1.to_owned())))
}
