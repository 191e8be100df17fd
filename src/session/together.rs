//! Many units in one call of the engine: what a rehearsal writes down of each, and the build of those it found missing.

use std::{
    collections::HashMap,
    fs::File,
    io::Seek,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use super::{Built, Session, is_storable, is_success};
use crate::{
    artifacts::{self, Archive},
    engine::Event,
    jobs::Jobs,
    leak,
    learned::Learned,
    places::Places,
    plan,
    recipe::{Key, Recipes, Step},
    recording::{self, Recorded, Recording},
    runner::{self, Cmd},
    store::Store,
    timings::Phase,
    unit::{NUM_JOBS, Unit, Work},
};

impl Session<'_> {
    /// Writes a unit down, and answers from the store or with stand-ins.
    pub(super) fn record(&self, recording: &Recording, mut unit: Unit, learned: &str) -> Result<Built> {
        unit.places = std::mem::take(&mut unit.places).standing_in(recording.stand_in(), &recording.target);
        let mut finder = self.finder(&unit);
        let inputs = finder.inputs(&unit)?;
        let step = self.step(&unit, &inputs, None);
        let (files, mut outcome) = recording::stand_ins(&unit)?;
        let is_stored = match unit.work {
            Work::Compile { .. } => self.store().has(&step.key),
            Work::BuildScript { .. } => self.store().outcome(&step.key).is_some_and(|stored| {
                outcome.stdout = unit.places.restored(&stored.stdout).into_owned();
                true
            }),
        };
        recording.add(&unit, learned, &step, is_stored)?;
        if let Some(jobs) = self.env.get(NUM_JOBS) {
            recording.add_jobs(jobs)?;
        }
        Ok(Built::told(outcome, files, step))
    }

    /// Whether the engine runs a step once that two builds at the same time have in common.
    pub fn shares_steps(&self) -> bool {
        self.engine.shares_steps()
    }

    /// Makes units of a recording ready to be built: at most `jobs` at once of all batches with this `number`.
    pub fn batch(&self, recording: &Recording, units: Vec<Recorded>, number: &str, jobs: Jobs) -> Result<Batch> {
        let recipes = Recipes::new(&recording.cache, recording.stand_in());
        let wanted: Vec<&str> = units.iter().map(|unit| unit.key.as_str()).collect();
        let steps = recipes.steps_with_below(&wanted)?;
        let plan = plan::units(&steps, &wanted, self.config.syntax.as_deref());
        let variables = self.variables(&format!("{number} {jobs}"), &jobs.number().to_string());
        let cmd = self.engine.build_watched(&plan, variables, jobs.number());
        let mut steps: HashMap<Key, Step> = steps.into_iter().map(|step| (step.key.clone(), step)).collect();
        let units = units.into_iter().filter_map(|unit| Some((unit.key.clone(), (steps.remove(&unit.key)?, unit))));
        Ok(Batch { units: units.collect(), cmd })
    }

    /// Builds a batch and stores what ended well. Gives whether something was learned that makes other units of some.
    pub fn run(&self, batch: Batch, mut on_event: impl FnMut(Event)) -> Result<bool> {
        let mut steps = self.timings.steps(batch.names());
        let Batch { units, cmd } = batch;
        log::debug!("{} units together\n{cmd}", units.len());
        let (start, mut watch) = (Instant::now(), self.engine.watch());
        let mut on_event = |event: Event| {
            steps.add(&event);
            on_event(event);
        };
        let mut finished = runner::run_watched(&cmd, |line| watch(line).into_iter().for_each(&mut on_event))?;
        let received = SystemTime::now();
        log::info!("the engine took {} ms for {} units", start.elapsed().as_millis(), units.len());
        log::debug!("engine done\n{}", finished.stderr);
        if !finished.status.success() {
            bail!("{} {}", self.engine.complaint(&finished.stderr), self.engine.hint(&finished.stderr));
        }
        let (mut stored, mut has_learned) = (0, false);
        artifacts::split(&mut finished.stdout, |key, mut archive| {
            let Some((step, unit)) = units.get(key) else { return Ok(()) };
            let outcome = Archive::new(&mut archive).outcome()?;
            if outcome.status == 0 && step.keeps() {
                self.kept.add(key)?;
            }
            let is_good = is_success(unit.script.is_some(), &outcome) && is_storable(step);
            if is_good && self.has_leak(&mut archive)? {
                // The next rehearsal will have it with the host's own paths.
                let mut learned: Learned = self.cache.read(&unit.learned).unwrap_or_default();
                learned.own_paths = true;
                self.cache.write(&unit.learned, &learned)?;
                has_learned = true;
            } else if is_good {
                self.store().put(key, &mut archive)?;
                stored += 1;
            }
            Ok(())
        })?;
        self.timings.add(
            &format!("{} outcomes, to the store", units.len()),
            Phase::Transfer,
            received,
            SystemTime::now(),
        );
        log::info!("{stored} of them stored {} ms after the build began", start.elapsed().as_millis());
        Ok(has_learned)
    }

    /// Whether files of an archive name a place which only their container had.
    fn has_leak(&self, archive: &mut File) -> Result<bool> {
        let marks = Places::all_marks();
        archive.rewind()?;
        if !leak::is_possible(&mut *archive, &marks)? {
            return Ok(false);
        }
        archive.rewind()?;
        let dir = self.cache.temp_dir()?;
        let dir = Utf8Path::from_path(dir.path()).context("the cache folder's name is not UTF-8")?;
        let received = Archive::new(archive).receive(&dir.join("outcome"))?;
        Ok(leak::find(&received.files.root, &marks)?.is_some())
    }
}

/// Units to be built in one call of the engine, and that call.
pub struct Batch {
    units: HashMap<Key, (Step, Recorded)>,
    cmd: Cmd,
}

impl Batch {
    /// What people call the units, by the stages that make them.
    pub fn names(&self) -> impl Iterator<Item = (Key, String)> {
        self.units.iter().map(|(key, (_, unit))| (key.clone(), unit.name.clone()))
    }
}
