//! Variables that a unit asked for and was not given, since they look like secrets: the user is
//! told, and may allow it.
//!
//! rustc notes that such a variable is not set, which cargo would not believe: it would compile the
//! unit again each time. What decides is the setting that gives the variable, so cargo is told to
//! look at that.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

use super::{Built, Session};
use crate::{
    build::outcome::{dep_info_of, dep_infos},
    config::secrets::{has_password, is_secret},
    inputs::{discovered, observed::Observed},
    report::notice,
    rustc::dep_info,
    store::archive::Outcome,
    unit::work::{Unit, Work},
};

/// The setting that gives them.
const SETTING: &str = "RUSTCBUILDX_SET_ENVS";

impl Session<'_> {
    /// Tells the user, and has cargo build the unit again if the setting becomes another one.
    pub(super) fn tell_of_withheld(
        &self,
        unit: &Unit,
        observed: &Observed,
        built: &mut Built,
    ) -> Result<()> {
        let mut asked =
            discovered::variables_asked_for(unit, &built.outcome, &dep_info_of(&built.files)?);
        asked.extend(observed.secrets.iter().chain(&observed.variables).cloned());
        let is_withheld = |name: &String| {
            self.env.get(name).is_some_and(|value| is_secret(name) || has_password(value))
                && !unit.env.contains_key(name)
                && !unit.hidden.contains_key(name)
        };
        let withheld: BTreeSet<String> = asked.into_iter().filter(is_withheld).collect();
        for name in &withheld {
            let unit = unit.name();
            let text = format!(
                "`{name}` looks like a secret and was not given to {unit} (hint: {SETTING}={name} \
                 gives it)"
            );
            notice::say(self.env, name, &text);
        }
        if withheld.is_empty() || built.outcome.status != 0 {
            return Ok(());
        }
        match unit.work {
            Work::Compile { .. } => {
                for path in dep_infos(&built.files)? {
                    fs::read_to_string(&path)
                        .and_then(|text| {
                            fs::write(
                                &path,
                                dep_info::instead(&text, &withheld, SETTING, self.env.get(SETTING)),
                            )
                        })
                        .with_context(|| {
                            format!("failed to write `{path}` (hint: is the disk full?)")
                        })?;
                }
            }
            Work::BuildScript { .. } => {
                let Outcome { stdout, .. } = &mut built.outcome;
                let before = if stdout.ends_with(b"\n") { "" } else { "\n" };
                stdout.extend(format!("{before}cargo:rerun-if-env-changed={SETTING}\n").bytes());
            }
        }
        Ok(())
    }
}
