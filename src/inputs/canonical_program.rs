//! Canonical programs: programs of build scripts that hold a path of their container, as by
//! `env!("CARGO_MANIFEST_DIR")`.
//!
//! Such a program is made twice. Containers run the canonical one, which has common paths and finds
//! its files there; its outcome serves every machine. This machine gets another one with the host's
//! own paths ([`crate::unit::path_map`]). A copy of the canonical program is saved here, under the
//! key of the step that made it, and at the path that it has in that step's outcome. A run has the
//! same key whether its program comes from the outcome or from this copy, because the run may have
//! begun before anybody saw that the program holds a path.

use std::{borrow::Cow, fs};

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::{
    step::{
        protocol::{Source, Task},
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
        let to = new.join(&source);
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

/// The provenance for containers of the program that this step made, `output` of its outcome, if it
/// is saved.
pub fn provenance(cache: &Cache, key: &str, output: Output) -> Option<Provenance> {
    let context = cache.used(&name_of(key))?;
    // The outcome has the step's own key.
    Some(Provenance::of_copy(format!("{key}{SUFFIX}"), context, vec![output]))
}

/// The same task with all programs from the outcomes that contain them.
pub fn as_made(task: &Task) -> Cow<'_, Task> {
    let mut made = Cow::Borrowed(task);
    for (number, input) in task.inputs.iter().enumerate() {
        if let Source::Pack(name) = &input.from
            && let Some(key) = name.strip_suffix(SUFFIX)
        {
            made.to_mut().inputs[number].from = Source::Outcome(key.to_owned());
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
