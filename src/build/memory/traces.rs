//! Look-up in two levels: what is declared of a unit leads to the sets of paths that it was seen to
//! touch, and the one whose states hold leads to an outcome. So an edit of what no process of a
//! unit looks at makes nothing anew.

use crate::{
    build::{Session, is_of_one_image},
    inputs::{
        canonical_program,
        states::{SentFiles, decisive},
    },
    snapshot::copy,
    step::{
        key::{self, Key},
        protocol::Task,
        spec::Step,
    },
    store::{local::Store, traces},
};

impl Session<'_> {
    /// The same step under the key of an outcome that was made from the same, as far as its
    /// processes looked; under its own if there is none, or if that has an outcome, too.
    pub(in crate::build) fn recognised(&self, step: Step) -> Step {
        if !is_of_one_image(&step) || self.is_known(&step.key) {
            return step;
        }
        let mut sent = None;
        let task = canonical_program::as_made(&step.task);
        let key = traces::find(&self.cache, &key::declared(&step.base, &task), |touched| {
            sent.get_or_insert_with(|| self.sent_files(&task)).as_ref()?.states(touched)
        });
        let Some(key) = key else { return step };
        log::info!("{} finds what {key} found where that looked", step.task.name);
        step.called(key)
    }

    /// Remembers from which states of what it touched a success was made. `observed` is as the
    /// worker tells it.
    pub(in crate::build) fn note_trace(&self, step: &Step, observed: Option<&[u8]>) {
        let task = canonical_program::as_made(&step.task);
        // What is made for one command only is not found by another. What was recognised is known.
        if !is_of_one_image(step) || step.key != key::of(&step.base, &task) {
            return;
        }
        let observed = observed.and_then(|text| std::str::from_utf8(text).ok());
        let Some(touched) = observed.and_then(decisive) else { return };
        let states = || self.sent_files(&task)?.states(&touched);
        let Some(states) = states() else { return };
        let declared = key::declared(&step.base, &task);
        traces::add(&self.cache, &declared, touched, states, step.key.clone())
            // The build is right without it.
            .unwrap_or_else(|error| log::warn!("{error:#}"));
    }

    fn is_known(&self, key: &Key) -> bool {
        self.store().has(key)
            || self.engine_cache.has(key)
            || canonical_program::is_saved(&self.cache, key)
    }

    fn sent_files(&self, task: &Task) -> Option<SentFiles> {
        SentFiles::of(task, |name| copy::listing(name, &self.cache))
    }
}
