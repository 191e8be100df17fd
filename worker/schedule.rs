//! Which task runs next: of those that have all they are made from, the one with the longest chain
//! of tasks that wait for it.

use std::collections::{BTreeSet, HashMap};

use crate::protocol::{Batch, Source, Task};

/// How the names of metadata end.
pub const METADATA: &str = ".rmeta";

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Another task's number.
    pub task: usize,
    /// Whether the metadata of a compile that still runs does.
    pub is_early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Running,
    /// It runs, and its metadata is there.
    Early,
    Done,
    /// It failed, or something did that it is made from.
    Failed,
}

pub struct Schedule {
    /// Of tasks, and after those of what other calls make.
    states: Vec<State>,
    needs: Vec<Vec<Need>>,
    dependents: Vec<Vec<usize>>,
    /// How many tasks are in the longest chain that begins with this one.
    heights: Vec<usize>,
    /// Those that can run, the most urgent last: height, and the order that they came in.
    ready: BTreeSet<(usize, std::cmp::Reverse<usize>)>,
    unfinished: usize,
}

impl Schedule {
    /// That of a batch.
    pub fn of(batch: &Batch) -> Self {
        let tasks: Vec<_> =
            batch.tasks.iter().map(|task| (task.key.as_str(), needed(task))).collect();
        let others: Vec<&str> = batch.awaited.iter().map(String::as_str).collect();
        let chains: HashMap<&str, usize> =
            batch.chains.iter().map(|(key, length)| (key.as_str(), *length)).collect();
        let chain = |(key, _): &(&str, _)| chains.get(key).copied().unwrap_or(1);
        let heights = tasks.iter().map(chain).collect();
        Self::new(needs(&tasks, &others), others.len(), heights)
    }

    /// Tasks by their needs, each of which is a task before it, or one of `others`, which follow
    /// the tasks and run elsewhere already. The heights are what is known of them without that.
    fn new(needs: Vec<Vec<Need>>, others: usize, mut heights: Vec<usize>) -> Self {
        let count = needs.len();
        let mut dependents = vec![Vec::new(); count + others];
        for (number, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[need.task].push(number));
        }
        for number in (0..count).rev() {
            let above = dependents[number].iter().map(|above| heights[*above]).max();
            heights[number] = heights[number].max(1 + above.unwrap_or(0));
        }
        let mut states = vec![State::Waiting; count];
        states.resize(count + others, State::Running);
        let mut schedule =
            Self { states, needs, dependents, heights, ready: BTreeSet::new(), unfinished: count };
        (0..count).for_each(|number| schedule.look_at(number));
        schedule
    }

    /// The next task to run, which counts as running from now on.
    pub fn next(&mut self) -> Option<usize> {
        let (_, number) = self.ready.pop_last()?;
        self.states[number.0] = State::Running;
        Some(number.0)
    }

    /// Whether there is one.
    pub fn has_next(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// Whether a task runs whose metadata is there: others may be reading that.
    pub fn is_early(&self, number: usize) -> bool {
        self.states[number] == State::Early
    }

    /// The metadata of a running task is there.
    pub fn note_early(&mut self, number: usize) {
        if self.states[number] == State::Running {
            self.states[number] = State::Early;
            self.look_at_dependents(number);
        }
    }

    pub fn end(&mut self, number: usize, is_success: bool) {
        if is_success {
            self.states[number] = State::Done;
            self.unfinished -= usize::from(self.is_own(number));
            self.look_at_dependents(number);
        } else {
            self.fail(number);
        }
    }

    /// With all that wait for it. What runs already, with its metadata, ends as it ends.
    fn fail(&mut self, number: usize) {
        if matches!(self.states[number], State::Done | State::Failed) {
            return;
        }
        if self.is_own(number) {
            self.ready.remove(&(self.heights[number], std::cmp::Reverse(number)));
            self.unfinished -= 1;
        }
        self.states[number] = State::Failed;
        for dependent in self.dependents[number].clone() {
            if self.states[dependent] == State::Waiting {
                self.fail(dependent);
            }
        }
    }

    fn is_own(&self, number: usize) -> bool {
        number < self.needs.len()
    }

    fn look_at_dependents(&mut self, number: usize) {
        for dependent in self.dependents[number].clone() {
            self.look_at(dependent);
        }
    }

    fn look_at(&mut self, number: usize) {
        let is_there = |need: &Need| match self.states[need.task] {
            State::Done => true,
            State::Early => need.is_early,
            State::Waiting | State::Running | State::Failed => false,
        };
        if self.states[number] == State::Waiting && self.needs[number].iter().all(is_there) {
            self.ready.insert((self.heights[number], std::cmp::Reverse(number)));
        }
    }
}

