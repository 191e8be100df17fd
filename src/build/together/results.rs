//! What comes of calls: events while they run, outcomes, and how each of their units ended.

use anyhow::Result;

use super::{
    Together,
    batch::{End, Ended},
    calls::Running,
};
use crate::{
    build::Prepared, engine::client::Event, inputs::discovered::Discovered,
    planning::schedule::State, step::key::Key,
};

impl Together<'_> {
    /// Takes note of what a call tells while it runs.
    pub fn add(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Started { key } => self.calls.note_started(key),
            Event::Ended { key, .. } => self.calls.note_ended(key),
            Event::Apart { key } => {
                if let Some(number) = self.in_call(key) {
                    self.schedule.set(number, State::Missing(key.clone()));
                }
                self.calls.note_refused(key);
            }
            Event::Embeds { key } => self.embedding.push(key.clone()),
            Event::Printed { key, stdout } => {
                if let Some(number) = self.in_call(key) {
                    self.note_printed(number, key, stdout);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of a unit whose outcome a call brought and the store has.
    pub fn add_stored(&mut self, call: &str, key: Key) -> Result<()> {
        if let Some(number) = self.schedule.find(&key) {
            self.note_stored(number, key.clone())?;
        }
        self.calls.note_stored(call, key);
        Ok(())
    }

    pub(super) fn note_stored(&mut self, number: usize, key: Key) -> Result<()> {
        // What went as soon as it came would only be built again and again.
        let state = self.stored(number, key)?.unwrap_or(State::Fallback);
        if state == State::Unknown {
            self.schedule.forget(number);
        }
        self.schedule.set(number, state);
        Ok(())
    }

    /// Takes note of a batch's end; returns whether there is any use in going on.
    pub fn end(&mut self, Ended { call, ends }: Ended) -> Result<bool> {
        let Running { keys, stored, refused, awaits, .. } = self.calls.end(&call);
        let ends = ends?;
        // It would end like that again and again.
        let is_of_no_use = ends.is_empty() && stored.is_empty() && !awaits;
        let has_end =
            |key: &Key| stored.contains(key) || ends.iter().any(|(ended, _)| ended == key);
        let without_end: Vec<Key> = keys.into_iter().filter(|key| !has_end(key)).collect();
        // Dependencies first: what was built from a unit that is to be built again is forgotten
        // with it.
        let numbered =
            ends.into_iter().filter_map(|(key, end)| Some((self.schedule.find(&key)?, key, end)));
        let mut ends: Vec<(usize, Key, End)> = numbered.collect();
        ends.sort_by_key(|(number, ..)| *number);
        let mut goes_on = true;
        for (number, key, end) in ends {
            if self.schedule.state(number).key() != Some(&key) {
                continue;
            }
            match end {
                End::ReadsMore(more) => {
                    self.note_discovered(number, more);
                    self.schedule.forget(number);
                }
                End::Bakes(more) => {
                    self.note_discovered(number, more);
                    if self.runs_code_of(number) {
                        self.schedule.forget(number);
                    } else {
                        self.note_stored(number, key)?;
                    }
                }
                End::Failed => {
                    // A unit below it may be to blame, which will be built again.
                    goes_on &= !self.schedule.lacking_below(number).is_empty();
                    self.schedule.set(number, State::Fallback);
                }
            }
        }
        // What could not run beside the others goes into the next batch. What is made from a
        // failure is built by itself.
        let is_missing = |key: &Key| {
            let number = self.schedule.find(key);
            number.is_some_and(|it| *self.schedule.state(it) == State::Missing(key.clone()))
        };
        // A call that does nothing else would refuse them again and again.
        let refused = refused.into_iter().filter(|key| is_of_no_use && is_missing(key));
        let left: Vec<Key> = without_end.into_iter().chain(refused).collect();
        for key in left {
            let Some(number) = self.schedule.find(&key) else { continue };
            let state = match is_of_no_use || self.schedule.is_above_fallback(number) {
                true => State::Fallback,
                false => State::Missing(key),
            };
            self.schedule.set(number, state);
        }
        Ok(goes_on)
    }

    /// Returns whether that is news.
    pub(super) fn note_discovered(&mut self, number: usize, more: Discovered) -> bool {
        let Prepared { unit, mut discovered, .. } = self.resolved[&number].prepared.clone();
        let known = discovered.clone();
        // Resolved to lack something by now, it reads one file after the other.
        discovered.extend(match self.discovered.contains_key(&number) {
            true => more.wider(&unit, &self.session.homes),
            false => more,
        });
        let is_news = discovered != known;
        self.discovered.insert(number, discovered);
        is_news
    }

    /// Whether a unit's code may run in the making of another one.
    fn runs_code_of(&self, number: usize) -> bool {
        let runs =
            |unit: &usize| self.units[*unit].is_proc_macro() || self.units[*unit].is_build_script();
        self.schedule.with_dependents(number).any(|unit| runs(&unit))
    }
}
