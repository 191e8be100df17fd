//! What the local store has: `stats`, `list`, `show`, `rm`, `gc`.

use std::{
    collections::{BTreeMap, HashMap},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{remotes::summaries, words};
use crate::{
    config::settings::Config,
    step::key::Key,
    store::{
        about::{self, About},
        local::{LocalStore, Store, Stored},
        retention::{self, Limits},
        statistics::{self, Came},
    },
    util::state_dir::Cache,
};

/// An outcome, and what is known of it.
struct Entry {
    stored: Stored,
    about: Option<About>,
}

impl Entry {
    fn unit(&self) -> &str {
        self.about.as_ref().map_or("(nothing is known of it)", |about| &about.unit)
    }

    fn is_called(&self, name: &str) -> bool {
        self.stored.key == name
            || self.about.as_ref().is_some_and(|about| about.package == name || about.unit == name)
    }

    fn json(&self) -> Value {
        json!({ "key": self.stored.key, "bytes": self.stored.size, "about": self.about })
    }
}

fn entries(cache: &Cache, config: &Config) -> Vec<Entry> {
    let stored = LocalStore::new(cache, config.store_size).list();
    stored
        .into_iter()
        .map(|stored| Entry { about: about::read(cache, &stored.key), stored })
        .collect()
}

/// How builds got their outcomes, what is stored, and what remotes have.
pub fn stats(cache: &Cache, config: &Config, is_json: bool) -> Result<ExitCode> {
    let entries = entries(cache, config);
    let size: u64 = entries.iter().map(|entry| entry.stored.size).sum();
    let events = statistics::all(cache);
    let millis: HashMap<&Key, u64> = entries
        .iter()
        .filter_map(|entry| Some((&entry.stored.key, entry.about.as_ref()?.millis)))
        .collect();
    let mut counts: BTreeMap<Came, (usize, u64)> = BTreeMap::new();
    for event in &events {
        let count = counts.entry(event.came).or_default();
        count.0 += 1;
        count.1 += millis.get(&event.key).copied().unwrap_or_default();
    }
    let of = |came| counts.get(&came).copied().unwrap_or_default();
    let remotes = summaries(config, cache);
    if is_json {
        let counts: BTreeMap<&str, Value> = counts
            .iter()
            .map(|(came, (units, millis))| {
                (came.name(), json!({ "units": units, "millis": millis }))
            })
            .collect();
        let store = json!({ "outcomes": entries.len(), "bytes": size, "limit": config.store_size });
        let since = events.first().map(|event| event.time);
        print(&json!({ "store": store, "since": since, "units": counts, "remotes": remotes }));
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "store     {} outcomes, {} of at most {}",
        entries.len(),
        words::bytes(size),
        words::bytes(config.store_size)
    );
    if let Some(first) = events.first() {
        println!("builds    since {}", words::day(first.time));
        let (hits, saved) = of(Came::Stored);
        println!("  {hits} units were stored: {} of compiling saved", words::millis(saved));
        println!("  {} units came from remotes", of(Came::Fetched).0);
        println!(
            "  {} units were made: {} in that form for the first time, {} with other files, {} \
             which the store had dropped",
            [Came::New, Came::Changed, Came::Gone].map(|came| of(came).0).iter().sum::<usize>(),
            of(Came::New).0,
            of(Came::Changed).0,
            of(Came::Gone).0
        );
    }
    for remote in remotes {
        let text = |name: &str| remote[name].as_str().unwrap_or_default().to_owned();
        match remote["error"].as_str() {
            Some(error) => println!("remote    {}: not used: {error}", text("name")),
            None => println!(
                "remote    {}: {} outcomes, {} in {} packs",
                text("name"),
                remote["outcomes"],
                words::bytes(remote["bytes"].as_u64().unwrap_or_default()),
                remote["packs"]
            ),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The stored outcomes, those that were used last first.
pub fn list(cache: &Cache, config: &Config, name: Option<&str>, is_json: bool) -> Result<ExitCode> {
    let mut entries = entries(cache, config);
    entries.retain(|entry| name.is_none_or(|name| entry.is_called(name)));
    if is_json {
        print(&Value::Array(entries.iter().map(Entry::json).collect()));
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &entries {
        let millis = entry.about.as_ref().map_or(0, |about| about.millis);
        println!(
            "{}  {:>9}  {:>8}  {}",
            entry.stored.key,
            words::bytes(entry.stored.size),
            words::millis(millis),
            entry.unit()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// One stored outcome.
pub fn show(cache: &Cache, config: &Config, key: &str, is_json: bool) -> Result<ExitCode> {
    let entries = entries(cache, config);
    let Some(entry) = entries.iter().find(|entry| entry.stored.key == key) else {
        bail!("failed to show `{key}`: it is not stored (hint: `rustcbuildx cache list`)");
    };
    if is_json {
        print(&entry.json());
        return Ok(ExitCode::SUCCESS);
    }
    println!("{key}: {}", entry.unit());
    println!("  {}, used {}", words::bytes(entry.stored.size), words::ago(entry.stored.used));
    let Some(about) = &entry.about else { return Ok(ExitCode::SUCCESS) };
    println!("  took {}", words::millis(about.millis));
    println!("  from {}", about.registry.as_deref().unwrap_or("no registry"));
    if let Some(why) = about.own.as_ref().or(about.local.as_ref()) {
        println!("  stays on this machine: {why}");
    }
    for below in &about.made_from {
        let about = about::read(cache, below);
        println!("  made from {below}: {}", about.map_or("?".to_owned(), |about| about.unit));
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what is called so.
pub fn remove(cache: &Cache, config: &Config, name: &str) -> Result<ExitCode> {
    let store = LocalStore::new(cache, config.store_size);
    let mut removed = 0;
    for entry in entries(cache, config).iter().filter(|entry| entry.is_called(name)) {
        store.remove(&entry.stored.key);
        removed += 1;
    }
    if removed == 0 {
        bail!(
            "failed to remove `{name}`: nothing of that package or key is stored (hint: \
             `rustcbuildx cache list`)"
        );
    }
    println!("{removed} outcomes removed");
    Ok(ExitCode::SUCCESS)
}

/// Removes what is too old or too much.
pub fn collect(
    cache: &Cache,
    config: &Config,
    size: Option<&str>,
    age: Option<&str>,
    is_dry_run: bool,
) -> Result<ExitCode> {
    let limits = Limits {
        size: size.map(words::parse_bytes).transpose()?.unwrap_or(config.store_size),
        age: age.map(words::parse_age).transpose()?,
        is_dry_run,
    };
    let removed = retention::collect(cache, limits, SystemTime::now())
        .context("failed to remove what is too much")?;
    let what = if is_dry_run { "would be removed" } else { "removed" };
    println!("{} {what}, {} items", words::bytes(removed.bytes), removed.items);
    Ok(ExitCode::SUCCESS)
}

pub fn print(value: &Value) {
    println!("{value:#}");
}
