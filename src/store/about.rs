//! What is known of a stored outcome beside its bytes: of which unit it is, how long that took, and
//! who may have it.

use serde::{Deserialize, Serialize};

use crate::{step::key::Key, util::state_dir::Cache};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The unit's name, for people.
    pub unit: String,
    pub package: String,
    /// How long its process took, in milliseconds.
    pub millis: u64,
    /// The outcomes that it was made from.
    pub made_from: Vec<Key>,
    /// Under which name the inputs are remembered that were discovered of it.
    pub discovered: String,
    /// The digest of what is declared of it, under which its traces are.
    pub declared: String,
    /// What it printed, of a build script: the keys of others depend on that.
    pub printed: Option<String>,
    /// The registry that its package was downloaded from, as a lock file of cargo's names it.
    pub registry: Option<String>,
    /// Why nobody else is to have it, wherever its package is from.
    pub own: Option<String>,
    /// Why it would be of no use to others.
    pub local: Option<String>,
}

/// What is known of the outcome with this key.
pub fn read(cache: &Cache, key: &str) -> Option<About> {
    cache.read(&name_of(key))
}

pub fn write(cache: &Cache, key: &str, about: &About) -> anyhow::Result<()> {
    cache.write(&name_of(key), about)
}

fn name_of(key: &str) -> String {
    format!("about/{key}")
}
