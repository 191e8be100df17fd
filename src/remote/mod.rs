//! Remotes: places where outcomes are shared between machines. This is a part of the program
//! `rustcbuildx-cache` alone, so what protocols and signatures need is neither in the wrapper nor
//! behind each build script.
//!
//! # What is in a remote
//!
//! ```text
//! head ──▶ segments ──▶ packs ──▶ items
//! ```
//!
//! Items are outcomes, compressed, and records, by which a machine finds the same keys as another
//! one. They lie in packs of some [`PACK_SIZE`] bytes, those of one build side by side, so that few
//! requests fetch them all. A segment tells which packs may hold an item, by a few bytes of the
//! digest of its name; a pack begins with a list that says where each is, and its digest. Packs and
//! segments are blobs: never changed, and named by their digests. The head names the segments. It
//! is signed, and the only thing that is ever replaced. So whoever trusts the head's signature can
//! check all that they fetch.
//!
//! The head is written as a manifest of an OCI image, whose layers are the blobs. In a registry it
//! is just that, which keeps the registry from removing blobs in use. Elsewhere it is a file, so
//! that a remote of one kind is copied to another as it is.

pub mod blob;
pub mod folder;
pub mod head;
pub mod opened;
pub mod outcomes;
pub mod pack;
pub mod pull;
pub mod push;
pub mod records;
pub mod segment;
pub mod signature;

use std::ops::Range;

use anyhow::Result;

pub use self::blob::Blob;

/// How many bytes of items a pack has, more or less.
pub const PACK_SIZE: u64 = 32 << 20;

/// A place that has a head and blobs. Errors name the place.
pub trait Remote: Send + Sync {
    /// The text of the head; `None` if there is none yet.
    fn head(&self) -> Result<Option<String>>;

    /// Puts another head in the place of the one that is `known`. Returns false, and changes
    /// nothing, if that is no longer there.
    fn replace_head(&self, known: Option<&str>, new: &str) -> Result<bool>;

    /// A part of a blob, or all of it. It is not checked.
    fn read(&self, blob: &Blob, part: Option<Range<u64>>) -> Result<Vec<u8>>;

    /// Adds a blob, unless it is there.
    fn add(&self, blob: &Blob, bytes: &[u8]) -> Result<()>;

    /// Removes a blob that no head names any more.
    fn remove(&self, blob: &Blob) -> Result<()>;

    /// The blobs that are there, as far as it can tell: whoever removes the others needs it.
    fn list(&self) -> Result<Vec<Blob>>;
}
