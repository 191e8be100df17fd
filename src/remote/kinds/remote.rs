//! What each kind of remote can do.

use std::ops::Range;

use anyhow::Result;

use crate::remote::blob::Blob;

/// Where the head and the blobs are, in a place of files.
pub const HEAD: &str = "head.json";
pub const BLOBS: &str = "blobs/sha256";

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

    /// Removes a blob that no head names any more, if the place does not do that itself.
    fn remove(&self, blob: &Blob) -> Result<()>;

    /// The blobs that are there, each with its age in seconds; `None` if the place does not tell.
    fn list(&self) -> Result<Option<Vec<(Blob, u64)>>>;
}
