//! `rustcbuildx audit [FOLDER]`: what the units of a target folder did beyond cargo's word: what
//! each read outside of its package, looked for in vain, wrote, started and spoke to.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result, ensure};
use camino::Utf8Path;
use serde::Serialize;

use super::{
    touched::{self, Part},
    units::steps,
};
use crate::{
    config::env::Env, step::spec::Step, store::provenance::ProvenanceRecords,
    util::state_dir::Cache,
};

/// What a unit did, for programs.
#[derive(Serialize)]
struct Record {
    unit: String,
    did: BTreeMap<&'static str, Vec<String>>,
}

/// Prints what units did, by their names; with `is_json`, for programs. Fails on a folder that has
/// none of ours.
pub fn run(env: &Env, folder: Option<&str>, is_json: bool) -> Result<ExitCode> {
    let cache = Cache::open(env.cache_dir()?)?;
    let named = folder.or(env.get("CARGO_TARGET_DIR")).unwrap_or("target");
    let folder = env.current_dir()?.join(named);
    let units = units(&folder, &cache);
    ensure!(
        !units.is_empty(),
        "failed to find units in `{folder}`: rustcbuildx built none there (hint: rustcbuildx audit \
         FOLDER, a target folder)"
    );
    if is_json {
        let did = |parts: Vec<Part>| parts.into_iter().map(|part| (part.title, part.lines));
        let record = |(unit, parts)| Record { unit, did: did(parts).collect() };
        let records: Vec<Record> = units.into_iter().map(record).collect();
        println!("{}", serde_json::to_string_pretty(&records).context("failed to print")?);
        return Ok(ExitCode::SUCCESS);
    }
    let (count, mut quiet) = (units.len(), 0);
    for (name, parts) in units {
        if parts.is_empty() {
            quiet += 1;
            continue;
        }
        println!("{name}\n{}", touched::printed(&parts, "  "));
    }
    println!("{quiet} of {count} units did nothing beyond their package and the image.");
    Ok(ExitCode::SUCCESS)
}

/// What the units of a target folder did, by their names.
fn units(folder: &Utf8Path, cache: &Cache) -> Vec<(String, Vec<Part>)> {
    let mut records = ProvenanceRecords::new(cache, folder.to_owned());
    let steps = steps(folder, &mut records).into_iter();
    let mut units: Vec<_> = steps
        .filter_map(|Step { key, task, .. }| {
            let observation = records.observation(&key)?;
            // A library and its tests have one name.
            Some((task.name, touched::parts(&observation, task.kind, false)))
        })
        .collect();
    units.sort_by(|(a, _), (b, _)| a.cmp(b));
    units
}
