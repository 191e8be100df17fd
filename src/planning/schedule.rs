//! Which units of a dry run can be built when: what is known of each, and what it waits for.
//!
//! A unit's key is known once those of all that it is made from are, and once all build scripts ran
//! whose directives it depends on. Then either the store has its outcome, or it is to be built.

use std::collections::{HashMap, HashSet};

use crate::step::key::Key;

/// The units of one dry run, by their number.
#[derive(Default)]
pub struct Schedule {
    units: Vec<Entry>,
}

struct Entry {
    /// What it is made from.
    made_from: Vec<usize>,
    /// The runs of build scripts on whose directives it depends.
    scripts: Vec<usize>,
    state: State,
    /// Whether what it prints is known, although it may not be done.
    has_printed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its key is not known.
    Unknown,
    /// It is to be built by itself, and so is all that is made from it.
    Fallback,
    /// The store does not have its outcome.
    Missing(Key),
    /// The store does not have its outcome, but a remote may.
    Fetching(Key),
    /// A call of the engine is building it.
    InCall(Key),
    /// The store has its outcome.
    Done(Key),
}

impl State {
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Unknown | Self::Fallback => None,
            Self::Missing(key) | Self::Fetching(key) | Self::InCall(key) | Self::Done(key) => {
                Some(key)
            }
        }
    }
}

impl Schedule {
    /// Adds a unit that is made from earlier ones and depends on the directives of these runs of
    /// build scripts; returns its number.
    pub fn add(&mut self, made_from: Vec<usize>, scripts: Vec<usize>) -> usize {
        let (state, has_printed) = (State::Unknown, false);
        self.units.push(Entry { made_from, scripts, state, has_printed });
        self.units.len() - 1
    }

    pub fn state(&self, unit: usize) -> &State {
        &self.units[unit].state
    }

    /// What the store lacks of all that the unit is made from, and that this is made from, and so
    /// on.
    pub fn lacking_below(&self, unit: usize) -> Vec<usize> {
        let is_stored = |unit: &usize| matches!(self.state(*unit), State::Done(_));
        self.all_below(unit).into_iter().filter(|unit| !is_stored(unit)).collect()
    }

    /// Whether something that the unit is made from is to be built by itself.
    pub fn is_above_fallback(&self, unit: usize) -> bool {
        self.all_below(unit).iter().any(|unit| *self.state(*unit) == State::Fallback)
    }

    fn all_below(&self, unit: usize) -> HashSet<usize> {
        let (mut below, mut waiting) = (HashSet::new(), vec![unit]);
        while let Some(unit) = waiting.pop() {
            let Entry { made_from, scripts, .. } = &self.units[unit];
            waiting.extend(
                made_from.iter().chain(scripts).copied().filter(|unit| below.insert(*unit)),
            );
        }
        below
    }

