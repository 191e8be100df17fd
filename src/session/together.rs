//! Many units in one call of the engine: what a rehearsal writes down of each, and the build of those it found missing.

use std::{fs::File, io::Seek, time::Instant};

use anyhow::{Result, bail};
use camino::Utf8Path;

use super::{Built, Session, is_storable, is_success, nonce};
use crate::{
    artifacts::{self, Archive},
    engine::Event,
    jobs::Jobs,
    leak,
    learned::Learned,
    places::Places,
    plan,
    recipe::Recipes,
    recording::{self, Recorded, Recording},
    runner,
    store::Store,
    unit::{NUM_JOBS, Unit, Work},
};

impl Session<'_> {
    /// Writes a unit down, and answers from the store or with stand-ins.
    pub(super) fn record(&self, recording: &Recording, mut unit: Unit, learned: &str) -> Result<Built> {
        unit.places = std::mem::take(&mut unit.places).standing_in(recording.stand_in(), &recording.target);
        let mut finder = self.finder(&unit);
        let inputs = finder.inputs(&unit)?;
        let recipe = self.recipe(&unit, &inputs, None);
        let (files, mut outcome) = recording::stand_ins(&unit)?;
        let is_stored = match unit.work {
            Work::Compile { .. } => self.store().has(&recipe.key),
            Work::BuildScript { .. } => self.store().outcome(&recipe.key).is_some_and(|stored| {
                outcome.stdout = unit.places.restored(&stored.stdout).into_owned();
                true
            }),
        };
        recording.add(&unit, learned, &recipe, &inputs, is_stored)?;
        if let Some(jobs) = self.env.get(NUM_JOBS) {
            recording.add_jobs(jobs)?;
        }
        Ok(Built::told(outcome, files, recipe))
    }

    /// Builds units of a recording in one call of the engine, at most `jobs` at once, and stores those that end well.
    pub fn build_together(
        &self,
        recording: &Recording,
        units: &[&Recorded],
        jobs: Jobs,
        mut on_event: impl FnMut(Event),
    ) -> Result<()> {
        let mut recipes = Recipes::new(&recording.cache, recording.stand_in());
        let wanted: Vec<&str> = units.iter().map(|unit| unit.recipe.key.as_str()).collect();
        let plan = plan::units(&recipes.all_with_below(&wanted)?, &wanted, self.config.syntax.as_deref());
        let build = format!("{} {jobs}", nonce());
        let secrets = self.secrets(&build, &jobs.number().to_string());
        let cmd = self.engine.build_watched(&plan, secrets, jobs.number());
        log::debug!("{} units together\n{cmd}", units.len());
        let (start, mut watch) = (Instant::now(), self.engine.watch());
        let mut finished = runner::run_watched(&cmd, |line| watch(line).into_iter().for_each(&mut on_event))?;
        log::info!("the engine took {} ms for {} units", start.elapsed().as_millis(), units.len());
        log::debug!("engine done\n{}", finished.stderr);
        if !finished.status.success() {
            bail!("{} {}", self.engine.complaint(&finished.stderr), self.engine.hint(&finished.stderr));
        }
        let mut stored = 0;
        artifacts::split(&mut finished.stdout, |key, mut archive| {
            let Some(unit) = units.iter().find(|unit| unit.recipe.key == key) else { return Ok(()) };
            let outcome = Archive::new(&mut archive).outcome()?;
            if outcome.status == 0 && unit.recipe.keeps() {
                self.kept.add(key)?;
            }
            let is_good = is_success(unit.script.is_some(), &outcome) && is_storable(&unit.recipe);
            if is_good && has_leak(&mut archive, &recording.stand_in())? {
                // The next rehearsal will have it with the host's own paths.
                let mut learned: Learned = self.cache.read(&unit.learned).unwrap_or_default();
                learned.own_paths = true;
                self.cache.write(&unit.learned, &learned)?;
            } else if is_good {
                self.store().put(key, &mut archive)?;
                stored += 1;
            }
            Ok(())
        })?;
        log::info!("{stored} of them stored {} ms after the build began", start.elapsed().as_millis());
        Ok(())
    }
}

/// Whether files of an archive name a place which only their container had; `dir` is for unpacking it.
fn has_leak(archive: &mut File, dir: &Utf8Path) -> Result<bool> {
    let marks = Places::all_marks();
    archive.rewind()?;
    if !leak::is_possible(&mut *archive, &marks)? {
        return Ok(false);
    }
    archive.rewind()?;
    let received = Archive::new(archive).receive(&dir.join("outcome"))?;
    Ok(leak::find(&received.files.root, &marks)?.is_some())
}
