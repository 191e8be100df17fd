//! What is done with remotes as a whole: `pull`, `copy`, `compact`, `verify`, `export`, `import`.

use std::{
    collections::HashMap,
    fs::File,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use camino::Utf8Path;
use serde_json::{Value, json};

use super::{
    remote::{chosen, now, open, push, signer, writable},
    words,
};
use crate::{
    config::{env::Env, remotes::RemoteSettings, settings::Config},
    remote::{
        blob::Blob,
        compact::{self, Bounds, Compacted},
        head::SignedHead,
        kinds::connect,
        opened::Opened,
        outcomes, pack,
        pull::{Puller, key_of},
        segment::Pack,
    },
    store::local::{LocalStore, Store},
    util::{disk::OnDisk, state_dir::Cache},
};

/// How often a compaction begins anew, where somebody else writes meanwhile.
const ATTEMPTS: usize = 5;

/// What each remote has, or why it cannot be used.
pub fn summaries(config: &Config, cache: &Cache) -> Vec<Value> {
    let summary = |settings: &RemoteSettings| match Opened::open(settings, cache) {
        Err(error) => json!({ "name": settings.name, "error": format!("{error:#}") }),
        Ok(opened) => {
            let packs: Vec<&Pack> = opened.segments.iter().flat_map(|it| &it.packs).collect();
            let outcomes = packs.iter().filter(|pack| !pack.is_of_records);
            json!({
                "name": settings.name,
                "url": settings.url,
                "generation": opened.head.generation,
                "segments": opened.segments.len(),
                "packs": packs.len(),
                "outcomes": outcomes.map(|pack| pack.items).sum::<u32>(),
                "bytes": packs.iter().map(|pack| pack.blob.size).sum::<u64>(),
            })
        }
    };
    config.remotes.iter().map(summary).collect()
}

/// Brings all that a remote has into the local store.
pub fn pull(cache: &Cache, config: &Config, remote: Option<&str>) -> Result<ExitCode> {
    let settings = chosen(config, remote)?;
    let opened = open(settings, cache)?;
    let store = LocalStore::new(cache, config.store_size);
    let mut keys = Vec::new();
    let packs = opened.segments.iter().flat_map(|segment| &segment.packs);
    for pack in packs.filter(|pack| !pack.is_of_records) {
        let items = opened.items(pack)?;
        keys.extend(items.iter().filter_map(|(item, _)| key_of(&item.name)));
    }
    keys.retain(|key| !store.has(key));
    keys.sort();
    keys.dedup();
    let failed = |settings: &RemoteSettings, error: Error| {
        eprintln!("rustcbuildx: {}: {error:#}", settings.name);
    };
    let puller = Puller::of(vec![opened], cache, config.store_size);
    puller.fetch_all_records()?;
    let (count, stored) = (keys.len(), AtomicUsize::new(0));
    let each = |_: &str, is_stored: bool| {
        stored.fetch_add(usize::from(is_stored), Ordering::Relaxed);
    };
    puller.fetch(keys, &each, &failed);
    let stored = stored.into_inner();
    println!("{}: {stored} outcomes brought", settings.name);
    if stored < count {
        bail!("failed to bring {} outcomes of the remote `{}`", count - stored, settings.name);
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies what one remote has to another: the same blobs, and the same head with its signature.
pub fn copy(cache: &Cache, config: &Config, from: &str, to: &str) -> Result<ExitCode> {
    let (from, to) = (chosen(config, Some(from))?, writable(config, Some(to))?);
    let source = open(from, cache)?;
    let text = source.known.as_ref();
    let text = text.with_context(|| format!("the remote `{}` has nothing yet", from.name))?;
    let failed = || format!("failed to copy to the remote `{}`", to.name);
    let target = connect(to).with_context(failed)?;
    let there = target.head().with_context(failed)?;
    if there.as_ref() == Some(text) {
        println!("{}: nothing to copy", to.name);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(there) = &there {
        let there = SignedHead::decode(there)?.head;
        if there.generation >= source.head.generation {
            bail!(
                "{}: it has {} generations, and `{}` has {} (hint: `rustcbuildx cache pull {}` and \
                 `rustcbuildx cache push {}` join them)",
                failed(),
                there.generation,
                from.name,
                source.head.generation,
                from.name,
                to.name
            );
        }
    }
    let mut bytes = 0;
    for blob in blobs(&source) {
        let copied = source.remote.read(&blob, None)?;
        blob.check(&copied)?;
        target.add(&blob, &copied).with_context(failed)?;
        bytes += blob.size;
    }
    if !target.replace_head(there.as_deref(), text).with_context(failed)? {
        bail!("{}: somebody else wrote to it meanwhile (hint: try again)", failed());
    }
    println!("{}: {} copied", to.name, words::bytes(bytes));
    Ok(ExitCode::SUCCESS)
}

fn blobs(opened: &Opened) -> Vec<Blob> {
    let packs = opened.segments.iter().flat_map(|segment| &segment.packs);
    packs.map(|pack| pack.blob.clone()).chain(opened.head.segments.iter().cloned()).collect()
}

/// Makes a remote small.
pub fn compact(
    env: &Env,
    cache: &Cache,
    config: &Config,
    remote: Option<&str>,
    size: Option<&str>,
    age: Option<&str>,
) -> Result<ExitCode> {
    let settings = writable(config, remote)?;
    let signer = signer(env)?;
    let bounds = Bounds {
        size: size.map(words::parse_bytes).transpose()?,
        age: age.map(words::parse_age).transpose()?.map(|age: Duration| age.as_secs()),
    };
    for _ in 0..ATTEMPTS {
        let opened = open(settings, cache)?;
        let done = compact::compact(&opened, bounds, signer.as_ref(), now());
        let done = done.with_context(|| format!("failed to compact `{}`", settings.name))?;
        let Some(Compacted { packs, bytes, outcomes, abandoned }) = done else { continue };
        println!(
            "{}: {} packs with {} outcomes, {} are now {} packs with {} outcomes, {}; {abandoned} \
             blobs that nothing named removed",
            settings.name,
            packs[0],
            outcomes[0],
            words::bytes(bytes[0]),
            packs[1],
            outcomes[1],
            words::bytes(bytes[1])
        );
        return Ok(ExitCode::SUCCESS);
    }
    bail!("failed to compact `{}`: others write to it all the time", settings.name)
}

/// Reads all that a remote has, and looks whether it is what it was.
pub fn verify(cache: &Cache, config: &Config, remote: Option<&str>) -> Result<ExitCode> {
    let settings = chosen(config, remote)?;
    let opened = open(settings, cache)?;
    let temp = cache.temp_dir()?;
    let folder =
        Utf8Path::from_path(temp.path()).context("the cache folder's name is not UTF-8")?;
    let scratch = Cache::open(folder.to_owned())?;
    let store = LocalStore::new(&scratch, u64::MAX);
    let (mut outcomes, mut broken) = (0, HashMap::new());
    for pack in opened.segments.iter().flat_map(|segment| &segment.packs) {
        let mut look = || -> Result<()> {
            if pack.is_of_records {
                return opened.records(pack).map(drop);
            }
            let bytes = opened.whole(pack)?;
            for (item, part) in pack::items(&bytes)? {
                let (start, end) = (usize::try_from(part.start)?, usize::try_from(part.end)?);
                let own = bytes.get(start..end).context("an outcome is cut short")?;
                item.blob.check(own)?;
                let key = key_of(&item.name).context("an item has no key")?;
                outcomes::save(&store, &key, own)?;
                store.outcome(&key).with_context(|| format!("{key} is no outcome"))?;
                store.remove(&key);
                outcomes += 1;
            }
            Ok(())
        };
        if let Err(error) = look() {
            broken.insert(pack.blob.digest.clone(), error);
        }
    }
    for (digest, error) in &broken {
        println!("{digest}: {error:#}");
    }
    println!("{}: {outcomes} outcomes are what they were", settings.name);
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(anyhow!("{} packs of the remote `{}` are damaged", broken.len(), settings.name))
}

/// Writes all that is stored to one file, a tar of a remote that is a folder.
pub fn export(cache: &Cache, config: &Config, path: &str) -> Result<ExitCode> {
    let temp = cache.temp_dir()?;
    let settings = in_folder(temp.path())?;
    let pushed = push(config, cache, &settings, None)?;
    let path = Utf8Path::new(path);
    let write = || -> Result<()> {
        let mut tar = tar::Builder::new(File::create(path)?);
        tar.append_dir_all(".", temp.path())?;
        tar.into_inner()?.sync_all()?;
        Ok(())
    };
    write().on_disk(path, || format!("failed to write `{path}`"))?;
    println!("{path}: {} outcomes, {}", pushed.outcomes, words::bytes(pushed.bytes));
    Ok(ExitCode::SUCCESS)
}

/// Brings what such a file has into the local store.
pub fn import(cache: &Cache, config: &Config, path: &str) -> Result<ExitCode> {
    let temp = cache.temp_dir()?;
    let unpacked = File::open(path).and_then(|file| tar::Archive::new(file).unpack(temp.path()));
    unpacked.with_context(|| {
        format!("failed to read `{path}` (hint: `rustcbuildx cache export` writes such files)")
    })?;
    let settings = in_folder(temp.path())?;
    let config = Config { remotes: vec![settings], ..config.clone() };
    pull(cache, &config, None)
}

fn in_folder(path: &std::path::Path) -> Result<RemoteSettings> {
    let path = Utf8Path::from_path(path).context("the cache folder's name is not UTF-8")?;
    Ok(RemoteSettings {
        name: "file".to_owned(),
        url: format!("file://{path}"),
        is_writable: true,
        trust: vec![],
        authorization: None,
        is_private: true,
    })
}
