//! What goes on top of a base image, as Dockerfiles: the only ones whose steps may have a network.

use std::fmt::Write;

use crate::{
    config::settings::OnTop,
    engine::{local::ROOT, probe::Probed},
};

/// The stage with what the settings name, which a text of the user's goes on from.
const STAGE: &str = "base";

/// The image that an image becomes.
///
/// A shell in it runs the package managers, because what they have downloaded must be removed in
/// the same step.
pub fn dockerfile(base: &str, on_top: &OnTop) -> String {
    let mut text = format!("FROM {base} AS {STAGE}\nUSER root\n");
    for (packages, before, install, after) in [
        (
            &on_top.apt,
            "export DEBIAN_FRONTEND=noninteractive && apt-get update && ",
            "apt-get install --yes --no-install-recommends",
            " && rm -rf /var/lib/apt/lists/*",
        ),
        (&on_top.apk, "", "apk add --no-cache", ""),
        (&on_top.dnf, "", "dnf install -y --setopt=install_weak_deps=False", " && dnf clean all"),
    ] {
        if !packages.is_empty() {
            let packages = packages.join(" ");
            let line = format!("RUN {before}{install} {packages}{after}\n");
            text.push_str(&line);
        }
    }
    for (name, value) in &on_top.env {
        writeln!(text, "ENV {name}={}", in_quotes(value)).expect("a String takes all");
    }
    if let Some(own) = &on_top.dockerfile {
        text.push_str(own.trim_end());
        text.push('\n');
    }
    text
}

/// The context with files of this machine, laid out like the image's root.
pub const LOCAL: &str = "local";

/// The image with files of this machine, which may have a toolchain and libraries among them.
pub fn with_local(
    pinned: &str,
    image: &Probed,
    has_toolchain: bool,
    has_libraries: bool,
) -> String {
    let mut text = format!("FROM {pinned}\nUSER root\nCOPY --from={LOCAL} / /\n");
    if has_libraries {
        text.push_str("RUN --network=none [\"/sbin/ldconfig\"]\n");
    }
    if has_toolchain {
        let path = in_quotes(&format!("{ROOT}/bin:{}", image.path));
        writeln!(text, "ENV PATH={path}").expect("a String takes all");
    }
    text
}

/// A value as it stands in an `ENV` instruction.
fn in_quotes(value: &str) -> String {
    let mut quoted = String::from('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

/// The lines of a failed build's log that say why, without what the engine puts before them.
pub fn reasons(log: &str) -> Vec<&str> {
    const MOST: usize = 12;
    let said = |line: &'_ str| -> Option<usize> {
        // BuildKit's plain progress: `#5 1.234 text`.
        let (step, rest) = line.strip_prefix('#')?.split_once(' ')?;
        let (time, text) = rest.split_once(' ')?;
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
        (is_number(step) && is_number(time)).then_some(line.len() - text.len())
    };
    let of_steps: Vec<&str> = log.lines().filter_map(|line| Some(&line[said(line)?..])).collect();
    let all: Vec<&str> = if of_steps.is_empty() {
        log.lines().filter(|line| !line.trim().is_empty()).collect()
    } else {
        of_steps
    };
    all[all.len().saturating_sub(MOST)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_goes_on_top() {
        let on_top = OnTop {
            apt: vec!["mold".to_owned(), "libssl-dev".to_owned()],
            env: vec![("A".to_owned(), "b \"c\" $d \\".to_owned())],
            dockerfile: Some("RUN true\n\n".to_owned()),
            ..OnTop::default()
        };
        assert_eq!(
            dockerfile("rust@sha256:0", &on_top),
            "FROM rust@sha256:0 AS base\nUSER root\nRUN export \
             DEBIAN_FRONTEND=noninteractive && apt-get update && apt-get install --yes \
             --no-install-recommends mold libssl-dev && rm -rf /var/lib/apt/lists/*\n\
             ENV A=\"b \\\"c\\\" \\$d \\\\\"\nRUN true\n"
        );
        let on_top =
            OnTop { apk: vec!["gcc".to_owned()], has_host_network: true, ..OnTop::default() };
        assert!(dockerfile("alpine", &on_top).contains("\nRUN apk add --no-cache gcc\n"));
    }

    #[test]
    fn a_failed_step_says_why() {
        let log = "#1 [internal] load build definition\n#5 0.1 Reading lists...\n#5 2.345 E: Unable \
                   to locate package x\n#5 ERROR: process did not complete\n------\nERROR: failed";
        assert_eq!(reasons(log), ["Reading lists...", "E: Unable to locate package x"]);
        assert_eq!(reasons("Error: no such image\n"), ["Error: no such image"]);
    }
}
