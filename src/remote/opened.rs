//! A remote with all its segments: what can be asked for, and how that is fetched.

use std::{ops::Range, sync::atomic::AtomicUsize};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    blob::Blob,
    head::{Head, SignedHead},
    kinds::{connect, remote::Remote},
    pack::{self, Item, Writer},
    records::{self, Records},
    segment::{Pack, Segment, prefix},
    signature::{PublicKey, Signer},
};
use crate::{
    config::{env::SIGNING_KEY, remotes::RemoteSettings},
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

    /// Fails unless a head by this signer is used by those who have these settings. Any other would
    /// shut them out, and all who add to it.
    pub fn check_writer(&self, signer: Option<&Signer>) -> Result<()> {
        let own = signer.map(|signer| signer.public().to_string());
        ensure!(
            !needs_signature(&self.settings)
                || own.is_some_and(|own| self.settings.trust.contains(&own)),
            "what is added has to be signed by a key that `trust` names (hint: set \
             {SIGNING_KEY}, which `rustcbuildx cache keygen` makes)"
        );
        Ok(())
    }

    /// The packs that may have an item of this name, the latest first.
    pub fn packs_of<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Pack> + use<'a> {
        let prefix = prefix(name);
        self.segments.iter().rev().flat_map(move |segment| segment.packs_of(prefix))
    }

    /// Adds a pack of outcomes, of which a segment is to tell.
    pub fn add_pack(&self, writer: Writer, added: u64, segment: &mut Segment) -> Result<()> {
        let (bytes, list, items) = writer.finish()?;
        let names = items.iter().map(|item| item.name.as_str());
        self.add(&bytes, Some(list), added, names, segment)
    }

    /// Adds records, of which a segment is to tell.
    pub fn add_records(&self, records: &Records, added: u64, segment: &mut Segment) -> Result<()> {
        let names = records.keys().map(String::as_str);
        self.add(&records::encode(records)?, None, added, names, segment)
    }

    /// Adds a pack, of outcomes if it begins with a `list`.
    fn add<'a>(
        &self,
        bytes: &[u8],
        list: Option<Blob>,
        added: u64,
        names: impl ExactSizeIterator<Item = &'a str>,
        segment: &mut Segment,
    ) -> Result<()> {
        let blob = Blob::of(bytes);
        self.remote.add(&blob, bytes)?;
        let items = u32::try_from(names.len()).context("a pack has too many items")?;
        let is_of_records = list.is_none();
        let list = list.unwrap_or_else(|| blob.clone());
        segment.add(Pack { blob, list, items, is_of_records, added }, names);
        Ok(())
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
