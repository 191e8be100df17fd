//! The calls that run: what each makes, how far it is, and when another one may begin.

use std::collections::{HashMap, HashSet};

use crate::step::key::Key;

/// The calls that run, by their names.
#[derive(Default)]
pub struct Calls {
    running: HashMap<String, Running>,
}

/// A call that runs.
#[derive(Default)]
pub struct Running {
    /// What it is to make, what of that is not done yet, and what the store has by now.
    pub keys: HashSet<Key>,
    left: HashSet<Key>,
    pub stored: HashSet<Key>,
    /// What it does not make after all, so that others can.
    pub refused: HashSet<Key>,
    /// Whether a task was seen: another call cannot wait for one that is not there yet.
    has_begun: bool,
    /// Whether it waits for what other calls make.
    pub awaits: bool,
}

impl Calls {
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub fn names(&self) -> Vec<String> {
        self.running.keys().cloned().collect()
    }

    /// A call begins that makes these, or that only brings what others make.
    pub fn begin(&mut self, name: String, keys: HashSet<Key>, awaits: bool) {
        let left = keys.clone();
        self.running.insert(name, Running { keys, left, awaits, ..Running::default() });
    }

    pub fn end(&mut self, name: &str) -> Running {
        self.running.remove(name).unwrap_or_default()
    }

    /// Whether one makes this.
    pub fn make(&self, key: &Key) -> bool {
        self.running.values().any(|call| call.keys.contains(key))
    }

    /// Whether one only brings what others make.
    pub fn is_one_bringing(&self) -> bool {
        self.running.values().any(|call| call.keys.is_empty())
    }

    pub fn note_started(&mut self, key: &Key) {
        self.running.values_mut().for_each(|call| call.has_begun |= call.left.contains(key));
    }

    pub fn note_ended(&mut self, key: &Key) {
        self.running.values_mut().for_each(|call| call.has_begun |= call.left.remove(key));
    }

    /// No call makes this after all.
    pub fn note_refused(&mut self, key: &Key) {
        for call in self.running.values_mut() {
            call.left.remove(key);
            call.refused.extend(call.keys.take(key));
        }
    }

    pub fn note_stored(&mut self, name: &str, key: Key) {
        if let Some(call) = self.running.get_mut(name) {
            call.stored.insert(key);
        }
    }

    /// Whether a call of so many units may begin beside those that run. These are to have at most
    /// `much` left to do: the longer it is waited, the more go into it.
    pub fn have_room_for(&self, count: usize, much: usize) -> bool {
        let at_work: Vec<&Running> =
            self.running.values().filter(|call| !call.left.is_empty()).collect();
        let left: usize = at_work.iter().map(|call| call.left.len()).sum();
        let is_early = at_work.len() > 1 || at_work.iter().any(|call| !call.has_begun);
        count > left && left <= much && !is_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> HashSet<Key> {
        (0..count).map(|number| format!("u{number}")).collect()
    }

    #[test]
    fn another_call_begins_when_one_is_nearly_done() {
        let mut calls = Calls::default();
        assert!(calls.have_room_for(1, 0) && !calls.have_room_for(0, 8));
        calls.begin("1".to_owned(), keys(10), false);
        assert!(!calls.have_room_for(100, 20), "it has not begun");
        calls.note_started(&"u0".to_owned());
        assert!(calls.have_room_for(100, 20));
        assert!(!calls.have_room_for(10, 20), "there is more to do than to begin");
        assert!(!calls.have_room_for(100, 8), "there is much to do");
        (0..5).for_each(|number| calls.note_ended(&format!("u{number}")));
        assert!(calls.have_room_for(6, 8) && !calls.have_room_for(5, 8));
        calls.note_refused(&"u5".to_owned());
        assert!(!calls.make(&"u5".to_owned()) && calls.make(&"u0".to_owned()));
        assert_eq!(calls.running["1"].refused, ["u5".to_owned()].into());
        assert!(calls.have_room_for(5, 8));
        calls.begin("2".to_owned(), keys(1), false);
        calls.note_started(&"u0".to_owned());
        assert!(!calls.have_room_for(100, 20), "two are at work");
        (6..10).for_each(|number| calls.note_ended(&format!("u{number}")));
        assert!(calls.have_room_for(2, 8), "one only brings what it made");
    }
}
