//! Fetches outcomes and records from remotes into the local store and the cache folder.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
};

use anyhow::{Context, Error, Result};

use super::{
    opened::Opened,
    outcomes,
    pack::{self, Item},
    records::Records,
    segment::Pack,
};
use crate::{
    config::remotes::RemoteSettings,
    step::key::Key,
    store::{
        local::{self, LocalStore},
        statistics::{self, Came},
        traces,
    },
    util::state_dir::Cache,
};

/// How many packs are fetched at the same time.
const AT_ONCE: usize = 4;
/// A remote that failed so often is asked no more: each time takes until nobody waits any longer.
const MOST_FAILURES: usize = 4;
/// How many packs are held until more of them is asked for.
const MOST_HELD: usize = 8;

/// Remotes that can be asked, in the order of the settings.
pub struct Puller<'a> {
    cache: &'a Cache,
    store: LocalStore<'a>,
    remotes: Vec<Opened>,
    /// Packs that were fetched whole.
    held: Mutex<HashMap<String, Arc<Vec<u8>>>>,
}

/// One pack of one remote, and what is wanted of it.
struct Job<'a> {
    remote: &'a Opened,
    pack: &'a Pack,
    keys: Vec<Key>,
}

impl<'a> Puller<'a> {
    /// Opens remotes, side by side. `fail` gets those that cannot be used.
    pub fn open(
        all: &[RemoteSettings],
        cache: &'a Cache,
        limit: u64,
        fail: impl Fn(&RemoteSettings, Error),
    ) -> Self {
        let opened: Vec<_> = thread::scope(|scope| {
            let open = |settings| scope.spawn(move || Opened::open(settings, cache));
            let opening: Vec<_> = all.iter().map(open).collect();
            opening
                .into_iter()
                .map(|opening| {
                    opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let usable = |(settings, opened): (&RemoteSettings, Result<Opened>)| {
            opened.map_err(|error| fail(settings, error)).ok()
        };
        Self::of(all.iter().zip(opened).filter_map(usable).collect(), cache, limit)
    }

    /// The same of remotes that are open.
    pub fn of(remotes: Vec<Opened>, cache: &'a Cache, limit: u64) -> Self {
        Self { cache, store: LocalStore::new(cache, limit), remotes, held: Mutex::default() }
    }

    /// Brings the records of what was built together with units whose discovered inputs have these
    /// names. What is known here stays as it is.
    pub fn fetch_records(&self, names: &[String], fail: &impl Fn(&RemoteSettings, Error)) {
        for remote in &self.remotes {
            let packs = names.iter().flat_map(|name| remote.packs_of(name));
            let fetched = self.fetch_records_of(remote, packs);
            fetched.unwrap_or_else(|error| fail(&remote.settings, error));
        }
    }

    /// The same of all units.
    pub fn fetch_all_records(&self) -> Result<()> {
        let of = |remote: &Opened| {
            let packs = remote.segments.iter().flat_map(|segment| &segment.packs);
            self.fetch_records_of(remote, packs)
        };
        self.remotes.iter().try_for_each(of)
    }

    fn fetch_records_of<'p>(
        &self,
        remote: &Opened,
        packs: impl Iterator<Item = &'p Pack>,
    ) -> Result<()> {
        let packs: BTreeMap<&str, &Pack> = packs
            .filter(|pack| pack.is_of_records)
            .map(|pack| (&*pack.blob.digest, pack))
            .collect();
        for pack in packs.into_values() {
            let name = format!("records/{}", pack.blob.digest);
            // What was brought once is there, or was removed for a reason.
            if self.cache.used(&name).is_some() {
                continue;
            }
            self.import(&remote.records(pack)?)?;
            self.cache.write_bytes(&name, b"")?;
        }
        Ok(())
    }

    fn import(&self, records: &Records) -> Result<()> {
        for (name, value) in records {
            let (kind, own) = name.split_once('/').context("a record has no kind")?;
            let is_name = own.bytes().all(|byte| byte.is_ascii_alphanumeric());
            match kind {
                "traces" if is_name => traces::merge(self.cache, own, value)?,
                "about" | "discovered" if is_name => {
                    if !self.cache.path(name).exists() {
                        self.cache.write(name, value)?;
                    }
                }
                _ => log::warn!("a remote has the record `{}`", name.escape_debug()),
            }
        }
        Ok(())
    }

    /// Brings outcomes into the store, several at a time. `each` gets the key of each, and whether
    /// the store has it now; `fail` gets what went wrong.
    pub fn fetch(
        &self,
        keys: Vec<Key>,
        each: &(impl Fn(&str, bool) + Sync),
        fail: &(impl Fn(&RemoteSettings, Error) + Sync),
    ) {
        let mut wanted = keys;
        // Of the packs that may have an outcome, the first is asked, then the second, and so on.
        for attempt in 0.. {
            let mut jobs: BTreeMap<(usize, &str), Job<'_>> = BTreeMap::new();
            for key in wanted {
                let name = name_of(&key);
                let remotes = self.remotes.iter().enumerate();
                let mut candidates = remotes.flat_map(|(number, remote)| {
                    remote.packs_of(&name).map(move |pack| (number, remote, pack))
                });
                match candidates.nth(attempt) {
                    None => each(&key, false),
                    Some((number, remote, pack)) => {
                        let job = jobs.entry((number, &pack.blob.digest));
                        job.or_insert_with(|| Job { remote, pack, keys: vec![] }).keys.push(key);
                    }
                }
            }
            if jobs.is_empty() {
                return;
            }
            wanted = self.carry_out(jobs.into_values().collect(), each, fail);
        }
    }

    /// Returns the keys of what a pack turned out not to have.
    fn carry_out(
        &self,
        jobs: VecDeque<Job<'_>>,
        each: &(impl Fn(&str, bool) + Sync),
        fail: &(impl Fn(&RemoteSettings, Error) + Sync),
    ) -> Vec<Key> {
        let (count, jobs, left) = (jobs.len(), Mutex::new(jobs), Mutex::new(Vec::new()));
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        thread::scope(|scope| {
            for _ in 0..count.min(AT_ONCE) {
                scope.spawn(|| {
                    while let Some(mut job) = next() {
                        let done = self.carry_out_one(&job, |key| each(key, true));
                        let done = done.unwrap_or_else(|(done, error)| {
                            job.remote.failures.fetch_add(1, Ordering::Relaxed);
                            fail(&job.remote.settings, error);
                            done
                        });
                        job.keys.retain(|key| !done.contains(key));
                        left.lock().unwrap_or_else(PoisonError::into_inner).append(&mut job.keys);
                    }
                });
            }
        });
        left.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns which keys the store has now; in front of an error as well.
    fn carry_out_one(
        &self,
        job: &Job<'_>,
        stored: impl Fn(&str),
    ) -> Result<HashSet<Key>, (HashSet<Key>, Error)> {
        let mut done = HashSet::new();
        let mut save = |key: &Key, bytes: &[u8]| -> Result<()> {
            outcomes::save(&self.store, key, bytes)?;
            statistics::note(self.cache, Came::Fetched, key);
            stored(key);
            done.insert(key.clone());
            Ok(())
        };
        let mut carry_out = || -> Result<()> {
            if job.remote.failures.load(Ordering::Relaxed) >= MOST_FAILURES {
                return Ok(());
            }
            let is_wanted = |item: &Item| job.keys.iter().find(|key| name_of(key) == item.name);
            if let Some(whole) = self.whole(job)? {
                for (item, part) in pack::items(&whole)? {
                    if let Some(key) = is_wanted(&item) {
                        let (start, end) = (part.start.try_into()?, part.end.try_into()?);
                        let bytes = whole.get::<std::ops::Range<usize>>(start..end);
                        save(key, bytes.context("a pack is cut short")?)?;
                    }
                }
                return Ok(());
            }
            let mut items = job.remote.items(job.pack)?;
            items.retain(|(item, _)| is_wanted(item).is_some());
            for (item, bytes) in job.remote.parts(job.pack, &items)? {
                if let Some(key) = is_wanted(&item) {
                    save(key, &bytes)?;
                }
            }
            Ok(())
        };
        match carry_out() {
            Ok(()) => Ok(done),
            Err(error) => Err((done, error)),
        }
    }

    /// A pack of which so much is wanted that all of it is fetched, or that was.
    fn whole(&self, job: &Job<'_>) -> Result<Option<Arc<Vec<u8>>>> {
        let lock = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = lock().get(&job.pack.blob.digest) {
            return Ok(Some(held.clone()));
        }
        if job.keys.len() * 2 < job.pack.items as usize {
            return Ok(None);
        }
        let whole = Arc::new(job.remote.whole(job.pack)?);
        let mut held = lock();
        if held.len() < MOST_HELD && job.keys.len() < job.pack.items as usize {
            held.insert(job.pack.blob.digest.clone(), whole.clone());
        }
        Ok(Some(whole))
    }
}

/// The key of an outcome that is called so in packs; `None` if it is nothing of the kind.
pub fn key_of(name: &str) -> Option<Key> {
    let key = name.strip_prefix("outcome/")?;
    local::is_key(key).then(|| key.to_owned())
}

/// What an outcome is called in packs.
pub fn name_of(key: &str) -> String {
    format!("outcome/{key}")
}
