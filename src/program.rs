//! Programs of build scripts that hold a path of their container, such as `env!("CARGO_MANIFEST_DIR")`.
//!
//! For this machine to run it, such a program is made again with the host's paths ([`crate::places`]). Containers go on
//! to run the first one, which finds its files at the common places, and whose outcome serves every machine: of that, a
//! copy is kept here, by the key of the step that made it.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    cache::Cache,
    output_names,
    recipe::{Output, Recipe},
    unit::Unit,
};

/// Keeps the program that the step `key` of a unit left in `folder`.
pub fn keep(cache: &Cache, key: &str, unit: &Unit, folder: &Utf8Path) -> Result<()> {
    let names = output_names::files(unit);
    let name = names.iter().find(|name| !name.ends_with(".d")).context("a build script's program has a name")?;
    let program = folder.join(name);
    cache.folder(&name_of(key), |new| {
        let copied = fs::create_dir(new.join("p")).and_then(|()| fs::copy(&program, new.join(PROGRAM)));
        copied.map(drop).with_context(|| format!("failed to copy `{program}` into the cache (hint: is the disk full?)"))
    })?;
    Ok(())
}

/// Whether the program that this step made is kept.
pub fn is_kept(cache: &Cache, key: &str) -> bool {
    cache.used(&name_of(key)).is_some()
}

/// How a container gets at `path` the program that this step made, if it is kept.
pub fn recipe(cache: &Cache, key: &str, path: Utf8PathBuf) -> Option<Recipe> {
    let context = cache.used(&name_of(key))?;
    let outputs = vec![Output { host: path, source: format!("/{PROGRAM}") }];
    // A stage may have the step's own key.
    Some(Recipe::of_copy(format!("{key}-program"), context, outputs))
}

/// In a folder of the kept one: to digest a file, BuildKit walks all of the folder that it is in.
const PROGRAM: &str = "p/program";

fn name_of(key: &str) -> String {
    format!("programs/{key}")
}
