//! Which units of a dry run are made from which, and how long the rest waits for one.

use std::collections::HashMap;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    planning::{
        directives,
        schedule::{Schedule, State},
    },
    target::shim,
    unit::work::{Unit, Work},
};

/// As how many units a build script counts that compiles a whole library.
const LIBRARY: usize = 8;

/// As how many units one counts where it is asked which of them the rest waits for longest. The
/// build script of a package that links a library most often compiles that, which is not Rust.
pub fn weight(unit: &Unit) -> usize {
    const LINKS: &str = "CARGO_MANIFEST_LINKS";
    if unit.is_build_script() && unit.env.contains_key(LINKS) { LIBRARY } else { 1 }
}

/// Which units are made from which, and which depend on the directives of which build scripts.
pub fn schedule(units: &[Unit]) -> Result<Schedule> {
    let mut makers: HashMap<Utf8PathBuf, usize> = HashMap::new();
    let mut schedule = Schedule::default();
    for unit in units {
        let inputs: Vec<Utf8PathBuf> = match &unit.work {
            Work::Compile { args, .. } => {
                let crates = args.externs().filter_map(|(_, path)| Some(unit.cwd.join(path?)));
                let generated = unit.env.get("OUT_DIR").map(Utf8PathBuf::from);
                crates.chain(generated).collect()
            }
            Work::BuildScript { program, .. } => vec![shim::compiled(program)?],
        };
        let artifacts: Vec<&Utf8Path> = unit.artifacts().collect();
        let inputs = inputs.iter().map(Utf8PathBuf::as_path).chain(artifacts.iter().copied());
        let made_from = inputs.filter_map(|path| makers.get(path).copied()).collect();
        let scripts = directives::scripts(unit);
        let makers_of = scripts.iter().map(|script| makers.get(Utf8Path::new(script)).copied());
        let runs: Vec<usize> = makers_of.flatten().collect();
        // What is in the place of an artifact is empty.
        let is_whole =
            runs.len() == scripts.len() && artifacts.iter().all(|path| makers.contains_key(*path));
        let number = schedule.add(made_from, runs);
        if !is_whole {
            schedule.set(number, State::Fallback);
        }
        makers.extend(unit.output_paths().into_iter().map(|path| (path, number)));
    }
    Ok(schedule)
}
