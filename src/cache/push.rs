//! `rustcbuildx cache push [REMOTE]`: adds to remotes what the local store has.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

use crate::{
    build::remotes::failures,
    config::{env::Env, remotes::RemoteSettings, settings::Config},
    remote::{
        push::{Pushed, Pusher},
        signature::{SIGNING_KEY, Signer},
    },
    store::local::LocalStore,
    util::{ancestors::Process, spelling, state_dir::Cache},
};

/// How often it is looked whether a process still runs.
const INTERVAL: Duration = Duration::from_millis(100);

pub fn run(env: &Env, config: &Config, remote: Option<&str>) -> Result<ExitCode> {
    let cache = Cache::open(env.cache_dir()?)?;
    let signer = signer(env)?;
    for settings in chosen(config, remote)? {
        let pushed = push(config, &cache, settings, signer.as_ref())
            .with_context(|| format!("failed to push to the remote `{}`", settings.name))?;
        let Pushed { outcomes, bytes, withheld } = pushed;
        println!("{}: {outcomes} outcomes added, {} MB", settings.name, bytes.div_ceil(1_000_000));
        let mut withheld: Vec<_> = withheld.into_iter().collect();
        withheld.sort();
        for (why, count) in withheld {
            println!("  {count} stay here: {why}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Pushes to all remotes that are written to once a process has ended. What fails is told in the
/// next build.
pub fn run_after(env: &Env, config: &Config, process: u32) -> Result<ExitCode> {
    let process = Process::of(process);
    while process.as_ref().is_some_and(Process::is_at_work) {
        thread::sleep(INTERVAL);
    }
    let cache = Cache::open(env.cache_dir()?)?;
    let failed = |settings: &RemoteSettings| {
        let signer = signer(env)?;
        push(config, &cache, settings, signer.as_ref()).map(drop)
    };
    let writable = config.remotes.iter().filter(|remote| remote.is_writable);
    for settings in writable {
        match failed(settings) {
            Ok(()) => drop(std::fs::remove_file(cache.path(&failures::name_of(settings)))),
            Err(error) => cache.write(&failures::name_of(settings), &format!("{error:#}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The key of the environment to sign with, if there is one.
pub fn signer(env: &Env) -> Result<Option<Signer>> {
    let key = env.get(SIGNING_KEY).filter(|key| !key.is_empty());
    let signer = key.map(Signer::parse).transpose();
    signer.with_context(|| format!("failed to read the variable {SIGNING_KEY}"))
}

pub fn push(
    config: &Config,
    cache: &Cache,
    settings: &RemoteSettings,
    signer: Option<&Signer>,
) -> Result<Pushed> {
    // One after the other: what the first adds, the next does not have to.
    let _lock = cache.lock("push.lock")?;
    let store = LocalStore::new(cache, config.store_size);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Pusher { settings, cache, store: &store, signer, now }.push(|_| ())
}

/// The remote of this name, or all that are written to.
fn chosen<'a>(config: &'a Config, remote: Option<&str>) -> Result<Vec<&'a RemoteSettings>> {
    let Some(name) = remote else {
        let all: Vec<_> = config.remotes.iter().filter(|remote| remote.is_writable).collect();
        if all.is_empty() {
            bail!(
                "failed to push: no remote is written to (hint: set mode = \"read-write\" in \
                 [remote.NAME])"
            );
        }
        return Ok(all);
    };
    let names = config.remotes.iter().map(|remote| &remote.name);
    let found = config.remotes.iter().find(|remote| remote.name == name);
    let hint = || match spelling::nearest(name, names.clone(), name.len()) {
        Some(nearest) => format!("is `{nearest}` meant?"),
        None => format!("set url in [remote.{name}]"),
    };
    let found = found.with_context(|| {
        format!("failed to push: there is no remote `{name}` (hint: {})", hint())
    })?;
    if !found.is_writable {
        bail!(
            "failed to push: the remote `{name}` is only read (hint: set mode = \"read-write\" in \
             [remote.{name}])"
        );
    }
    Ok(vec![found])
}
