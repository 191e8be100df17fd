//! Records that travel with outcomes: by them, another machine finds the same keys, and knows what
//! build scripts print before it has their outcomes.
//!
//! They are small, and needed together, so those of a push are one blob: JSON, compressed.

use std::{collections::BTreeMap, io::Read};

use anyhow::Result;
use serde_json::Value;

/// What one may grow to that somebody else compressed.
const MOST: u64 = 1 << 30;

/// Values by their names: `about/KEY` and others, as the cache folder has them.
pub type Records = BTreeMap<String, Value>;

pub fn encode(records: &Records) -> Result<Vec<u8>> {
    Ok(zstd::encode_all(&serde_json::to_vec(records)?[..], 9)?)
}

pub fn decode(compressed: &[u8]) -> Result<Records> {
    let mut text = Vec::new();
    zstd::Decoder::new(compressed)?.take(MOST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
