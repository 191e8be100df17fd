//! The last step of a call: files to their place, then what the process said, then its status.

use std::{fs::File, process::ExitCode};

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::{
    build::Built,
    config::env,
    step::stage,
    store::{archive, provenance::Recipes},
    target::shim,
    unit::work::{Unit, Work},
    util::process,
};

/// Hands a unit's outcome to cargo as the process itself would have; gives the status to end with.
///
/// A killed process's files are not to be trusted; a failed one's are what it leaves locally, too.
pub fn deliver(built: Built, unit: &Unit, mut recipes: Recipes<'_>) -> Result<ExitCode> {
    let status = built.outcome.status;
    if status < 128 {
        let names = built.files.names()?;
        match &unit.work {
            Work::Compile { out_dir, .. } => {
                if status != 0 {
                    built.files.drop_leftovers()?;
                } else if unit.makes_build_script() {
                    wrap_programs(&built.files.root, &names, out_dir)?;
                }
                built.files.place_files(out_dir)?;
            }
            Work::BuildScript { out_dir, .. } => built.files.replace_folder(out_dir)?,
        }
        if status == 0 {
            recipes.save_step(&built.step, stage::outputs(unit, &names))?;
        }
    }
    archive::replay(&built.outcome)?;
    if let Some(complaint) = &built.complaint {
        eprintln!("rustcbuildx: error: {complaint}");
    }
    // Its folder is temporary, and an end by a signal drops nothing.
    drop(built.files);
    Ok(process::end_like(status))
}

/// Turns the build scripts in `folder` into shims for `out_dir`: the files without an extension.
fn wrap_programs(folder: &Utf8Path, names: &[String], out_dir: &Utf8Path) -> Result<()> {
    let mut programs = names.iter().filter(|name| !name.contains('.'));
    programs.try_for_each(|name| wrap_program(&folder.join(name), &out_dir.join(name)))
}

/// Turns the build script at `path` into a shim for the place `compiled`.
pub fn wrap_program(path: &Utf8Path, compiled: &Utf8Path) -> Result<()> {
    let own = env::current_exe()?;
    let front = File::open(&own).with_context(|| format!("failed to read `{own}`"))?;
    shim::wrap(path, compiled, front)
}
