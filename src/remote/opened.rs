//! A remote with all its segments: what can be asked for, and how that is fetched.

use std::{ops::Range, sync::atomic::AtomicUsize};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    blob::Blob,
    head::{Head, SignedHead},
    kinds::{connect, remote::Remote},
    pack::{self, Item},
    records::{self, Records},
    segment::{Pack, Segment},
    signature::PublicKey,
};
use crate::{
    config::remotes::RemoteSettings,
    util::{digest::digest, state_dir::Cache},
};

pub struct Opened {
    pub settings: RemoteSettings,
    pub remote: Box<dyn Remote>,
    /// The text of the head, if there is one, and what it says.
    pub known: Option<String>,
    pub head: Head,
    /// In the order of the head.
    pub segments: Vec<Segment>,
    /// How often it failed to give a pack.
    pub failures: AtomicUsize,
}

/// What is remembered of a remote.
#[derive(Default, Serialize, Deserialize)]
struct Seen {
    generation: u64,
}

impl Opened {
    /// Reads the head and the segments of a remote. Segments that were read before are in the
    /// cache.
    pub fn open(settings: &RemoteSettings, cache: &Cache) -> Result<Self> {
        let remote = connect(settings)?;
        let known = remote.head()?;
        let signed = known.as_deref().map(SignedHead::decode).transpose()?;
        let is_there = signed.is_some();
        let signed = signed.unwrap_or_default();
        if is_there && needs_signature(settings) {
            let keys = settings.trust.iter().map(|key| PublicKey::parse(key));
            signed.check(&keys.collect::<Result<Vec<_>>>()?)?;
        }
        let head = signed.head;
        let name = format!("remotes/{}", digest([settings.url.as_str()]));
        let seen: Seen = cache.read(&name).unwrap_or_default();
        ensure!(
            head.generation >= seen.generation || !needs_signature(settings),
            "somebody put an earlier state in its place: its generation is {}, and was {} (hint: \
             if that was you, remove `{}`)",
            head.generation,
            seen.generation,
            cache.path(&name)
        );
        if head.generation != seen.generation {
            cache.write(&name, &Seen { generation: head.generation })?;
        }
        let segment = |blob: &Blob| segment(remote.as_ref(), blob, cache);
        let segments = head.segments.iter().map(segment).collect::<Result<_>>()?;
        let (settings, failures) = (settings.clone(), AtomicUsize::default());
        Ok(Self { settings, remote, known, head, segments, failures })
    }

    /// The packs that may have an item of this name, the latest first.
    pub fn packs_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Pack> {
        self.segments.iter().rev().flat_map(move |segment| segment.packs_of(name))
    }

    /// Whether it has an item of this name.
    pub fn has(&self, name: &str) -> bool {
        self.packs_of(name).next().is_some()
    }

    /// A whole pack.
    pub fn whole(&self, pack: &Pack) -> Result<Vec<u8>> {
        self.checked(&pack.blob, &pack.blob, None)
    }

    pub fn records(&self, pack: &Pack) -> Result<Records> {
        records::decode(&self.whole(pack)?)
    }

    /// What is in a pack, without the items.
    pub fn items(&self, pack: &Pack) -> Result<Vec<(Item, Range<u64>)>> {
        pack::items(&self.checked(&pack.blob, &pack.list, Some(0..pack.list.size))?)
    }

    /// Parts of a pack, fetched together where they are close.
    pub fn parts(&self, pack: &Pack, parts: &[(Item, Range<u64>)]) -> Result<Vec<(Item, Vec<u8>)>> {
        let mut fetched = Vec::with_capacity(parts.len());
        for close in parts.chunk_by(|one, next| next.1.start.saturating_sub(one.1.end) < CLOSE) {
            let (start, end) = (close[0].1.start, close[close.len() - 1].1.end);
            let bytes = self.remote.read(&pack.blob, Some(start..end))?;
            for (item, part) in close {
                let own = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
                let own = bytes.get(own(part.start)..own(part.end)).context("a part is missing")?;
                item.blob.check(own)?;
                fetched.push((item.clone(), own.to_vec()));
            }
        }
        Ok(fetched)
    }

    fn checked(&self, blob: &Blob, expected: &Blob, part: Option<Range<u64>>) -> Result<Vec<u8>> {
        let bytes = self.remote.read(blob, part)?;
        expected.check(&bytes)?;
        Ok(bytes)
    }
}

/// Less than that between two parts is cheaper to fetch than to ask once more.
const CLOSE: u64 = 256 << 10;

/// Whether only what is signed may be used. Whoever can write to a folder of this machine is this
/// machine's user, unless the user says otherwise.
fn needs_signature(settings: &RemoteSettings) -> bool {
    !settings.url.starts_with("file:") || !settings.trust.is_empty()
}

fn segment(remote: &dyn Remote, blob: &Blob, cache: &Cache) -> Result<Segment> {
    let path = cache.path(&format!("segments/{}", blob.digest));
    if let Ok(bytes) = std::fs::read(&path)
        && blob.check(&bytes).is_ok()
    {
        return Segment::decode(&bytes);
    }
    let bytes = remote.read(blob, None)?;
    blob.check(&bytes)?;
    let kept = cache.write_bytes(&format!("segments/{}", blob.digest), &bytes);
    kept.unwrap_or_else(|error| log::warn!("{error:#}"));
    Segment::decode(&bytes)
}
