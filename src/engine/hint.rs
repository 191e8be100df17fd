//! The way out of the usual troubles with an engine, told by what it says.
//!
//! Source of the texts: docker and its buildx plugin, BuildKit, podman, and Go's `net`.

use crate::step::image::MADE;

/// For an error of the engine called `engine`, which was to do something with an `image`, if that
/// is known.
pub fn hint(said: &str, image: Option<&str>, engine: &str) -> String {
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let image =
        image.or_else(|| image_in(said)).map(|image| image.trim_start_matches("docker-image://"));
    if said.contains(MADE) && (has(OF_REGISTRY) || has(&["not found", "No such image"])) {
        return "(hint: the engine has lost the image that was made for the settings: `rustcbuildx \
                pull` makes it again)"
            .to_owned();
    }
    if has(OF_REGISTRY) && has(OUT_OF_REACH) {
        let (name, by_hand) = match image {
            Some(image) => (format!("the image `{image}`"), format!("{engine} pull {image}")),
            None => ("the image".to_owned(), format!("{engine} pull IMAGE")),
        };
        return format!(
            "(hint: the registry of {name} is out of the engine's reach: `{by_hand}` tries it by \
             hand, RUSTCBUILDX_BASE_IMAGE=docker-image://NAME sets an image from elsewhere)"
        );
    }
    let hint = if has(NO_ENGINE) {
        "is the engine running, and are DOCKER_HOST or CONTAINER_HOST right? \
         RUSTCBUILDX_RUNNER=none builds locally"
    } else if has(&[
        "not found",
        "pull access denied",
        "manifest unknown",
        "failed to resolve source",
    ]) {
        "does the image exist? `rustcbuildx pull` looks it up again, \
         RUSTCBUILDX_BASE_IMAGE=docker-image://NAME sets another"
    } else if has(&["no space left"]) {
        "the engine's disk is full: `docker buildx prune` or `podman system prune` frees some"
    } else {
        "RUSTCBUILDX_LOG=debug shows all of it; RUSTCBUILDX_RUNNER=none builds locally"
    };
    format!("(hint: {hint})")
}

/// Said of what a registry was asked.
const OF_REGISTRY: &[&str] = &[
    "/v2/",
    "failed to authorize",
    "failed to do request",
    "failed to fetch anonymous token",
    "failed to fetch oauth token",
    "failed to resolve reference",
    "failed to resolve source metadata",
    "pinging container registry",
];

/// Said where the other end of a connection is not there.
const OUT_OF_REACH: &[&str] = &[
    "connection refused",
    "connection reset",
    "context deadline exceeded",
    "i/o timeout",
    "name resolution",
    "network is unreachable",
    "no route to host",
    "no such host",
    "proxyconnect",
    "request canceled",
    "server misbehaving",
    "TLS handshake timeout",
];

const NO_ENGINE: &[&str] = &[
    "annot connect",
    "connection refused",
    "error during connect",
    "failed to dial",
    "no such host",
    "unable to connect",
];

/// The image that an engine speaks of.
fn image_in(said: &str) -> Option<&str> {
    let begin = [
        "failed to resolve source metadata for ",
        "failed to resolve reference \"",
        "initializing source docker://",
    ];
    let behind = begin.iter().find_map(|begin| said.split_once(begin))?.1;
    // A name has colons, but no blank behind them.
    behind
        .split([' ', '"', '\n'])
        .next()
        .map(|name| name.trim_end_matches(':'))
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(said: &str, image: Option<&str>, expected: &[&str]) {
        let hint = hint(said, image, "docker");
        assert!(expected.iter().all(|text| hint.contains(text)), "{hint}");
    }

    #[test]
    fn a_registry_is_not_taken_for_the_engine() {
        let out_of_reach = [
            "registry of the image `docker.io/library/rust:1-slim`",
            "`docker pull docker.io/library/rust:1-slim`",
            "RUSTCBUILDX_BASE_IMAGE",
        ];
        let asked = "ERROR: failed to do request: Head \
                     \"https://registry-1.docker.io/v2/library/rust/manifests/1-slim\": dial tcp: \
                     lookup registry-1.docker.io on 127.0.0.53:53: no such host";
        case(asked, Some("docker.io/library/rust:1-slim"), &out_of_reach);
        let built = "ERROR: failed to solve: docker.io/library/rust:1-slim: failed to resolve \
                     source metadata for docker.io/library/rust:1-slim: failed to do request: \
                     Head \"https://x/v2/y\": dial tcp 1.2.3.4:443: i/o timeout";
        case(built, None, &out_of_reach);
        let podman = "Error: initializing source docker://docker.io/library/rust:1-slim: pinging \
                      container registry x: Get \"https://x/v2/\": dial tcp: lookup x: no such \
                      host";
        case(podman, None, &out_of_reach);
        case(
            "Get \"https://x/v2/\": context deadline exceeded",
            None,
            &["registry of the image is out", "`docker pull IMAGE`"],
        );
    }

    #[test]
    fn other_troubles_have_their_own_ways_out() {
        case("Cannot connect to the Docker daemon at unix:///x", None, &["is the engine running"]);
        case(
            "error during connect: dial tcp: lookup big: no such host",
            None,
            &["is the engine running"],
        );
        case("docker.io/library/rust:0: not found", None, &["does the image exist?"]);
        case("write /x: no space left on device", None, &["the engine's disk is full"]);
        case("something else", None, &["RUSTCBUILDX_LOG=debug"]);
    }
}
