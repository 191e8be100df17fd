//! Packs: many items in one blob, behind a list that tells where each is.
//!
//! ```text
//! magic (8 bytes) | length of the list (4 bytes, little endian) | list | items
//! ```
//!
//! The list is JSON, compressed.

use std::{io::Read, ops::Range};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::blob::Blob;

const MAGIC: &[u8; 8] = b"rcbxpk01";
const START: usize = MAGIC.len() + 4;
/// What one may grow to that somebody else compressed.
const MOST_LISTED: u64 = 64 << 20;

/// An item, as the list of its pack has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What it is, and of what: `outcome/KEY`, or that of a record.
    pub name: String,
    /// Its bytes.
    #[serde(flatten)]
    pub blob: Blob,
    /// How long it took to make, in milliseconds.
    #[serde(default)]
    pub millis: u64,
}

/// A pack that is being filled.
#[derive(Default)]
pub struct Writer {
    items: Vec<Item>,
    bytes: Vec<u8>,
}

impl Writer {
    pub fn add(&mut self, name: &str, bytes: &[u8], millis: u64) {
        self.items.push(Item { name: name.to_owned(), blob: Blob::of(bytes), millis });
        self.bytes.extend_from_slice(bytes);
    }

    /// The length of all items so far.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The pack's bytes, their beginning with the list, and what is in it.
    pub fn finish(self) -> Result<(Vec<u8>, Blob, Vec<Item>)> {
        let list = zstd::encode_all(&serde_json::to_vec(&self.items)?[..], 3)?;
        let length = u32::try_from(list.len()).context("a pack has too many items")?;
        let mut bytes = Vec::with_capacity(START + list.len() + self.bytes.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&list);
        let listed = Blob::of(&bytes);
        bytes.extend_from_slice(&self.bytes);
        Ok((bytes, listed, self.items))
    }
}

/// The items of a pack, each with its part of the pack, by how the pack begins.
pub fn items(beginning: &[u8]) -> Result<Vec<(Item, Range<u64>)>> {
    ensure!(beginning.starts_with(MAGIC), "it is no pack, or one of another version");
    let length = beginning.get(MAGIC.len()..START).context("it is cut short")?;
    let length = u32::from_le_bytes(length.try_into()?) as usize;
    let list = beginning[START..].get(..length).context("it is cut short")?;
    let mut text = Vec::new();
    zstd::Decoder::new(list)?.take(MOST_LISTED).read_to_end(&mut text)?;
    let items: Vec<Item> = serde_json::from_slice(&text)?;
    let mut at = (START + length) as u64;
    let mut placed = Vec::with_capacity(items.len());
    for item in items {
        let Some(end) = at.checked_add(item.blob.size) else { bail!("an item is too long") };
        placed.push((item, at..end));
        at = end;
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_from_their_parts() {
        let mut writer = Writer::default();
        for (name, text) in [("outcome/u1", "one"), ("outcome/u2", ""), ("printed/u1", "three")] {
            writer.add(name, text.as_bytes(), 7);
        }
        let (bytes, listed, _) = writer.finish().unwrap();
        let items = items(&bytes[..listed.size as usize]).unwrap();
        let texts: Vec<_> = items
            .iter()
            .map(|(item, part)| {
                let bytes =
                    &bytes[usize::try_from(part.start).unwrap()..][..item.blob.size as usize];
                item.blob.check(bytes).unwrap();
                (item.name.as_str(), std::str::from_utf8(bytes).unwrap())
            })
            .collect();
        assert_eq!(texts, [("outcome/u1", "one"), ("outcome/u2", ""), ("printed/u1", "three")]);
        assert_eq!(items.last().unwrap().1.end, bytes.len() as u64);
    }

    #[test]
    fn what_is_no_pack_is_an_error() {
        let mut writer = Writer::default();
        writer.add("outcome/u1", b"one", 0);
        let (bytes, listed, _) = writer.finish().unwrap();
        for cut in 0..listed.size as usize {
            assert!(items(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(items(b"rcbxpk02\0\0\0\0").is_err());
    }
}
