//! Adds to a remote what the local store has and the remote lacks.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Result, bail};
use serde_json::Value;

use super::{
    PACK_SIZE, blob::Blob, head::Head, opened::Opened, outcomes, pack::Writer, pull::name_of,
    records::Records, segment::Segment, signature::Signer,
};
use crate::{
    config::{files::registries::is_public, remotes::RemoteSettings},
    step::key::Key,
    store::{
        about::{self, About},
        local::{LocalStore, Stored},
        traces,
    },
    util::state_dir::Cache,
};

/// How often another head is written, where others write at the same time.
const ATTEMPTS: usize = 50;

/// What was pushed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    pub outcomes: usize,
    pub bytes: u64,
    /// Outcomes that are not for this remote, by the reasons.
    pub withheld: HashMap<String, usize>,
}

pub struct Pusher<'a> {
    pub settings: &'a RemoteSettings,
    pub cache: &'a Cache,
    pub store: &'a LocalStore<'a>,
    pub signer: Option<&'a Signer>,
    /// In seconds since 1970.
    pub now: u64,
}

impl Pusher<'_> {
    /// Pushes all outcomes of the store that may be.
    pub fn push(&self) -> Result<Pushed> {
        let mut opened = Opened::open(self.settings, self.cache)?;
        opened.check_writer(self.signer)?;
        let (keys, withheld) = self.candidates(&opened);
        let segment = self.add_packs(&opened, &keys)?;
        let outcomes = segment.packs.iter().filter(|pack| !pack.is_of_records);
        let pushed = Pushed {
            outcomes: outcomes.map(|pack| pack.items as usize).sum(),
            bytes: segment.packs.iter().map(|pack| pack.blob.size).sum(),
            withheld,
        };
        if segment.is_empty() {
            return Ok(pushed);
        }
        for _ in 0..ATTEMPTS {
            if self.add_segment(&opened, &segment)? {
                return Ok(pushed);
            }
            opened = Opened::open(self.settings, self.cache)?;
        }
        bail!("others write its head all the time (hint: push again later)")
    }

    /// What is to be pushed, what was made first in front; and how many are withheld, by the
    /// reasons.
    fn candidates(&self, opened: &Opened) -> (Vec<(Key, About)>, HashMap<String, usize>) {
        let mut reasons = Reasons {
            cache: self.cache,
            is_private: self.settings.is_private,
            resolved: HashMap::new(),
        };
        let (mut candidates, mut withheld) = (Vec::new(), HashMap::new());
        for Stored { key, .. } in self.store.list() {
            if opened.has(&name_of(&key)) {
                continue;
            }
            let why = reasons.why_withheld(&key);
            match (why, about::read(self.cache, &key)) {
                (None, Some(about)) => candidates.push((key, about)),
                (why, _) => {
                    let why = why.unwrap_or_else(|| UNKNOWN.to_owned());
                    *withheld.entry(why).or_default() += 1;
                }
            }
        }
        candidates.reverse();
        (candidates, withheld)
    }

    /// Adds packs with these outcomes, and what belongs to them; returns what tells of them.
    fn add_packs(&self, opened: &Opened, keys: &[(Key, About)]) -> Result<Segment> {
        let (mut segment, mut writer) = (Segment::default(), Writer::default());
        let mut own = Vec::new();
        for (key, about) in keys {
            // It may have gone meanwhile.
            let Some(bytes) = outcomes::packed(self.store, key) else { continue };
            writer.add(&name_of(key), &bytes, about.millis);
            own.push((key, about));
            if writer.len() >= PACK_SIZE {
                opened.add_pack(std::mem::take(&mut writer), self.now, &mut segment)?;
            }
        }
        if !writer.is_empty() {
            opened.add_pack(writer, self.now, &mut segment)?;
        }
        if !own.is_empty() {
            opened.add_records(&self.records(opened, &own)?, self.now, &mut segment)?;
        }
        Ok(segment)
    }

    /// What belongs to outcomes: what is known of them, what was discovered of their units, and the
    /// traces that lead to them or to what the remote has.
    fn records(&self, opened: &Opened, own: &[(&Key, &About)]) -> Result<Records> {
        let keys: BTreeSet<&str> = own.iter().map(|(key, _)| key.as_str()).collect();
        let mut records = Records::new();
        for (key, about) in own {
            records.insert(format!("about/{key}"), serde_json::to_value(about)?);
            let nothing = || Value::Object(serde_json::Map::default());
            let discovered: Option<Value> = self.cache.read(&about.discovered);
            records.insert(about.discovered.clone(), discovered.unwrap_or_else(nothing));
            let is_there = |key: &str| keys.contains(key) || opened.has(&name_of(key));
            if let Some(traces) = traces::of(self.cache, &about.declared, is_there) {
                records.insert(format!("traces/{}", about.declared), traces);
            }
        }
        Ok(records)
    }

    /// Writes a head with one more segment. Returns false if somebody else wrote one meanwhile.
    ///
    /// Segments that are not much longer than those behind them become one with them, so that there
    /// are few, however often somebody pushes.
    fn add_segment(&self, opened: &Opened, segment: &Segment) -> Result<bool> {
        let mut segments: Vec<(Blob, &Segment)> =
            opened.head.segments.iter().cloned().zip(&opened.segments).collect();
        let mut last = segment.clone();
        while let Some((_, before)) = segments.last()
            && before.len() <= 2 * last.len()
        {
            last = Segment::merged(&[(*before).clone(), last], |_| true);
            segments.pop();
        }
        let bytes = last.encode()?;
        let blob = Blob::of(&bytes);
        opened.remote.add(&blob, &bytes)?;
        segments.push((blob, &last));
        let blobs = segments.iter().map(|(blob, _)| blob.clone()).collect();
        let head = Head::new(opened.head.generation + 1, blobs);
        let text = head.encode(segments.iter().map(|(_, segment)| *segment), self.signer)?;
        opened.remote.replace_head(opened.known.as_deref(), &text)
    }
}

/// Why outcomes are not for a remote.
struct Reasons<'a> {
    cache: &'a Cache,
    /// Whether only people who may read the sources can read the remote.
    is_private: bool,
    resolved: HashMap<Key, Option<String>>,
}

impl Reasons<'_> {
    fn why_withheld(&mut self, key: &str) -> Option<String> {
        if let Some(why) = self.resolved.get(key) {
            return why.clone();
        }
        let about = about::read(self.cache, key);
        let why = about.as_ref().map_or(Some(UNKNOWN.to_owned()), |about| self.why_own(about));
        let why = why.or_else(|| {
            let below = about.map(|about| about.made_from).unwrap_or_default();
            let is_withheld = below.iter().any(|key| self.why_withheld(key).is_some());
            is_withheld.then(|| "it is made from what stays here".to_owned())
        });
        self.resolved.insert(key.to_owned(), why.clone());
        why
    }

    /// Why one is withheld whatever it is made from.
    fn why_own(&self, about: &About) -> Option<String> {
        if about.local.is_some() || self.is_private {
            return about.local.clone();
        }
        let is_public = about.registry.as_deref().is_some_and(is_public);
        let not_public = || (!is_public).then(|| "its package is in no public registry".to_owned());
        about.own.clone().or_else(not_public)
    }
}

const UNKNOWN: &str = "nothing is known of it";
