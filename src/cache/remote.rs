//! One remote: which is meant, what opens it, and who signs what is added.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    config::{
        env::{Env, SIGNING_KEY},
        remotes::RemoteSettings,
        settings::Config,
    },
    remote::{
        opened::Opened,
        push::{Pushed, Pusher},
        signature::Signer,
    },
    store::local::LocalStore,
    util::{spelling, state_dir::Cache},
};

/// The remote of this name; without one, the only one that there is.
pub fn chosen<'a>(config: &'a Config, remote: Option<&str>) -> Result<&'a RemoteSettings> {
    match (remote, &config.remotes[..]) {
        (None, [only]) => Ok(only),
        (None, []) => bail!("no remote is set (hint: set url in [remote.NAME])"),
        (None, _) => bail!("there are several remotes (hint: name one of them)"),
        (Some(name), all) => all.iter().find(|remote| remote.name == name).with_context(|| {
            let names = all.iter().map(|remote| &remote.name);
            let hint = match spelling::nearest(name, names, name.len()) {
                Some(nearest) => format!("is `{nearest}` meant?"),
                None => format!("set url in [remote.{name}]"),
            };
            format!("there is no remote `{name}` (hint: {hint})")
        }),
    }
}

/// The same, if the settings allow to change it.
pub fn writable<'a>(config: &'a Config, remote: Option<&str>) -> Result<&'a RemoteSettings> {
    let found = chosen(config, remote)?;
    let name = &found.name;
    ensure!(
        found.is_writable,
        "the remote `{name}` is only read (hint: set mode = \"read-write\" in [remote.{name}])"
    );
    Ok(found)
}

pub fn open(settings: &RemoteSettings, cache: &Cache) -> Result<Opened> {
    Opened::open(settings, cache)
        .with_context(|| format!("failed to use the remote `{}`", settings.name))
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
    Pusher { settings, cache, store: &store, signer, now: now() }.push()
}

/// In seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
