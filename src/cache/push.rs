//! `rustcbuildx cache push [REMOTE]`: adds to remotes what the local store has.

use std::{process::ExitCode, thread, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    remote::{push, signer, writable},
    words,
};
use crate::{
    build::remotes::failures,
    config::{env::Env, remotes::RemoteSettings, settings::Config},
    remote::push::Pushed,
    util::{ancestors::Process, state_dir::Cache},
};

/// How often it is looked whether a process still runs.
const INTERVAL: Duration = Duration::from_millis(100);

pub fn run(env: &Env, cache: &Cache, config: &Config, remote: Option<&str>) -> Result<ExitCode> {
    let signer = signer(env)?;
    for settings in written_to(config, remote)? {
        let pushed = push(config, cache, settings, signer.as_ref())
            .with_context(|| format!("failed to push to the remote `{}`", settings.name))?;
        let Pushed { outcomes, bytes, withheld } = pushed;
        println!("{}: {outcomes} outcomes added, {}", settings.name, words::bytes(bytes));
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
pub fn run_after(env: &Env, cache: &Cache, config: &Config, process: u32) -> Result<ExitCode> {
    let process = Process::of(process);
    while process.as_ref().is_some_and(Process::is_at_work) {
        thread::sleep(INTERVAL);
    }
    let pushed = |settings: &RemoteSettings| {
        let signer = signer(env)?;
        push(config, cache, settings, signer.as_ref()).map(drop)
    };
    let writable = config.remotes.iter().filter(|remote| remote.is_writable);
    for settings in writable {
        match pushed(settings) {
            Ok(()) => drop(std::fs::remove_file(cache.path(&failures::name_of(settings)))),
            Err(error) => cache.write(&failures::name_of(settings), &format!("{error:#}"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The remote of this name, or all that are written to.
fn written_to<'a>(config: &'a Config, remote: Option<&str>) -> Result<Vec<&'a RemoteSettings>> {
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
    writable(config, Some(name)).map(|found| vec![found]).context("failed to push")
}
