//! How far an edit reaches: how many units the last plans of a target folder found to be missing if
//! one of them is. The first of many after an edit then waits for the plan of them all, and is not
//! built by itself first.
//!
//! What is noted may be out of date. That costs time, and nothing else.

use std::collections::BTreeMap;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::util::{digest::digest, state_dir::Cache};

/// If so many units are missing, a call of them all takes less time than one for each.
pub const MANY: usize = 3;

/// By the first output of a unit, how many it is with all that are made from it: [`MANY`] at most.
pub type Reach = BTreeMap<Utf8PathBuf, usize>;

/// Whether many units of a target folder are missing if the one with this output is.
pub fn is_far(cache: &Cache, target: &Utf8Path, output: &Utf8Path) -> bool {
    let known: Reach = cache.read(&name(target)).unwrap_or_default();
    known.get(output).is_some_and(|count| *count >= MANY)
}

/// Notes what a plan found.
pub fn note(cache: &Cache, target: &Utf8Path, found: Reach) -> Result<()> {
    let before: Reach = cache.read(&name(target)).unwrap_or_default();
    let mut all = before.clone();
    all.retain(|output, _| output.exists());
    all.extend(found);
    all.retain(|_, count| *count >= MANY);
    if all == before { Ok(()) } else { cache.write(&name(target), &all) }
}

fn name(target: &Utf8Path) -> String {
    format!("reach/{}", digest([target.as_str()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_plan_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let (cache, target) = (Cache::open(root.join("cache")).unwrap(), root.join("target"));
        std::fs::create_dir(&target).unwrap();
        let output = |name: &str| {
            std::fs::write(target.join(name), "").unwrap();
            target.join(name)
        };
        let plan = |found: &[(&str, usize)]| {
            let found = found.iter().map(|(name, count)| (output(name), *count)).collect();
            note(&cache, &target, found).unwrap();
        };
        let is_known = |name: &str| is_far(&cache, &target, &target.join(name));
        assert!(!is_known("a"));
        plan(&[("a", MANY), ("b", MANY - 1)]);
        assert!(is_known("a") && !is_known("b"));
        // Another command has other units; what is gone is forgotten.
        plan(&[("c", MANY), ("d", MANY)]);
        std::fs::remove_file(target.join("d")).unwrap();
        plan(&[("b", MANY), ("c", 0)]);
        assert!(is_known("a") && is_known("b") && !is_known("c") && !is_known("d"));
    }
}
