//! What was discovered of units, remembered for the builds after this one. It is written down with
//! common paths, so that whoever has the same package elsewhere can read it, too.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    build::{Prepared, Session},
    inputs::discovered::Discovered,
    rustc::tool::Tool,
    unit::{
        path_map::PathMap,
        work::{Unit, Work},
    },
    util::digest::digest,
};

impl Session<'_> {
    /// What was discovered of a unit by now.
    pub(in crate::build) fn remembered(&self, unit: &Unit) -> Discovered {
        let all: Discovered = self.cache.read(&name(unit)).unwrap_or_default();
        let all = all.with_paths(|path| unit.path_map.on_host(path));
        match self.env.domain() {
            None => all,
            // Others may have written it.
            Some(_) => all.within_reach(unit, &self.homes),
        }
    }

    /// Remembers what was discovered of a unit.
    pub(in crate::build) fn remember(
        &self,
        Prepared { unit, .. }: &Prepared,
        all: &Discovered,
    ) -> Result<()> {
        self.cache.write(&name(unit), &all.clone().with_paths(|path| portable(unit, path)))
    }
}

/// Under which names inputs are remembered of units as a dry run recorded them.
pub(in crate::build) fn names(session: &Session<'_>, units: &[Unit]) -> Vec<String> {
    let with_paths = |unit: &Unit| {
        let path_map = PathMap::of(unit, session.config.canonical_paths, &session.homes.cargo);
        name(&Unit { path_map, ..unit.clone() })
    };
    units.iter().map(with_paths).collect()
}

/// A path as others have it. Nobody else has a file of the target folder.
fn portable(unit: &Unit, path: &Utf8Path) -> Utf8PathBuf {
    match unit.path_map.target().is_some_and(|target| path.starts_with(target)) {
        true => path.to_owned(),
        false => unit.path_map.common(path.as_str()).into(),
    }
}

/// Under which name it is remembered: a library, a program and a test of one name are three, and
/// clippy reads more than rustc.
pub(super) fn name(unit: &Unit) -> String {
    let (input, is_clippy) = match &unit.work {
        Work::Compile { args, tool, .. } => {
            (args.inputs().next().unwrap_or_default(), *tool == Tool::Clippy)
        }
        Work::BuildScript { .. } => ("", false),
    };
    let package = unit.path_map.common(unit.package.as_str());
    let input = unit.path_map.common(input);
    let [is_test, is_clippy] = [unit.is_test(), is_clippy].map(|is| is.to_string());
    format!("discovered/{}", digest([package, unit.name(), input, is_test, is_clippy]))
}
