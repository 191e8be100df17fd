//! The image that a build uses: the base image with what the settings and this machine put on top.
//! It is found or made once, and remembered.

use std::fs;

use anyhow::{Context, Error, Result, anyhow, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        files::lock::{self, LOCK},
        programs::Program,
        settings::{Config, OnTop},
    },
    engine::{
        Engine,
        client::without_tag,
        local::{Found, Layout, glibc, signs_of_toolchain},
        on_top,
        probe::{Probed, probe},
    },
    rustc::toolchain::{self, Version},
    step::image::{Image, is_for_good},
    util::{
        digest::digest,
        process::{self, Cmd},
        state_dir::Cache,
    },
};

/// The local compiler.
pub struct Local<'a> {
    /// Its name or path, as cargo gives it.
    pub rustc: &'a str,
    pub version: &'a Version,
}

/// An image, and the files of this machine that decided what is in it.
#[derive(Serialize, Deserialize)]
struct Record {
    image: Image,
    found: Vec<Found>,
}

/// The image to build in, as remembered or, the first time, as found out.
///
/// Fails if there is none with the local compiler: cargo, rustdoc and IDEs read what it writes.
pub fn resolve(
    config: &Config,
    engine: &dyn Engine,
    local: &Local<'_>,
    cache: &Cache,
) -> Result<Image> {
    let record = record_name(config, local, engine);
    let remembered = || {
        let record = cache.read::<Record>(&record)?;
        record.found.iter().all(Found::is_current).then_some(record.image)
    };
    if let Some(image) = remembered() {
        return Ok(image);
    }
    let _lock = cache.lock("images.lock")?;
    match remembered() {
        Some(image) => Ok(image),
        None => find_out(config, engine, local, cache, |_| Ok(())),
    }
}

/// Asks the engine, whatever is remembered, and remembers the answer. An image that is to have
/// something on top is made. `fetch` is told the name of the base image before that is asked for.
pub fn find_out(
    config: &Config,
    engine: &dyn Engine,
    local: &Local<'_>,
    cache: &Cache,
    fetch: impl Fn(&str) -> Result<()>,
) -> Result<Image> {
    let Base { name, pinned, on_top } = base(config, engine, local.version, fetch)?;
    let temp = cache.temp_dir()?;
    let temp = Utf8Path::from_path(temp.path()).context("the cache's name is not UTF-8")?;
    let pinned = match on_top.is_empty() {
        true => pinned,
        false => with_settings(&name, &pinned, &on_top, engine, temp)?,
    };
    let probed = probe(&name, &pinned, &config.programs, engine)?;
    let lacking = Lacking::of(&name, &probed, config, local)?;
    let (pinned, probed) = match lacking.added_to(&name, &pinned, &probed, engine, temp)? {
        None => (pinned, probed),
        Some(made) => {
            let probed = probe(&name, &made, &config.programs, engine)?;
            (made, probed)
        }
    };
    if probed.version != local.version.0 {
        return Err(other_compiler(&name, &probed, local));
    }
    let Probed { sysroot, path, libc, version, .. } = probed;
    let image = Image { name, pinned, version, sysroot, path, variables: on_top.env, libc };
    let record = Record { image: image.clone(), found: lacking.found() };
    cache.write(&record_name(config, local, engine), &record)?;
    warn_of_newer_libc(&image);
    Ok(image)
}

/// Where an image begins.
struct Base {
    name: String,
    /// The name that it has for good.
    pinned: String,
    on_top: OnTop,
}

