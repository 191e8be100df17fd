//! Which units may write outside of their output folders, and to which folders.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::Session;
use crate::{
    inputs::{observed::Observed, writes},
    report::notice,
    step::{protocol::Source, spec::Step},
    store::archive::Outcome,
    unit::work::Unit,
};

impl Session<'_> {
    /// The folders to open for a unit that tried to write there, as far as it may. `step` is how it
    /// was made.
    pub(super) fn folders_to_open(
        &self,
        unit: &Unit,
        step: &Step,
        observed: &Observed,
    ) -> BTreeSet<Utf8PathBuf> {
        let refused: Vec<Utf8PathBuf> =
            observed.refused.iter().map(|path| unit.path_map.real_path(path)).collect();
        let mut within_reach = refused
            .iter()
            .filter(|path| writes::is_within_reach(unit, path, &self.homes))
            .peekable();
        if within_reach.peek().is_none() || !self.may_write(unit, step) {
            return BTreeSet::new();
        }
        within_reach.filter_map(|path| writes::folder_to_open(path)).collect()
    }

    /// Takes out of an outcome what is not to be written on this machine, and tells the user.
    pub(super) fn withhold_writes(&self, unit: &Unit, outcome: &mut Outcome) {
        let all = std::mem::take(&mut outcome.written);
        let (written, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(|written| {
            let path = Utf8Path::new(&written.at.path);
            unit.keeps_writes && writes::is_within_reach(unit, path, &self.homes)
        });
        outcome.written = written;
        let refused: Vec<Utf8PathBuf> =
            refused.into_iter().map(|written| written.at.path.into()).collect();
        if let Some(text) = self.why_refused(unit, refused.iter()) {
            notice::say(self.env, &text, &text);
        }
    }

    /// A script of a member may write, and a compile of one if all the macros that run in it are
    /// members' own, or the user said so.
    fn may_write(&self, unit: &Unit, step: &Step) -> bool {
        let is_allowed = || self.config.may_write(unit.package_name());
        writes::is_of_member(unit, &self.homes)
            && (unit.is_build_script() || self.has_only_own_macros(unit, step) || is_allowed())
    }

    fn has_only_own_macros(&self, unit: &Unit, step: &Step) -> bool {
        let records = self.records(unit);
        let mut macros = step.task.inputs.iter().filter_map(|input| match &input.from {
            Source::Outcome(key) if input.target.ends_with(".so") => Some(key),
            _ => None,
        });
        macros.all(|key| {
            let made = records.observation(key);
            made.is_some_and(|made| !self.homes.is_from_elsewhere(&made.package))
        })
    }
}
