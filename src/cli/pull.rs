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
    let pull = |name: &str| {
        let (engine_name, version) = (engine.name(), local.version.short());
        eprintln!("rustcbuildx: pulling {name} with {engine_name} for {version}");
        // What was built there is in no registry.
        engine.pull(name).or_else(|error| engine.pinned(name).map(drop).map_err(|_| error))
    };
    let _lock = cache.lock("images.lock")?;
    let image = images::find_out(&config, &engine, &local, &cache, pull)?;
    println!("{}", image.pinned);
    Ok(ExitCode::SUCCESS)
}
