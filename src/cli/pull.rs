//! `rustcbuildx pull`: the image in step with the local toolchain.

use std::{fs, io, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    config::{
        env::Env,
        files::{
            location::Location,
            lock::{self, LOCK},
        },
        settings::Config,
    },
    engine::{
        Engine,
        images::{self, Local},
        installed::Installed,
    },
    report::misspelt,
    rustc::toolchain::Version,
    util::{disk::OnDisk, logging, state_dir::Cache},
};

/// Pulls the image, shows the engine's progress, and remembers the digest and what the image holds.
/// With `writes_lock`, what the base image's name stands for now is written to the workspace.
pub fn run(env: &Env, writes_lock: bool) -> Result<ExitCode> {
    let mut config = Config::load(env)?;
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
    if writes_lock {
        config.locked = None;
    }
    let pull = |name: &str| {
        let (engine_name, version) = (engine.name(), local.version.short());
        eprintln!("rustcbuildx: pulling {name} with {engine_name} for {version}");
        // What was built there is in no registry.
        engine.pull(name).or_else(|error| {
            engine.pinned(name).map_err(|_| error)?;
            eprintln!(
                "rustcbuildx: no registry gave {name}, so the one that the engine has is used"
            );
            Ok(())
        })
    };
    let _lock = cache.lock("images.lock")?;
    let image = images::find_out(&config, &engine, &local, &cache, pull)?;
    if writes_lock {
        write_lock(env, &image.name, &engine.pinned(&image.name)?)?;
    }
    println!("{}", image.pinned);
    Ok(ExitCode::SUCCESS)
}

/// Writes what the base image's name stands for to the workspace's lock file.
fn write_lock(env: &Env, name: &str, pinned: &str) -> Result<()> {
    let workspace = Location::here(env).and_then(|location| location.workspace(env));
    let Some(workspace) = workspace else {
        bail!("failed to write `{LOCK}`: there is no workspace here (hint: cd to it)")
    };
    let Some((_, digest)) = pinned.split_once('@') else {
        bail!(
            "failed to lock `{name}`: only the engine has it, under no digest (hint: push it to a \
             registry)"
        )
    };
    let path = workspace.root.join(LOCK);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let mut images = lock::parse(&old).with_context(|| format!("failed to read `{path}`"))?;
    images.insert(name.to_owned(), digest.to_owned());
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(&workspace.root))?;
        fs::write(&path, lock::encode(&images))
    };
    write().on_disk(&path, || format!("failed to write `{path}`"))?;
    eprintln!("rustcbuildx: wrote `{path}`");
    Ok(())
}