/// The image set, or the official one of the local compiler's version. Where there is none, as of a
/// nightly, it is a plain one of a distribution.
fn base(
    config: &Config,
    engine: &dyn Engine,
    local: &Version,
    fetch: impl Fn(&str) -> Result<()>,
) -> Result<Base> {
    let mut on_top = config.on_top.clone();
    let name = match &config.base_image {
        Some(name) => name.clone(),
        None => official(local),
    };
    let pinned = |name: &str| match locked(config, name) {
        Some(pinned) => fetch(&pinned).map(|()| pinned),
        None => fetch(name).and_then(|()| engine.pinned(name)),
    };
    let error = match pinned(&name) {
        Ok(pinned) => return Ok(Base { name, pinned, on_top }),
        Err(error) => error,
    };
    let Some(plain) = plain().filter(|_| config.base_image.is_none()) else { return Err(error) };
    let Ok(pinned) = pinned(&plain) else { return Err(error) };
    on_top.apt.splice(0..0, C_COMPILER.map(str::to_owned));
    on_top.settings.insert(0, "a C compiler".to_owned());
    eprintln!("rustcbuildx: no image `{name}` was found, so `{plain}` is used");
    Ok(Base { name: plain, pinned, on_top })
}

/// The name with the digest that the lock file has for it.
fn locked(config: &Config, name: &str) -> Option<String> {
    let locked = config.locked.as_ref()?;
    match locked.get(name) {
        Some(digest) => Some(format!("{}@{digest}", without_tag(name))),
        None => {
            if !is_for_good(name) {
                eprintln!(
                    "rustcbuildx: `{LOCK}` has no `{name}` (hint: `rustcbuildx pull --lock` writes it)"
                );
            }
            None
        }
    }
}

fn official(local: &Version) -> String {
    format!("docker.io/library/rust:{}-slim", local.field("release").unwrap_or("latest"))
}

/// Debian's releases by their C libraries, the newest first.
const DEBIAN: &[((u32, u32), &str)] =
    &[((2, 41), "trixie"), ((2, 36), "bookworm"), ((2, 31), "bullseye")];
/// What links programs there.
const C_COMPILER: [&str; 2] = ["gcc", "libc6-dev"];

/// A plain image whose C library is as old as this machine's, so that programs start here.
fn plain() -> Option<String> {
    let own = glibc(&own_libc()?)?;
    let (_, release) = DEBIAN.iter().find(|(libc, _)| *libc <= own)?;
    Some(format!("docker.io/library/debian:{release}-slim"))
}

/// The image with what the settings say.
fn with_settings(
    name: &str,
    pinned: &str,
    on_top: &OnTop,
    engine: &dyn Engine,
    temp: &Utf8Path,
) -> Result<String> {
    let settings = on_top.settings.join(", ");
    eprintln!("rustcbuildx: making an image of `{name}` with {settings}, once");
    let text = on_top::dockerfile(pinned, on_top);
    engine.make(&text, None, on_top.has_host_network, temp).with_context(|| {
        format!(
            "failed to make an image of `{name}` with {settings} (hint: is the setting right? If \
             there was no network, `image.network = \"host\"` gives the engine's machine's)"
        )
    })
}

/// What an image lacks and this machine may have.
struct Lacking<'a> {
    /// The programs that the build is told to use, as they were found here.
    programs: Vec<(&'a Program, Found)>,
    /// The local compiler's folder and what changes with it, if the image has another compiler.
    toolchain: Option<(Utf8PathBuf, Vec<Found>)>,
}

impl<'a> Lacking<'a> {
    fn of(name: &str, probed: &Probed, config: &'a Config, local: &Local<'_>) -> Result<Self> {
        let lacks = |program: &&Program| !probed.programs.contains(&program.name);
        let programs: Vec<_> = config
            .programs
            .iter()
            .filter(lacks)
            .map(|program| (program, Found::of(&program.name)))
            .collect();
        let is_missing =
            |(program, found): &&(&Program, Found)| program.is_required && found.file.is_none();
        if let Some((program, _)) = programs.iter().find(is_missing) {
            bail!(
                "failed to put `{}` into the image `{name}`: neither the image nor this machine \
                 has it (hint: RUSTCBUILDX_TOOLS or `tools` names it)",
                program.name
            );
        }
        if probed.version == local.version.0 {
            return Ok(Self { programs, toolchain: None });
        }
        let sysroot = toolchain::sysroot(local.rustc)?;
        let rustc = sysroot.join("bin/rustc");
        // A program in the compiler's place may say what it likes.
        if Version::ask(&rustc)? != *local.version {
            return Err(other_compiler(name, probed, local));
        }
        let signs = signs_of_toolchain(&sysroot);
        Ok(Self { programs, toolchain: Some((sysroot, signs)) })
    }

