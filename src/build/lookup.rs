//! Resolves a unit: which paths it sees, what it reads, and by which step it is made. The step has
//! the key under which the store is asked.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{Built, Prepared, Session, build_id};
use crate::{
    build::outcome::dep_info_of,
    inputs::{Finder, Inputs, baked, canonical_program},
    planning::background,
    step::{key, spec::Step},
    unit::{
        path_map::all_sentinels,
        work::{Unit, Work},
    },
};

/// A unit, its inputs and how it is made of them.
pub(super) struct Found {
    pub unit: Unit,
    pub inputs: Inputs,
    pub step: Step,
}

impl Found {
    /// Has the step go on from the incremental state of the unit's last compile, where cargo asks
    /// for that and the engine may store it; returns whether it does. What is made with it has a
    /// key of its own, but what is made without it serves as well.
    pub(super) fn go_on(&mut self, session: &Session<'_>) -> bool {
        let state = session.incremental_state(&self.unit);
        if state.is_none() {
            return false;
        }
        let (common, baked) = (self.step.common.take(), std::mem::take(&mut self.step.baked));
        let step = session.recognised(session.step(&self.unit, &self.inputs, state));
        self.step = Step { common, baked, ..step };
        true
    }
}

impl Session<'_> {
    /// Finds what a unit reads. It sees the host's own paths if one of them is in its output or in
    /// the program that it runs. A build script's program is made with common paths first, for
    /// containers to run it ([`canonical_program`]).
    pub(super) fn find(&self, finder: &mut Finder<'_>, prepared: &Prepared) -> Result<Found> {
        let mut unit = prepared.unit.clone();
        let mut common = None;
        let own = if unit.path_map.are_common() {
            own_sentinels(prepared, finder)?
        } else {
            BTreeSet::new()
        };
        if !own.is_empty() {
            if unit.makes_build_script() {
                let inputs = finder.inputs(&mut unit)?;
                let step = self.recognised(self.step(&unit, &inputs, None));
                if !canonical_program::is_saved(&self.cache, &step.key) {
                    return Ok(Found { unit, inputs, step });
                }
                common = Some(step.key);
            }
            unit.path_map = unit.path_map.with_own(&own);
        }
        let inputs = finder.inputs(&mut unit)?;
        let step = self.recognised(self.step(&unit, &inputs, None));
        let mut step = Step { common, ..step };
        step.baked.add(&unit, &prepared.discovered.baked);
        if prepared.discovered.runs_always {
            // Nothing that an earlier command made is for this one.
            let key = key::of_command(&step.key, self.command());
            step = step.called(key);
        }
        Ok(Found { unit, inputs, step })
    }

    /// A name that no other command of cargo has.
    fn command(&self) -> &str {
        self.command.get_or_init(|| background::command(self.env).unwrap_or_else(build_id))
    }
}

impl Session<'_> {
    /// Takes note of what a unit that was built has baked in, for those that run its code.
    pub(super) fn note_baked(&self, prepared: &mut Prepared, built: &mut Built) -> Result<()> {
        if !matches!(prepared.unit.work, Work::Compile { .. }) {
            return Ok(());
        }
        let path_map = prepared.unit.path_map.clone().with_own(&prepared.discovered.own_sentinels);
        let unit = Unit { path_map, ..prepared.unit.clone() };
        let names = baked::variables(&unit, &dep_info_of(&built.files)?, &self.homes.cargo);
        built.step.baked.add(&unit, &names);
        prepared.discovered.baked.extend(names);
        Ok(())
    }
}

/// The sentinels of the folders that a unit must see at the host's own paths. For a build script
/// these are all or none, because it may put a path together from several.
fn own_sentinels(
    Prepared { unit, discovered, .. }: &Prepared,
    finder: &mut Finder<'_>,
) -> Result<BTreeSet<String>> {
    match &unit.work {
        Work::Compile { .. } => Ok(discovered.own_sentinels.clone()),
        Work::BuildScript { program, .. } => {
            let is_at_home =
                discovered.own_sentinels.is_empty() && finder.is_at_home_anywhere(program)?;
            Ok(if is_at_home { BTreeSet::new() } else { all_sentinels().into() })
        }
    }
}
