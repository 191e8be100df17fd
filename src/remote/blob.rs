//! Blobs: bytes that never change, named by their digest.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::util::digest::hex;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// SHA-256, as hex digits.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

impl Blob {
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: hex(&Sha256::digest(bytes)), size: bytes.len() as u64 }
    }

    /// Fails unless these are its bytes.
    pub fn check(&self, bytes: &[u8]) -> Result<()> {
        ensure!(
            Self::of(bytes) == *self,
            "blob {} is not what it was: its digest is another one (hint: the remote is damaged, \
             or somebody changed it)",
            self.digest
        );
        Ok(())
    }

    /// Whether the name may be a digest: it becomes part of paths and addresses.
    pub fn is_sound(&self) -> bool {
        self.digest.len() == 64 && self.digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}
