//! What is noted of each outcome that the store gets: see [`crate::store::about`].

use camino::Utf8Path;

use crate::{
    build::{Session, is_storable},
    config::files::registries::Registries,
    inputs::{canonical_program, copies, discovered::Discovered},
    step::{
        key,
        spec::Step,
        touched::{How, touches},
    },
    store::{
        about::{self, About},
        archive::Outcome,
        statistics::{self, Came},
        traces,
    },
    unit::work::Unit,
};

impl Session<'_> {
    /// Notes of which unit an outcome is that the store has now. `outcome` is as the worker has it.
    pub(in crate::build) fn note_about(
        &self,
        unit: &Unit,
        discovered: &Discovered,
        step: &Step,
        outcome: &Outcome,
    ) {
        let about = self.about(unit, discovered, step, outcome);
        let is_known = about::read(&self.cache, &step.key).is_some();
        let came = match is_known {
            true => Came::Gone,
            false if traces::are_there(&self.cache, &about.declared, &step.key) => Came::Changed,
            false => Came::New,
        };
        statistics::note(&self.cache, came, &step.key);
        self.write_about(&step.key, &about);
    }

    /// The same of the canonical program of a build script, which is not in the store. What is made
    /// from it goes by what is known of it.
    pub(in crate::build) fn note_about_program(
        &self,
        unit: &Unit,
        discovered: &Discovered,
        step: &Step,
        outcome: &Outcome,
    ) {
        self.write_about(&step.key, &self.about(unit, discovered, step, outcome));
    }

    fn write_about(&self, key: &str, about: &About) {
        // The build is right without it.
        about::write(&self.cache, key, about).unwrap_or_else(|error| log::warn!("{error:#}"));
    }

    fn about(&self, unit: &Unit, discovered: &Discovered, step: &Step, outcome: &Outcome) -> About {
        let printed = unit.is_build_script().then(|| String::from_utf8(outcome.stdout.clone()));
        let task = canonical_program::as_made(&step.task);
        let made = Step { task: task.into_owned(), ..step.clone() };
        let version = unit.env.get("CARGO_PKG_VERSION").map_or("", String::as_str);
        let registry = self.registries().of(unit.package_name(), version, &unit.package);
        About {
            unit: unit.name(),
            package: unit.package_name().to_owned(),
            millis: outcome.millis,
            made_from: made.made_from().map(str::to_owned).collect(),
            discovered: super::discovered::name(unit),
            declared: key::declared(&made.base, &made.task),
            printed: printed.and_then(Result::ok),
            registry: registry.map(str::to_owned),
            own: self.why_own(unit, discovered),
            local: self.why_local(unit, &made, outcome),
        }
    }

    fn registries(&self) -> &Registries {
        self.registries.get_or_init(|| {
            let is_lock = |path: &&Utf8Path| path.file_name() == Some("Cargo.lock");
            let mut files = self.env.settings_files().iter().map(AsRef::as_ref);
            let text = files.find(is_lock).and_then(|path| std::fs::read_to_string(path).ok());
            Registries::parse(&text.unwrap_or_default())
        })
    }

    /// Why a unit's outcome belongs to its user.
    fn why_own(&self, unit: &Unit, discovered: &Discovered) -> Option<String> {
        let is_given =
            |name: &&str| unit.env.get(*name).is_some_and(|own| self.env.get(name) == Some(own));
        let asked = discovered.variables.iter().map(String::as_str);
        let set = self.config.set_envs.iter().map(|set| set.name.as_str());
        if let Some(name) = asked.chain(set).find(is_given) {
            return Some(format!("it has the value of the variable {name}"));
        }
        let mut touched = discovered.paths.iter().chain(&discovered.opened);
        if let Some(path) = touched.find(|path| !path.starts_with(&unit.package)) {
            return Some(format!("it reads `{path}`, outside of its package"));
        }
        None
    }

    /// Why an outcome is of no use to others, or not to be trusted by them.
    fn why_local(&self, unit: &Unit, made: &Step, outcome: &Outcome) -> Option<String> {
        let observed = String::from_utf8_lossy(outcome.observed.as_deref().unwrap_or_default());
        let asks_for_time = || touches(&observed).any(|touch| touch.how == How::Clock);
        let mut folders = made.contexts.values().map(|context| &context.folder);
        let why = if !is_storable(made) {
            "it depends on earlier compiles, or on an image without a digest"
        } else if unit.hidden.values().any(Option::is_some) {
            "it has a secret"
        } else if made.key != key::of(&made.base, &made.task) {
            "it is made for one command only, or found by what it looked at"
        } else if folders.any(|folder| copies::are_in(&self.cache, folder)) {
            "it reads what something else than rustcbuildx made"
        } else if unit.is_build_script() && asks_for_time() {
            "it asks for the time"
        } else {
            return None;
        };
        Some(why.to_owned())
    }
}