/// The keys that a task is made from, and whether metadata is all that it reads of them.
fn needed(task: &Task) -> Vec<(&str, bool)> {
    let of_outcomes = task.inputs.iter().filter(|input| matches!(input.from, Source::Outcome(_)));
    of_outcomes.map(|input| (input.from.name(), input.path.ends_with(METADATA))).collect()
}

/// The needs of tasks. Each task is given by its key and by the keys that it is made from, each
/// with whether metadata is enough. `others` are keys of what other calls make.
fn needs(tasks: &[(&str, Vec<(&str, bool)>)], others: &[&str]) -> Vec<Vec<Need>> {
    let keys = tasks.iter().map(|(key, _)| *key).chain(others.iter().copied());
    let numbers: HashMap<&str, usize> = keys.zip(0..).collect();
    let needs_of = |inputs: &Vec<(&str, bool)>| {
        let mut needs: HashMap<usize, bool> = HashMap::new();
        for (key, is_early) in inputs {
            if let Some(number) = numbers.get(key) {
                *needs.entry(*number).or_insert(true) &= *is_early;
            }
        }
        needs.into_iter().map(|(task, is_early)| Need { task, is_early }).collect()
    };
    tasks.iter().map(|(_, inputs)| needs_of(inputs)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(tasks: &[(&str, &[(&str, bool)])]) -> Schedule {
        let tasks: Vec<_> = tasks.iter().map(|(key, inputs)| (*key, inputs.to_vec())).collect();
        Schedule::new(needs(&tasks, &["elsewhere"]), 1, vec![1; tasks.len()])
    }

    fn order(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| {
            let next = schedule.next()?;
            schedule.end(next, true);
            Some(next)
        })
        .collect()
    }

    #[test]
    fn the_longest_chain_goes_first() {
        let mut schedule = schedule(&[
            ("x", &[]),
            ("a", &[]),
            ("b", &[("a", false)]),
            ("c", &[("b", false)]),
            ("y", &[]),
        ]);
        assert_eq!(order(&mut schedule), [1, 2, 0, 3, 4]);
        assert!(schedule.is_finished());
    }

    #[test]
    fn what_follows_later_counts() {
        let tasks =
            [("a", vec![]), ("b", vec![("a", false)]), ("c", vec![]), ("d", vec![("c", false)])];
        let mut schedule = Schedule::new(needs(&tasks, &[]), 0, vec![1, 1, 1, 9]);
        assert_eq!(schedule.heights, [2, 1, 10, 9]);
        assert_eq!(order(&mut schedule), [2, 3, 0, 1]);
    }

    #[test]
    fn metadata_is_enough_for_some() {
        let mut schedule =
            schedule(&[("a", &[]), ("b", &[("a", true)]), ("c", &[("a", true), ("a", false)])]);
        assert_eq!((schedule.next(), schedule.next()), (Some(0), None));
        schedule.note_early(0);
        assert_eq!((schedule.next(), schedule.next()), (Some(1), None));
        schedule.end(1, true);
        schedule.end(0, true);
        assert_eq!(schedule.next(), Some(2));
    }

    #[test]
    fn what_other_calls_make_is_waited_for() {
        let tasks: &[(&str, &[(&str, bool)])] =
            &[("a", &[("elsewhere", true)]), ("b", &[("a", false)])];
        for is_success in [true, false] {
            let mut schedule = schedule(tasks);
            assert!(!schedule.has_next() && !schedule.is_finished());
            schedule.end(2, is_success);
            assert_eq!(
                (schedule.next(), schedule.is_finished()),
                (is_success.then_some(0), !is_success)
            );
        }
    }

    #[test]
    fn what_needs_a_failure_fails() {
        let mut schedule = schedule(&[
            ("a", &[]),
            ("b", &[("a", false)]),
            ("c", &[("b", true)]),
            ("d", &[("z", false)]),
        ]);
        let first = schedule.next().unwrap();
        schedule.end(first, false);
        assert_eq!(schedule.next(), Some(3));
        schedule.end(3, true);
        assert!(schedule.is_finished());
        assert_eq!((schedule.states[1], schedule.states[3]), (State::Failed, State::Done));
    }
}
