//! Outcomes as packs have them: an archive of the local store, compressed once more for the way.
//!
//! The store's own compression is the fastest there is; this one is a third as large. A library has
//! its metadata once more, a file further on, which a wide window finds.

use std::io::{self, Read, Write};

use anyhow::Result;
use lz4_flex::frame::{FrameDecoder, FrameEncoder};

use crate::store::local::LocalStore;

const LEVEL: i32 = 3;
/// In bits: the widest that decoders take without being told.
const WINDOW: u32 = 27;

/// An outcome of the store, for a pack; `None` if the store does not have it.
pub fn packed(store: &LocalStore<'_>, key: &str) -> Option<Vec<u8>> {
    store.read(key, |archive| {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        encoder.window_log(WINDOW)?;
        encoder.long_distance_matching(true)?;
        io::copy(&mut FrameDecoder::new(archive), &mut encoder)?;
        Ok(encoder.finish()?)
    })
}

/// Stores an outcome from a pack.
pub fn save(store: &LocalStore<'_>, key: &str, packed: &[u8]) -> Result<()> {
    store.put_with(key, |to: &mut dyn Write| {
        let mut archive = FrameEncoder::new(to);
        let mut unpacked = zstd::Decoder::new(packed)?;
        unpacked.window_log_max(WINDOW)?;
        io::copy(&mut unpacked as &mut dyn Read, &mut archive)?;
        archive.finish()?;
        Ok(())
    })
}
