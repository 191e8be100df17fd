//! Podman: builds through its own `podman build`, from 5.4 on.

use anyhow::{Context, Result, bail};

use crate::{
    config::env::Env,
    engine::client::{Client, Kind, text, without_tag},
};

/// Older versions reuse a step although what it mounts has changed.
const OLDEST: (u32, u32) = (5, 4);

/// The installed CLI; fails if it is too old to be right.
pub fn find(env: &Env) -> Result<Client> {
    let cli = which::which("podman").context(
        "failed to find `podman` on PATH (hint: install podman 5.4 or newer, or \
         RUSTCBUILDX_RUNNER=docker)",
    )?;
    let cli = cli.to_string_lossy().into_owned();
    if let Some(service) =
        ["CONTAINER_HOST", "CONTAINER_CONNECTION"].iter().find_map(|name| env.get(name))
    {
        bail!(
            "failed to use podman at `{service}`: it gives no build's result back from a remote \
             service \
             (hint: unset CONTAINER_HOST and CONTAINER_CONNECTION, or DOCKER_HOST=ssh://… with \
             RUSTCBUILDX_RUNNER=docker)"
        );
    }
    let client = Client { kind: Kind::Podman, build: vec![cli.clone(), "build".to_owned()], cli };
    let mut finished = client.ask(["version", "--format={{.Client.Version}}"])?;
    if !finished.status.success() {
        bail!("failed to ask `podman version`: {}", client.complaint(&finished.stderr));
    }
    let version = text(&mut finished)?;
    match parse(&version) {
        Some(found) if found >= OLDEST => Ok(client),
        Some(_) => bail!(
            "failed to use podman {version}: before 5.4 it reuses stale results of steps with \
             bind mounts \
             (hint: update podman, or RUSTCBUILDX_RUNNER=docker)"
        ),
        None => bail!("failed to read podman's version `{version}`"),
    }
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Podman stores each step as an image, and compares a new step with all images that it has. Only
/// the step that compiles the worker is worth that.
pub fn build_options() -> Vec<String> {
    // Without --quiet, step lines mix with the tar file on standard output.
    ["--quiet", "--layers", "--output=-"].map(str::to_owned).to_vec()
}

/// See [`Engine::pinned`](crate::engine::Engine::pinned).
pub fn pinned(client: &Client, image: &str) -> Result<String> {
    let mut held = client.ask(["image", "inspect", "--format={{.Digest}}", image])?;
    if !held.status.success() {
        let pulled = client.ask(["pull", "--quiet", image])?;
        client.check(&pulled, &format!("find the image `{image}`"))?;
        held = client.ask(["image", "inspect", "--format={{.Digest}}", image])?;
    }
    let digest = text(&mut held)?;
    Ok(match digest.starts_with("sha256:") {
        true => format!("{}@{digest}", without_tag(image)),
        false => image.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("5.10.0-dev").unwrap() > OLDEST);
        assert!(parse("4.3.1").unwrap() < OLDEST);
        assert_eq!(parse("next"), None);
    }
}
