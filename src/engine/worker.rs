//! The worker, which runs units in a container: its source, which the compiler of an image builds,
//! and the packs in which files are sent to it.

#[path = "../../worker/pack.rs"]
pub mod pack;

use std::fs;

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::util::{digest::digest, disk::OnDisk, state_dir::Cache};

macro_rules! sources {
    ($($name:literal),*) => { &[$(($name, include_str!(concat!("../../worker/", $name)))),*] };
}

const SOURCES: &[(&str, &str)] = sources![
    "batch.rs",
    "landlock.rs",
    "listing.rs",
    "main.rs",
    "outcome.rs",
    "pack.rs",
    "process.rs",
    "protocol.rs",
    "report.rs",
    "rules.rs",
    "schedule.rs",
    "store.rs",
    "sys.rs",
    "tokens.rs",
    "view.rs"
];

/// The folder with the worker's source, to be sent to the engine.
pub fn source(cache: &Cache) -> Result<Utf8PathBuf> {
    let texts = SOURCES.iter().flat_map(|(name, text)| [*name, *text]);
    cache.folder(&format!("worker/{}", digest(texts)), |new| {
        SOURCES
            .iter()
            .try_for_each(|(name, text)| fs::write(new.join(name), text))
            .on_disk(new, || "failed to write the worker's source".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_source_is_sent() {
        let folder = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("worker");
        let entries = folder.read_dir_utf8().unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_owned()).collect();
        names.sort();
        assert_eq!(names, SOURCES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
