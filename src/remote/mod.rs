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
pub mod compact;
pub mod head;
pub mod kinds;
pub mod opened;
pub mod outcomes;
pub mod pack;
pub mod pull;
pub mod push;
pub mod records;
pub mod segment;
pub mod signature;

/// How many bytes of items a pack has, more or less.
pub const PACK_SIZE: u64 = 32 << 20;
