//! Makes a remote small: what is too old or too much goes, and many small packs become few.

use std::collections::{BTreeSet, HashSet};

use anyhow::Result;
use serde_json::Value;

use super::{
    PACK_SIZE,
    blob::Blob,
    head::Head,
    opened::Opened,
    pack::{Item, Writer},
    pull::name_of,
    records::Records,
    segment::{Pack, Segment, prefix},
    signature::Signer,
};

/// A blob that no head names is removed once it is so old, in seconds: somebody may be about to
/// write a head that names it.
const ABANDONED: u64 = 24 * 60 * 60;

/// Records of so many bytes, compressed, are enough for one pack.
const MOST_RECORDS: u64 = 4 << 20;

/// What is to be left.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// In bytes.
    pub size: Option<u64>,
    /// In seconds.
    pub age: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    pub packs: [usize; 2],
    pub bytes: [u64; 2],
    pub outcomes: [usize; 2],
    /// Blobs that no head named any more.
    pub abandoned: usize,
}

/// Writes a head that names only what is within the bounds. Returns `None` if somebody else wrote
/// one meanwhile, and changes nothing then.
pub fn compact(
    opened: &Opened,
    bounds: Bounds,
    signer: Option<&Signer>,
    now: u64,
) -> Result<Option<Compacted>> {
    opened.check_writer(signer)?;
    let all = Segment::merged(&opened.segments, |_| true);
    let left = within(&all.packs, bounds, now);
    let mut compacted = Compacted {
        packs: [all.packs.len(), 0],
        bytes: [size_of(&all.packs), 0],
        ..Compacted::default()
    };
    let mut new = Segment::merged(std::slice::from_ref(&all), |pack| {
        !pack.is_of_records && left.contains(&pack.blob) && !is_small(pack)
    });
    let outcomes = |packs: &[Pack]| -> usize {
        packs.iter().filter(|pack| !pack.is_of_records).map(|pack| pack.items as usize).sum()
    };
    compacted.outcomes[0] = outcomes(&all.packs);
    let small = all
        .packs
        .iter()
        .filter(|pack| !pack.is_of_records && left.contains(&pack.blob) && is_small(pack));
    merge_small(opened, small, &mut new)?;
    add_records(opened, &all, &mut new)?;
    compacted.packs[1] = new.packs.len();
    compacted.bytes[1] = size_of(&new.packs);
    compacted.outcomes[1] = outcomes(&new.packs);
    let bytes = new.encode()?;
    let blob = Blob::of(&bytes);
    opened.remote.add(&blob, &bytes)?;
    let head = Head::new(opened.head.generation + 1, vec![blob]);
    let text = head.encode([&new], signer)?;
    if !opened.remote.replace_head(opened.known.as_deref(), &text)? {
        return Ok(None);
    }
    compacted.abandoned = remove_abandoned(opened, &head, &new)?;
    Ok(Some(compacted))
}

/// The packs of outcomes that stay, the latest first, as far as the bounds allow.
fn within(packs: &[Pack], bounds: Bounds, now: u64) -> HashSet<Blob> {
    let is_young =
        |pack: &&Pack| bounds.age.is_none_or(|age| now.saturating_sub(pack.added) <= age);
    let mut packs: Vec<&Pack> = packs.iter().filter(is_young).collect();
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.added));
    let mut size = 0;
    let fits = |pack: &&&Pack| {
        size += pack.blob.size;
        bounds.size.is_none_or(|limit| size <= limit)
    };
    packs.iter().take_while(fits).map(|pack| pack.blob.clone()).collect()
}

fn is_small(pack: &Pack) -> bool {
    pack.blob.size < PACK_SIZE / 2
}

fn size_of(packs: &[Pack]) -> u64 {
    packs.iter().map(|pack| pack.blob.size).sum()
}

/// Adds packs with all that is in small ones. They are as old as the oldest of these.
fn merge_small<'a>(
    opened: &Opened,
    small: impl Iterator<Item = &'a Pack>,
    new: &mut Segment,
) -> Result<()> {
    let (mut writer, mut added, mut names) = (Writer::default(), u64::MAX, BTreeSet::new());
    for pack in small {
        let bytes = opened.whole(pack)?;
        added = added.min(pack.added);
        for (item, part) in super::pack::items(&bytes)? {
            let Item { name, millis, .. } = &item;
            // Two machines may have made and pushed the same.
            if names.insert(name.clone()) {
                let (start, end) = (usize::try_from(part.start)?, usize::try_from(part.end)?);
                writer.add(name, &bytes[start..end], *millis);
            }
        }
        if writer.len() >= PACK_SIZE {
            opened.add_pack(std::mem::take(&mut writer), added, new)?;
            added = u64::MAX;
        }
    }
    if !writer.is_empty() {
        opened.add_pack(writer, added, new)?;
    }
    Ok(())
}

/// Adds the records that belong to outcomes which are still there, the latest of each name. Those
/// of one build stay together.
fn add_records(opened: &Opened, all: &Segment, new: &mut Segment) -> Result<()> {
    let mut packs: Vec<&Pack> = all.packs.iter().filter(|pack| pack.is_of_records).collect();
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.added));
    let mut seen = HashSet::new();
    let (mut records, mut size, mut added) = (Records::new(), 0, u64::MAX);
    for pack in packs {
        let all = opened.records(pack)?;
        let needed = needed(&all, new);
        let is_new =
            |(name, _): &(String, Value)| needed.contains(name) && seen.insert(name.clone());
        records.extend(all.into_iter().filter(is_new));
        (size, added) = (size + pack.blob.size, added.min(pack.added));
        if size >= MOST_RECORDS && !records.is_empty() {
            opened.add_records(&std::mem::take(&mut records), added, new)?;
            (size, added) = (0, u64::MAX);
        }
    }
    match records.is_empty() {
        true => Ok(()),
        false => opened.add_records(&records, added, new),
    }
}

/// The names of the records that belong to outcomes of a segment.
fn needed(records: &Records, segment: &Segment) -> HashSet<String> {
    let mut needed = HashSet::new();
    for (name, about) in records {
        let Some(key) = name.strip_prefix("about/") else { continue };
        if segment.packs_of(prefix(&name_of(key))).next().is_some() {
            needed.insert(name.clone());
            needed.extend(about["discovered"].as_str().map(str::to_owned));
            needed.extend(about["declared"].as_str().map(|own| format!("traces/{own}")));
        }
    }
    needed
}

/// Removes what neither the head nor its segments name, and nobody is about to.
fn remove_abandoned(opened: &Opened, head: &Head, segment: &Segment) -> Result<usize> {
    let packs = segment.packs.iter().map(|pack| &pack.blob);
    let named: HashSet<&Blob> = head.segments.iter().chain(packs).collect();
    let mut removed = 0;
    for (blob, age) in opened.remote.list()?.unwrap_or_default() {
        if !named.contains(&blob) && age >= ABANDONED {
            opened.remote.remove(&blob)?;
            removed += 1;
        }
    }
    Ok(removed)
}
