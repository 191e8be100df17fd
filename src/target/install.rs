//! The last step of a call: moves a unit's files to their place under the target folder, prints
//! what the process printed, and returns its status.

use std::{borrow::Cow, io::Write, process::ExitCode};

use anyhow::{Context, Result};
use camino::Utf8Path;

use crate::{
    step::spec::{self, Step},
    store::{
        archive::Outcome,
        provenance::{Observation, ProvenanceRecords},
        staging::Unpacked,
    },
    target::{shim, written},
    unit::work::{Unit, Work},
    util::process,
};

/// Hands a unit's outcome to cargo as the process itself would have; returns the status to end
/// with.
///
/// A killed process's files are not to be trusted; a failed one's are what it leaves locally, too.
pub fn install(
    outcome: &Outcome,
    files: Unpacked,
    step: &Step,
    complaint: Option<&str>,
    unit: &Unit,
    mut records: ProvenanceRecords<'_>,
) -> Result<ExitCode> {
    let status = outcome.status;
    if status < 128 {
        written::put(&outcome.written)?;
        let names = files.names()?;
        match &unit.work {
            Work::Compile { out_dir, .. } => {
                if status != 0 {
                    files.drop_leftovers()?;
                } else if unit.makes_build_script() {
                    wrap_programs(&files.root, &names, out_dir)?;
                }
                files.move_files_into(out_dir)?;
            }
            Work::BuildScript { out_dir, .. } => files.replace_folder(out_dir)?,
        }
        if status == 0 {
            let outputs = spec::outputs(unit, &names);
            let touched = outcome.observed.as_deref().map(String::from_utf8_lossy);
            let package = unit.package.clone();
            let observation = Observation { package, touched: touched.map(Cow::into_owned) };
            records.save_step(step, outputs, &observation)?;
        }
    }
    replay(outcome)?;
    if let Some(complaint) = complaint {
        eprintln!("rustcbuildx: error: {complaint}");
    }
    // Its folder is temporary, and an end by a signal drops nothing.
    drop(files);
    Ok(process::end_like(status))
}

/// Turns the build scripts in `folder` into shims for `out_dir`: the files without an extension.
fn wrap_programs(folder: &Utf8Path, names: &[String], out_dir: &Utf8Path) -> Result<()> {
    let mut programs = names.iter().filter(|name| !name.contains('.'));
    programs.try_for_each(|name| shim::wrap_program(&folder.join(name), &out_dir.join(name)))
}

/// Prints what the process printed.
fn replay(outcome: &Outcome) -> Result<()> {
    let replay = || -> std::io::Result<()> {
        std::io::stdout().write_all(&outcome.stdout)?;
        std::io::stdout().flush()?;
        std::io::stderr().write_all(&outcome.stderr)
    };
    replay().context("failed to pass on the compiler's output")
}
