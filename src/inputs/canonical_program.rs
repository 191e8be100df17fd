//! Canonical programs: programs of build scripts that hold a path of their container, as by
//! `env!("CARGO_MANIFEST_DIR")`.
//!
//! Such a program is made twice. Containers run the canonical one, which has common paths and finds
//! its files there; its outcome serves every machine. This machine gets another one with the host's
//! own paths ([`crate::unit::path_map`]). A copy of the canonical program is saved here, under the
//! key of the step that made it, and at the path that it has in that step's stage. A run has the
//! same key whether its program comes from the stage or from this copy, because the run may have
//! begun before anybody saw that the program holds a path.

use std::{borrow::Cow, fs};

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::{
    step::{
        dockerfile::{Mount, Run},
        spec::{self, Output},
    },
    store::provenance::Provenance,
    unit::work::Unit,
    util::{disk::OnDisk, state_dir::Cache},
};

/// Saves the program that the step `key` of a unit wrote to `folder`.
pub fn save(cache: &Cache, key: &str, unit: &Unit, folder: &Utf8Path) -> Result<()> {
    let names = unit.output_files();
    let program =
        spec::outputs(unit, &names).into_iter().find(|output| output.host.extension() != Some("d"));
    let Output { host, source } = program.context("a build script's program has a name")?;
    let program = folder.join(host.file_name().unwrap_or_default());
    cache.folder(&name_of(key), |new| {
        let to = new.join(source.trim_start_matches('/'));
        let copied =
            fs::create_dir_all(to.with_file_name("")).and_then(|()| fs::copy(&program, &to));
        copied.map(drop).on_disk(new, || format!("failed to copy `{program}` into the cache"))
    })?;
    Ok(())
}

/// Whether the program that this step made is saved.
pub fn is_saved(cache: &Cache, key: &str) -> bool {
    cache.used(&name_of(key)).is_some()
}

/// The provenance for containers of the program that this step made, `output` of its stage, if it
/// is saved.
pub fn provenance(cache: &Cache, key: &str, output: Output) -> Option<Provenance> {
    let context = cache.used(&name_of(key))?;
    // A stage may have the step's own key.
    Some(Provenance::of_copy(format!("{key}{SUFFIX}"), context, vec![output]))
}

/// The same step with all programs taken from the stages that made them.
pub fn as_made(run: &Run) -> Cow<'_, Run> {
    let mut made = Cow::Borrowed(run);
    for (number, mount) in run.mounts.iter().enumerate() {
        if let Mount::Bind { from, .. } = mount
            && let Some(stage) = from.strip_suffix(SUFFIX)
            && let Mount::Bind { from, .. } = &mut made.to_mut().mounts[number]
        {
            *from = stage.to_owned();
        }
    }
    made
}

/// What the key of a canonical program's provenance ends with, after that of its step.
const SUFFIX: &str = "-program";

/// Earlier versions saved programs under another name in `programs/KEY`.
fn name_of(key: &str) -> String {
    format!("programs/{key}{SUFFIX}")
}