    /// All that was looked for.
    fn found(self) -> Vec<Found> {
        let signs = self.toolchain.map(|(_, signs)| signs).unwrap_or_default();
        self.programs.into_iter().map(|(_, found)| found).chain(signs).collect()
    }

    /// The image with what this machine has of it; `None` if that is nothing.
    fn added_to(
        &self,
        name: &str,
        pinned: &str,
        probed: &Probed,
        engine: &dyn Engine,
        temp: &Utf8Path,
    ) -> Result<Option<String>> {
        let layout = Layout { root: &temp.join("root"), image: probed };
        fs::create_dir(layout.root).with_context(|| format!("failed to make `{}`", layout.root))?;
        let mut parts = Vec::new();
        if let Some((sysroot, _)) = &self.toolchain {
            let failed = || format!("failed to put this machine's Rust into the image `{name}`");
            layout.add_toolchain(sysroot).with_context(failed)?;
            parts.push("Rust".to_owned());
        }
        for (program, found) in &self.programs {
            let Some((file, _)) = &found.file else { continue };
            match layout.add_program(&program.name, file) {
                Ok(()) => parts.push(format!("`{}`", program.name)),
                Err(error) if program.is_required => {
                    return Err(error.context(format!(
                        "failed to put this machine's `{}` into the image `{name}`",
                        program.name
                    )));
                }
                // Only some units need it, if any.
                Err(error) => eprintln!(
                    "rustcbuildx: the image `{name}` is without this machine's `{}`: {error:#}",
                    program.name
                ),
            }
        }
        if parts.is_empty() {
            return Ok(None);
        }
        let parts = format!("this machine's {}", parts.join(", "));
        eprintln!("rustcbuildx: making an image of `{name}` with {parts}, once");
        let (has_toolchain, has_libraries) = (self.toolchain.is_some(), layout.has_libraries());
        let text = on_top::with_local(pinned, probed, has_toolchain, has_libraries);
        let made = engine.make(&text, Some((on_top::LOCAL, layout.root)), false, temp);
        made.map(Some).with_context(|| format!("failed to put {parts} into the image `{name}`"))
    }
}

fn other_compiler(name: &str, probed: &Probed, local: &Local<'_>) -> Error {
    let lines = |version: &str| version.replace('\n', "\n         ");
    let libc = if probed.libc.is_empty() { "another C library than GNU's" } else { &probed.libc };
    let image = match probed.version.as_str() {
        "" => format!("none that starts there; it has {libc}"),
        version => lines(version),
    };
    anyhow!(
        "failed to use the image `{name}`: its compiler is not the local one\n  image: {image}\n  \
         local: {}\n\
         (hint: `rustcbuildx pull` after an update, `cargo +TOOLCHAIN`, or \
         RUSTCBUILDX_BASE_IMAGE=docker-image://NAME)",
        lines(&local.version.0),
    )
}

fn record_name(config: &Config, local: &Local<'_>, engine: &dyn Engine) -> String {
    let base = config.base_image.as_deref().unwrap_or_default();
    let on_top = on_top::dockerfile(base, &config.on_top);
    let (programs, version) = (format!("{:?}", config.programs), &local.version.0);
    let locked = config.locked.as_ref().map(lock::encode).unwrap_or_default();
    let (name, address) = (engine.name(), engine.address());
    format!("images/{}", digest([name, address, &on_top, &programs, version, &locked]))
}

/// What `getconf GNU_LIBC_VERSION` prints here; `None` for another C library.
fn own_libc() -> Option<String> {
    let finished = process::run(&Cmd::new("getconf", ["GNU_LIBC_VERSION"])).ok()?;
    std::io::read_to_string(finished.stdout).ok().filter(|_| finished.status.success())
}

/// A program linked against a newer C library than the host's does not start there.
fn warn_of_newer_libc(image: &Image) {
    let own = own_libc();
    if let (Some(theirs), Some(ours)) = (glibc(&image.libc), own.as_deref().and_then(glibc))
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
