//! `rustcbuildx doctor`: whether all that a build needs is there and right, and what to do where it
//! is not.

mod build;
mod disk;
mod profile;
mod report;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use self::report::Report;
use crate::{
    config::{
        env::{Env, current_exe},
        files::{cargo, location::Location, resolved::with_files},
        settings::Config,
        table::VARS,
    },
    engine::{
        Engine,
        images::{self, Local},
        installed::{About, Installed},
    },
    report::misspelt,
    rustc::toolchain::{Version, answer},
    step::image::Image,
    util::state_dir::Cache,
};

/// So far clocks may be apart, in seconds.
const APART: i64 = 60;

/// Looks at one thing after the other and says of each what it found, then suggests settings, or
/// writes them to the file `write`. Ends with 1 if something has to be done.
pub fn run(write: Option<&str>) -> Result<ExitCode> {
    let mut report = Report::default();
    if let Some((env, config)) = report.of("settings", settings()) {
        for (_, complaint) in misspelt::complaints(&env) {
            report.note("settings", &complaint);
        }
        examine(&env, &config, write, &mut report)?;
    }
    Ok(report.status())
}

fn settings() -> Result<((Env, Config), String)> {
    let env = Env::current();
    let location = Location::here(&env);
    let env = with_files(env, location.as_ref())?;
    let config = Config::load(&env)?;
    if config.is_local() {
        bail!("rustc runs locally: RUSTCBUILDX=0 or RUSTCBUILDX_RUNNER=none");
    }
    let places = VARS.iter().filter_map(|var| env.in_files(var.name)).flat_map(|found| &found.at);
    let mut files: Vec<String> = places.map(|at| format!("`{}`", at.file)).collect();
    files.sort();
    files.dedup();
    let files = if files.is_empty() { "no file has any".to_owned() } else { files.join(", ") };
    Ok(((env, config), files))
}

fn examine(env: &Env, config: &Config, write: Option<&str>, report: &mut Report) -> Result<()> {
    report.of("wrapper", wrapper(env));
    let Some(cache) = report.of("cache", disk::cache(env, config)) else { return Ok(()) };
    let rustc = env.get("RUSTC").unwrap_or("rustc");
    let version = report.of("toolchain", toolchain(rustc, env, &cache));
    let engine = report.of("engine", engine(config, env, &cache));
    let (Some(version), Some((engine, about))) = (version, engine) else { return Ok(()) };
    note_driver(&about, report);
    clock(&about, report);
    let local = Local { rustc, version: &version };
    let image = images::resolve(config, &engine, &local, &cache);
    let image = image.map(|image| (image.clone(), described(&image)));
    let Some(image) = report.of("image", image) else { return Ok(()) };
    match build::try_out(env) {
        Ok((said, told)) => {
            report.fine("build", &said);
            told.iter().for_each(|line| report.note("build", line));
        }
        Err(error) => report.wrong("build", &error),
    }
    profile::suggest(env, config, &image, &cache, write)
}

/// Whether cargo calls this very program.
fn wrapper(env: &Env) -> Result<((), String)> {
    let folder = env.current_dir()?;
    let files = cargo::files(&folder, env.cargo_home().ok().as_deref());
    let in_file = || files.iter().find_map(|file| cargo::wrapper(file));
    let variables = ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"];
    let set = variables.iter().find_map(|name| Some(((*name).to_owned(), env.get(name)?.into())));
    let Some((by, name)) = set.or_else(in_file) else {
        bail!(
            "cargo calls no wrapper (hint: `export RUSTC_WRAPPER=rustcbuildx`, or `cargo green` \
             instead of `cargo`)"
        );
    };
    let found = which::which(&name).with_context(|| format!("failed to find `{name}`, of {by}"))?;
    let is_own =
        found.canonicalize().is_ok_and(|found| current_exe().is_ok_and(|own| found == own));
    if !is_own {
        bail!(
            "cargo calls another program than this: `{}`, of {by} (hint: `export \
             RUSTC_WRAPPER=rustcbuildx`)",
            found.display()
        );
    }
    Ok(((), format!("cargo calls `{}`, of {by}", found.display())))
}

fn toolchain(rustc: &str, env: &Env, cache: &Cache) -> Result<(Version, String)> {
    let version = Version::of(rustc, env, cache)?;
    let cargo = env.get("CARGO").unwrap_or("cargo");
    let text = format!("{}, {}", version.short(), answer(cargo, &["--version"])?);
    Ok((version, text))
}

fn engine(config: &Config, env: &Env, cache: &Cache) -> Result<((Installed, About), String)> {
    let engine = Installed::choose(config, env, cache)?;
    let about = engine.about(cache)?;
    let place = match engine.address() {
        "" => "this machine".to_owned(),
        address => format!("`{address}`"),
    };
    let text = format!("{}; {place}; {} processors", about.versions, engine.processors());
    Ok(((engine, about), text))
}

/// What is otherwise with a builder that is not a part of the engine.
fn note_driver(about: &About, report: &mut Report) {
    match about.driver.as_deref() {
        None | Some("docker") => {}
        Some(driver) => report.note(
            "engine",
            &format!(
                "builds go to a builder with the driver `{driver}`, which has neither the images \
                 of the engine nor those made for settings (hint: unset BUILDX_BUILDER, or \
                 `docker buildx use default`)"
            ),
        ),
    }
}

/// Programs that ask for the time may be surprised where two clocks are apart.
fn clock(about: &About, report: &mut Report) {
    let Some(theirs) = about.time.as_deref().and_then(|time| time.parse::<Timestamp>().ok()) else {
        return;
    };
    let seconds = theirs.as_second() - Timestamp::now().as_second();
    let relation = if seconds < 0 { "behind" } else { "ahead of" };
    match seconds.abs() {
        near if near <= APART => report.fine("clock", "the engine's and this machine's agree"),
        far => report.note(
            "clock",
            &format!(
                "the engine's is {far} s {relation} this machine's, which build scripts see (hint: \
                 set both by a time server)"
            ),
        ),
    }
}

fn described(image: &Image) -> String {
    let libc = if image.libc.is_empty() { "another C library than GNU's" } else { &image.libc };
    let name = if image.pinned.starts_with(&image.name) { &image.pinned } else { &image.name };
    format!("`{name}` with {} and {libc}", image.version.lines().next().unwrap_or_default())
}
