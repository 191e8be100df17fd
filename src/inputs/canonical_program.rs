//! Programs of build scripts that hold a path of their container, such as `env!("CARGO_MANIFEST_DIR")`.
//!
//! For this machine to run it, such a program is made again with the host's paths ([`crate::unit::path_map`]). Containers go on
//! to run the first one, which finds its files at the common places, and whose outcome serves every machine: of that, a
//! copy is kept here, by the key of the step that made it and at its place in that step's stage. A run has the same key whether
//! its program comes from there or from here: it may have begun before the program was seen to hold a path.

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

/// Keeps the program that the step `key` of a unit left in `folder`.
pub fn save(cache: &Cache, key: &str, unit: &Unit, folder: &Utf8Path) -> Result<()> {
    let names = unit.output_files();
    let program = spec::outputs(unit, &names).into_iter().find(|output| output.host.extension() != Some("d"));
    let Output { host, source } = program.context("a build script's program has a name")?;
    let program = folder.join(host.file_name().unwrap_or_default());
    cache.folder(&name_of(key), |new| {
        let to = new.join(source.trim_start_matches('/'));
        let copied = fs::create_dir_all(to.with_file_name("")).and_then(|()| fs::copy(&program, &to));
        copied.map(drop).on_disk(new, || format!("failed to copy `{program}` into the cache"))
    })?;
    Ok(())
}

/// Whether the program that this step made is kept.
pub fn is_saved(cache: &Cache, key: &str) -> bool {
    cache.used(&name_of(key)).is_some()
}

/// How a container gets at the program that this step made, `output` of its stage, if it is kept.
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

/// What a kept program's recipe is called, after its step.
const SUFFIX: &str = "-program";

/// Earlier versions kept programs at another place in `programs/KEY`.
fn name_of(key: &str) -> String {
    format!("programs/{key}{SUFFIX}")
}
