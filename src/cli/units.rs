//! The units of a target folder, as far as rustcbuildx made them.

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};
use walkdir::WalkDir;

use crate::{step::spec::Step, store::provenance::ProvenanceRecords};

/// How they were made, each once.
pub fn steps(folder: &Utf8Path, records: &mut ProvenanceRecords<'_>) -> Vec<Step> {
    let entries = WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let paths = entries.filter_map(|entry| Utf8PathBuf::from_path_buf(entry.into_path()).ok());
    let mut keys = HashSet::new();
    paths
        .filter_map(|path| {
            let key = records.of_path(&path)?.key.clone();
            keys.insert(key.clone()).then(|| records.step(&key).ok())?
        })
        .collect()
}
