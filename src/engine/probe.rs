//! Asks the engine what an image holds, its digest and its compiler, and remembers the answer.

use std::io::Read;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use crate::{
    config::settings::{Config, OnTop},
    engine::{Engine, on_top, result::each_file},
    rustc::toolchain::Version,
    step::{
        dockerfile::{Dockerfile, Instruction, Run, Stage, Style},
        image::Image,
        plan::Plan,
    },
    util::{digest::digest, process, state_dir::Cache},
};

/// The image to build in, as remembered or, the first time, as found out.
///
/// Fails if there is none, or if its compiler is not the local one: cargo, rustdoc and IDEs read
/// what it writes.
pub fn resolve(
    config: &Config,
    engine: &dyn Engine,
    local: &Version,
    cache: &Cache,
) -> Result<Image> {
    let name = name(config, local);
    let record = record_name(&name, &config.on_top, engine);
    let image = match cache.read(&record) {
        Some(image) => image,
        None => {
            let _lock = cache.lock("images.lock")?;
            match cache.read(&record) {
                Some(image) => image,
                None => find_out(&name, &config.on_top, engine, cache)?,
            }
        }
    };
    check(&image, local)?;
    Ok(image)
}

/// Asks the engine, whatever is remembered, and remembers the answer. An image that is to have
/// something on top is made.
pub fn find_out(name: &str, on_top: &OnTop, engine: &dyn Engine, cache: &Cache) -> Result<Image> {
    let mut pinned = match engine.digest(name)? {
        Some(digest) => format!("{}@{digest}", without_tag(name)),
        None => name.to_owned(),
    };
    if !on_top.is_empty() {
        let settings = on_top.settings.join(", ");
        eprintln!("rustcbuildx: making an image of `{name}` with {settings}, once");
        let temp = cache.temp_dir()?;
        let temp = Utf8Path::from_path(temp.path()).context("the cache's name is not UTF-8")?;
        let made = engine.make(&on_top::dockerfile(&pinned, on_top), on_top.has_host_network, temp);
        pinned = made.with_context(|| {
            format!(
                "failed to make an image of `{name}` with {settings} (hint: is the setting right? \
                 If there was no network, `image.network = \"host\"` gives the engine's machine's)"
            )
        })?;
    }
    let variables = on_top.env.clone();
    let image = Image { variables, ..probe(name, &pinned, engine)? };
    cache.write(&record_name(name, on_top, engine), &image)?;
    warn_of_newer_libc(&image);
    Ok(image)
}

/// Fails if the image's compiler is another one.
pub fn check(image: &Image, local: &Version) -> Result<()> {
    let own = Version(image.version.clone());
    if own == *local {
        return Ok(());
    }
    bail!(
        "failed to use the image `{}`: its compiler is not the local one\n  image: {}\n  local: \
         {}\n\
         (hint: `rustcbuildx pull` after an update, `cargo +TOOLCHAIN`, or \
         RUSTCBUILDX_BASE_IMAGE=docker-image://NAME)",
        image.name,
        own.0.replace('\n', "\n         "),
        local.0.replace('\n', "\n         "),
    )
}

/// The image set, or the official one of the local compiler's version.
pub fn name(config: &Config, local: &Version) -> String {
    match &config.base_image {
        Some(name) => name.clone(),
        None => {
            format!("docker.io/library/rust:{}-slim", local.field("release").unwrap_or("latest"))
        }
    }
}

fn record_name(name: &str, on_top: &OnTop, engine: &dyn Engine) -> String {
    let on_top = on_top::dockerfile("", on_top);
    format!("images/{}", digest([engine.name(), engine.address(), name, &on_top]))
}

/// An image's name without `:tag` and `@digest`; a registry's port stays.
fn without_tag(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The folder with the answer.
const PROBED: &str = "/rustcbuildx/outcome";
/// Each fact on a line of its own; the version, which has several, last.
const PROBE: &str = r#"mkdir -p /rustcbuildx/outcome && { printf '%s\n' "$(rustc --print sysroot)" "$PATH" "$(getconf GNU_LIBC_VERSION 2>/dev/null)" "$(rustc -vV)"; } >/rustcbuildx/outcome/probe"#;

fn probe(name: &str, pinned: &str, engine: &dyn Engine) -> Result<Image> {
    let argv = ["/bin/sh", "-c", PROBE].map(str::to_owned).to_vec();
    let run = Run { mounts: vec![], argv };
    let dockerfile = Dockerfile {
        style: Style::default(),
        stages: vec![
            Stage { from: pinned, name: "probe", instructions: vec![Instruction::Run(&run)] },
            Stage {
                from: "scratch",
                name: "result",
                instructions: vec![Instruction::Copy {
                    from: "probe",
                    source: PROBED,
                    target: "/",
                }],
            },
        ],
    };
    let plan = Plan { dockerfile: dockerfile.to_string(), ..Plan::default() };
    let (purpose, mut text) = (format!("start `rustc` in the image `{name}`"), String::new());
    engine.build(&plan, vec![], &purpose, &mut |_| (), &mut |result| {
        each_file(result, |_, probe| Ok(probe.read_to_string(&mut text).map(drop)?))
    })?;
    let mut lines = text.splitn(4, '\n');
    let mut line =
        || lines.next().context("the image's answer is short").map(|line| line.trim().to_owned());
    let (sysroot, path, libc, version) = (line()?, line()?, line()?, line()?);
    if sysroot.is_empty() || version.is_empty() {
        bail!(
            "failed to use the image `{name}`: it has no working `rustc` on its PATH (hint: the \
             official rust images have)"
        );
    }
    Ok(Image {
        name: name.to_owned(),
        pinned: pinned.to_owned(),
        version,
        sysroot,
        path,
        variables: vec![],
        libc,
    })
}

/// A program linked against a newer C library than the host's does not start there.
fn warn_of_newer_libc(image: &Image) {
    let Ok(finished) = process::run(&process::Cmd::new("getconf", ["GNU_LIBC_VERSION"])) else {
        return;
    };
    let mut host = String::new();
    let mut stdout = finished.stdout;
    if stdout.read_to_string(&mut host).is_err() {
        return;
    }
    if let (Some(theirs), Some(ours)) = (glibc(&image.libc), glibc(&host))
        && theirs > ours
    {
        eprintln!(
            "rustcbuildx: warning: the image `{}` has glibc {}.{} and this machine {}.{}: \
             programs it links may not start here \
             (hint: RUSTCBUILDX_BASE_IMAGE=docker-image://NAME of an image on an older system)",
            image.name, theirs.0, theirs.1, ours.0, ours.1
        );
    }
}

fn glibc(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_cut_off() {
        assert_eq!(without_tag("localhost:5000/rust:1.95-slim"), "localhost:5000/rust");
        assert_eq!(without_tag("localhost:5000/rust"), "localhost:5000/rust");
        assert_eq!(without_tag("rust:1@sha256:ab"), "rust");
    }

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert!(glibc("glibc 2.36\n") > glibc("glibc 2.4"));
        assert_eq!(glibc(""), None);
    }
}
