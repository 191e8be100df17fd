//! Segments: which packs may hold an item.
//!
//! A segment has no names, only the first bytes of their digests. That is short: some ten bytes for
//! each item. Two names may have the same; the list of the pack then tells that it has only one of
//! them.
//!
//! ```text
//! length of the packs (4 bytes, little endian) | packs, as JSON | digests and packs of items
//! ```
//!
//! All of it is compressed.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::blob::Blob;

/// What one may grow to that somebody else compressed.
const MOST: u64 = 1 << 30;

/// A pack, as a segment has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    #[serde(flatten)]
    pub blob: Blob,
    /// How it begins, with its list, of which that is the digest.
    pub list: Blob,
    /// How many items it has.
    pub items: u32,
    /// Whether it holds records, and no outcomes.
    #[serde(default)]
    pub is_of_records: bool,
    /// When it was added, in seconds since 1970.
    pub added: u64,
}

impl Pack {
    pub fn blob(&self) -> &Blob {
        &self.blob
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    pub packs: Vec<Pack>,
    /// What digests of names begin with, and the packs of the items with these names, in order.
    items: Vec<(u64, u32)>,
}

/// What the digest of a name begins with.
pub fn prefix(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has more than eight bytes"))
}

impl Segment {
    /// Adds a pack with items of these names.
    pub fn add<'a>(&mut self, pack: Pack, names: impl IntoIterator<Item = &'a str>) {
        let prefixes = names.into_iter().map(prefix).collect();
        self.add_by_prefixes(pack, prefixes);
        self.items.sort_unstable();
    }

    fn add_by_prefixes(&mut self, pack: Pack, prefixes: Vec<u64>) {
        let number = u32::try_from(self.packs.len()).expect("a segment has few packs");
        self.packs.push(pack);
        self.items.extend(prefixes.into_iter().map(|prefix| (prefix, number)));
    }

    /// Those of several, of whose packs only some stay.
    pub fn merged(all: &[Self], stays: impl Fn(&Pack) -> bool) -> Self {
        let (mut merged, mut seen) = (Self::default(), HashSet::new());
        for segment in all {
            let mut prefixes: HashMap<u32, Vec<u64>> = HashMap::new();
            for (prefix, number) in &segment.items {
                prefixes.entry(*number).or_default().push(*prefix);
            }
            for (number, pack) in (0..).zip(&segment.packs) {
                if stays(pack) && seen.insert(&pack.blob) {
                    let own = prefixes.remove(&number).unwrap_or_default();
                    merged.add_by_prefixes(pack.clone(), own);
                }
            }
        }
        merged.items.sort_unstable();
        merged
    }

    /// The packs that may hold an item whose name has this [`prefix`], the latest first.
    pub fn packs_of(&self, prefix: u64) -> impl Iterator<Item = &Pack> {
        let first = self.items.partition_point(|(other, _)| *other < prefix);
        let own = self.items[first..].iter().take_while(move |(other, _)| *other == prefix);
        let mut own: Vec<&Pack> = own.map(|(_, number)| &self.packs[*number as usize]).collect();
        own.sort_by_key(|pack| std::cmp::Reverse(pack.added));
        own.into_iter()
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        let packs = serde_json::to_vec(&self.packs)?;
        let length = u32::try_from(packs.len()).context("a segment has too many packs")?;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(packs);
        self.items.iter().for_each(|(prefix, _)| bytes.extend(prefix.to_be_bytes()));
        self.items.iter().for_each(|(_, number)| bytes.extend(number.to_le_bytes()));
        Ok(zstd::encode_all(&bytes[..], 3)?)
    }

    pub fn decode(compressed: &[u8]) -> Result<Self> {
        let mut bytes = Vec::new();
        zstd::Decoder::new(compressed)?.take(MOST).read_to_end(&mut bytes)?;
        let (length, rest) = bytes.split_first_chunk::<4>().context("it is cut short")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (packs, items) = rest.split_at_checked(length).context("it is cut short")?;
        let packs: Vec<Pack> = serde_json::from_slice(packs)?;
        ensure!(items.len() % 12 == 0, "it is cut short");
        ensure!(
            packs.iter().all(|pack| pack.blob.is_sound() && pack.list.is_sound()),
            "a pack's digest is none"
        );
        let (prefixes, numbers) = items.split_at(items.len() / 12 * 8);
        let prefixes = prefixes.as_chunks::<8>().0.iter().map(|it| u64::from_be_bytes(*it));
        let numbers = numbers.as_chunks::<4>().0.iter().map(|it| u32::from_le_bytes(*it));
        let items: Vec<(u64, u32)> = prefixes.zip(numbers).collect();
        let is_sound = items.iter().all(|(_, number)| (*number as usize) < packs.len());
        ensure!(is_sound && items.is_sorted(), "its items are not in order");
        Ok(Self { packs, items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(text: &str, added: u64) -> Pack {
        let blob = Blob::of(text.as_bytes());
        Pack { list: blob.clone(), blob, items: 2, is_of_records: false, added }
    }

    fn added(segment: &Segment, name: &str) -> Vec<u64> {
        segment.packs_of(prefix(name)).map(|pack| pack.added).collect()
    }

    #[test]
    fn an_item_leads_to_its_packs() {
        let mut segment = Segment::default();
        segment.add(pack("a", 1), ["u1", "u2"]);
        segment.add(pack("b", 2), ["u2", "u3"]);
        let segment = Segment::decode(&segment.encode().unwrap()).unwrap();
        let all = ["u1", "u2", "u3", "u4"].map(|name| added(&segment, name));
        assert_eq!(all, [vec![1], vec![2, 1], vec![2], vec![]]);
    }

    #[test]
    fn several_are_merged_to_one() {
        let mut all = [Segment::default(), Segment::default()];
        all[0].add(pack("a", 1), ["u1", "u2"]);
        all[0].add(pack("b", 2), ["u3"]);
        all[1].add(pack("a", 1), ["u1", "u2"]);
        all[1].add(pack("c", 3), ["u2"]);
        let merged = Segment::merged(&all, |pack| pack.added != 2);
        assert_eq!((merged.packs.len(), merged.len()), (2, 3));
        let found = ["u1", "u2", "u3"].map(|name| added(&merged, name));
        assert_eq!(found, [vec![1], vec![3, 1], vec![]]);
    }

    #[test]
    fn what_is_no_segment_is_an_error() {
        let mut segment = Segment::default();
        segment.add(pack("a", 1), ["u1", "u2"]);
        let whole = zstd::decode_all(&segment.encode().unwrap()[..]).unwrap();
        for cut in 0..whole.len() {
            let compressed = zstd::encode_all(&whole[..cut], 3).unwrap();
            // A part of the items is in order, too.
            let decoded = Segment::decode(&compressed);
            assert!(decoded.is_err_and(|_| true) || (whole.len() - cut) % 12 == 0, "cut at {cut}");
        }
        assert!(Segment::decode(b"no").is_err());
    }
}
