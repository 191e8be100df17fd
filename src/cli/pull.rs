//! `rustcbuildx pull`: the image in step with the local toolchain.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    config::{env::Env, settings::Config},
    engine::{
        Engine,
        images::{self, Local},
        installed::Installed,
    },
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
    let rustc = env.get("RUSTC").unwrap_or("rustc");
    let local = Local { rustc, version: &Version::of(rustc, env, &cache)? };
    let name = images::base_name(&config, &engine, local.version)?;
    eprintln!("rustcbuildx: pulling {name} with {} for {}", engine.name(), local.version.short());
    engine.pull(&name)?;
    let _lock = cache.lock("images.lock")?;
    let image = images::find_out(&config, &engine, &local, &cache)?;
    println!("{}", image.pinned);
    Ok(ExitCode::SUCCESS)
}
