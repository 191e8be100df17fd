//! What came back of a unit, read and put into the host's words.

use std::{borrow::Cow, fs};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use crate::{
    rustc::dep_info,
    step::touched::FileState,
    store::{
        archive::{Outcome, Received, WrittenFile},
        staging::Unpacked,
    },
    unit::work::{Unit, Work},
    util::disk::OnDisk,
};

/// The text of the dep-info files a unit wrote.
pub fn dep_info_of(files: &Unpacked) -> Result<String> {
    let mut text = String::new();
    for path in dep_infos(files)? {
        text += &fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
    }
    Ok(text)
}

pub fn dep_infos(files: &Unpacked) -> Result<Vec<Utf8PathBuf>> {
    Ok(files
        .names()?
        .iter()
        .filter(|name| name.ends_with(".d"))
        .map(|name| files.root.join(name))
        .collect())
}

/// The outcome with the host's paths: in what the unit printed, and in its dep-info.
pub fn with_host_paths(unit: &Unit, mut received: Received) -> Result<Received> {
    restore_output(unit, &mut received.outcome);
    if unit.path_map.are_common() && matches!(unit.work, Work::Compile { .. }) {
        for path in dep_infos(&received.files)? {
            fs::read(&path)
                .and_then(|text| fs::write(&path, unit.path_map.to_host(&text)))
                .on_disk(&path, || format!("failed to write `{path}`"))?;
        }
    }
    Ok(received)
}

/// Puts the host's paths into what a unit printed, and into what it was seen to touch.
pub fn restore_output(unit: &Unit, outcome: &mut Outcome) {
    let observed = outcome.observed.iter_mut();
    for text in [&mut outcome.stdout, &mut outcome.stderr].into_iter().chain(observed) {
        if let Cow::Owned(restored) = unit.path_map.to_host(text) {
            *text = restored;
        }
    }
    restore_written(unit, outcome);
}

/// Puts the host's paths into what a unit wrote elsewhere.
fn restore_written(unit: &Unit, outcome: &mut Outcome) {
    let texts = outcome.written.iter_mut().flat_map(|WrittenFile { at, .. }| {
        let link = match &mut at.what {
            FileState::Link(target) => Some(target),
            _ => None,
        };
        [&mut at.path].into_iter().chain(link)
    });
    for text in texts {
        if let Cow::Owned(restored) = unit.path_map.to_host(text.as_bytes()) {
            *text = String::from_utf8_lossy(&restored).into_owned();
        }
    }
}

/// The sentinels of paths that only a unit's container had, as far as its files hold them anywhere.
pub fn possibly_embedded(unit: &Unit, outcome: &Outcome) -> Vec<String> {
    let mut sentinels = unit.path_map.sentinels();
    sentinels.retain(|sentinel| outcome.embedded.contains(sentinel));
    sentinels
}

/// Whether cargo takes an outcome for a success: a build script may end well and still report an
/// error.
pub fn is_success(is_build_script: bool, outcome: &Outcome) -> bool {
    let reports_error =
        || !dep_info::directives(&String::from_utf8_lossy(&outcome.stdout), "error").is_empty();
    outcome.status == 0 && !(is_build_script && reports_error())
}
