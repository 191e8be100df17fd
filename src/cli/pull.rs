//! `rustcbuildx pull`: the image in step with the local toolchain.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    config::{env::Env, settings::Config},
    engine::{Engine, installed::Installed, probe},
    report::misspelt,
    rustc::toolchain::Version,
    util::{logging, state_dir::Cache},
};

/// Pulls the image, shows the engine's progress, and remembers the digest and what the image holds.
pub fn run(env: &Env) -> Result<ExitCode> {
    let config = Config::load(env)?;
    logging::start(&config.log)?;
    misspelt::complain(env);
    if config.is_local() {
        eprintln!(
            "rustcbuildx: nothing to pull: rustc runs locally (RUSTCBUILDX=0 or \
             RUSTCBUILDX_RUNNER=none)"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let cache = Cache::open(env.cache_dir()?)?;
    let engine = Installed::choose(&config, env, &cache)?;
    let local = Version::of(env.get("RUSTC").unwrap_or("rustc"), env, &cache)?;
    let name = probe::name(&config, &local);
    eprintln!("rustcbuildx: pulling {name} with {} for {}", engine.name(), local.short());
    engine.pull(&name)?;
    let _lock = cache.lock("images.lock")?;
    let image = probe::find_out(&name, &config.on_top, &engine, &cache)?;
    probe::check(&image, &local)?;
    println!("{}", image.pinned);
    Ok(ExitCode::SUCCESS)
}