    /// The unit of this key.
    pub fn find(&self, key: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit.state.key().is_some_and(|known| known == key))
    }

    /// The first unit whose key can be found now.
    pub fn resolvable(&self) -> Option<usize> {
        let has_printed = |script: &usize| {
            let Entry { state, has_printed, .. } = &self.units[*script];
            matches!(state, State::Done(_)) || *has_printed && state.key().is_some()
        };
        let is_resolvable = |entry: &Entry| {
            entry.state == State::Unknown
                && entry.made_from.iter().all(|below| self.state(*below).key().is_some())
                && entry.scripts.iter().all(has_printed)
        };
        self.units.iter().position(is_resolvable)
    }

    pub fn set(&mut self, unit: usize, state: State) {
        self.units[unit].state = state;
    }

    /// What a unit prints is known.
    pub fn note_printed(&mut self, unit: usize) {
        self.units[unit].has_printed = true;
    }

    /// The unit turned out to be another one: its key, and those of all that is made from it, are
    /// no longer known.
    pub fn forget(&mut self, unit: usize) {
        for number in self.with_dependents(unit).collect::<Vec<_>>() {
            let entry = &mut self.units[number];
            (entry.state, entry.has_printed) = (State::Unknown, false);
        }
    }

    /// The unit and all that is made from it, and from that, and so on.
    pub fn with_dependents(&self, unit: usize) -> impl Iterator<Item = usize> {
        let mut all = HashSet::from([unit]);
        let later = self.units.iter().enumerate().skip(unit + 1);
        let dependents = later.filter_map(move |(number, entry)| {
            let mut below = entry.made_from.iter().chain(&entry.scripts);
            (below.any(|below| all.contains(below)) && all.insert(number)).then_some(number)
        });
        std::iter::once(unit).chain(dependents)
    }

    /// The missing units, which are to be built next, each after those that it is made from. Those
    /// that are made from what may come from a remote are not among them.
    pub fn missing(&self) -> Vec<usize> {
        let mut waiting = self.fetching();
        let mut missing = Vec::new();
        for (number, Entry { made_from, scripts, state, .. }) in self.units.iter().enumerate() {
            if made_from.iter().chain(scripts).any(|below| waiting.contains(below)) {
                waiting.insert(number);
            } else if matches!(state, State::Missing(_)) {
                missing.push(number);
            }
        }
        missing
    }

    /// The units whose outcomes a remote may have.
    pub fn fetching(&self) -> HashSet<usize> {
        let is_fetching = |unit: &usize| matches!(self.state(*unit), State::Fetching(_));
        (0..self.units.len()).filter(is_fetching).collect()
    }

    /// For each unit, how long the longest chain is that begins with it and in which each is made
    /// from the one before it. `weight` says as how many units one counts.
    pub fn chains(&self, weight: impl Fn(usize) -> usize) -> Vec<usize> {
        let mut lengths = vec![0; self.units.len()];
        for (number, entry) in self.units.iter().enumerate().rev() {
            lengths[number] += weight(number);
            for below in entry.made_from.iter().chain(&entry.scripts) {
                lengths[*below] = lengths[*below].max(lengths[number]);
            }
        }
        lengths
    }

    /// The keys of what calls are building.
    pub fn in_calls(&self) -> HashSet<&Key> {
        let is_in_call = |entry: &&Entry| matches!(entry.state, State::InCall(_));
        self.units.iter().filter(is_in_call).filter_map(|entry| entry.state.key()).collect()
    }

    /// How many units are in which state, for the log.
    pub fn summary(&self) -> String {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for entry in &self.units {
            let name = match entry.state {
                State::Unknown => "unknown",
                State::Fallback => "by themselves",
                State::Missing(_) => "missing",
                State::Fetching(_) => "asked of remotes",
                State::InCall(_) => "in a call",
                State::Done(_) => "done",
            };
            *counts.entry(name).or_default() += 1;
        }
        let mut counts: Vec<String> =
            counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        counts.sort();
        counts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a`, its build script `s`, the script's run `r`, and `b`, which is made from `a`; and `c`
    /// alone.
    fn schedule() -> Schedule {
        let mut schedule = Schedule::default();
        schedule.add(vec![], vec![]); // c
        schedule.add(vec![], vec![]); // s
        schedule.add(vec![1], vec![]); // r
        schedule.add(vec![2], vec![2]); // a
        schedule.add(vec![3], vec![]); // b
        schedule
    }

    fn tell(schedule: &mut Schedule) {
        while let Some(unit) = schedule.resolvable() {
            schedule.set(unit, State::Missing(format!("k{unit}")));
        }
    }

    #[test]
    fn what_is_made_from_what_is_fetched_waits() {
        let mut schedule = schedule();
        schedule.note_printed(2);
        tell(&mut schedule);
        schedule.set(1, State::Fetching("k1".into()));
        assert_eq!(schedule.missing(), [0]);
        schedule.set(1, State::Done("k1".into()));
        tell(&mut schedule);
        assert_eq!(schedule.missing(), [0, 2, 3, 4]);
        schedule.set(3, State::Fetching("k3".into()));
        assert_eq!(schedule.missing(), [0, 2]);
    }

    #[test]
    fn others_wait_for_what_scripts_print() {
        let mut schedule = schedule();
        tell(&mut schedule);
        assert_eq!(schedule.missing(), [0, 1, 2]);
        for unit in [1, 2] {
            schedule.set(unit, State::InCall(format!("k{unit}")));
        }
        tell(&mut schedule);
        assert_eq!(schedule.missing(), [0]);
        schedule.note_printed(2);
        schedule.set(2, State::Fallback);
        assert_eq!(schedule.resolvable(), None, "what is built by itself may print something else");
        schedule.set(2, State::InCall("k2".into()));
        tell(&mut schedule);
        assert_eq!(schedule.missing(), [0, 3, 4]);
        assert_eq!(schedule.in_calls().len(), 2);
        schedule.set(2, State::Done("k2".into()));
        assert_eq!(schedule.find("k3"), Some(3));
        assert_eq!(schedule.chains(|_| 1), [1, 4, 3, 2, 1]);
        assert_eq!(schedule.chains(|unit| if unit == 2 { 5 } else { 1 }), [1, 8, 7, 2, 1]);
        assert_eq!(schedule.summary(), "1 done, 1 in a call, 3 missing");
        assert_eq!([0, 2, 3, 4].map(|unit| schedule.lacking_below(unit).len()), [0, 1, 1, 2]);
        schedule.set(1, State::Done("k1".into()));
        assert_eq!([0, 2, 3, 4].map(|unit| schedule.lacking_below(unit).len()), [0, 0, 0, 1]);
    }

    #[test]
    fn what_is_made_from_another_unit_is_another_unit() {
        let mut schedule = schedule();
        tell(&mut schedule);
        schedule.set(2, State::Done("k2".into()));
        tell(&mut schedule);
        schedule.forget(3);
        assert_eq!([schedule.state(3), schedule.state(4)], [&State::Unknown, &State::Unknown]);
        assert_eq!(schedule.state(0), &State::Missing("k0".into()));
    }

    #[test]
    fn nothing_is_made_from_what_is_built_by_itself() {
        let mut schedule = schedule();
        schedule.set(1, State::Fallback);
        tell(&mut schedule);
        assert_eq!(schedule.missing(), [0]);
    }
}
