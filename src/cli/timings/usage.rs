//! How many processors a build used at each moment, and why not more.

use std::collections::BTreeMap;

use crate::report::timings::{Phase, Span};

/// What a build did with its processors.
pub struct Usage {
    pub processors: usize,
    /// From a moment on, in microseconds since the first, how many were in use.
    pub in_use: Vec<(u64, usize)>,
    /// For how long processors were idle, in microseconds, by the reason.
    pub idle: BTreeMap<&'static str, u64>,
}

/// Why processors are idle, in the order in which it is asked.
const REASONS: &[(Phase, &str)] = &[
    (Phase::Engine, "what is left waits for what runs"),
    (Phase::Call, "a call of the engine starts"),
    (Phase::DryRun, "the build is planned"),
    (Phase::Transfer, "outcomes come here"),
    (Phase::Inputs, "inputs are found"),
    (Phase::Restore, "files are put in place"),
];
const NONE: &str = "cargo is at work, or a program that it runs";

/// The tasks of the spans are taken for one processor each.
pub fn of(spans: &[Span]) -> Usage {
    let start = spans.iter().map(|span| span.ts).min().unwrap_or_default();
    let mut changes: Vec<(u64, Phase, bool)> = spans
        .iter()
        .flat_map(|span| {
            let (from, to) = (span.ts - start, span.ts + span.dur - start);
            [(from, span.phase, true), (to, span.phase, false)]
        })
        .collect();
    changes.sort();
    let mut at_once: BTreeMap<Phase, usize> = BTreeMap::new();
    let (mut in_use, mut reasons) = (Vec::new(), Vec::new());
    for (at, phase, begins) in changes {
        let count = at_once.entry(phase).or_default();
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
        let tasks = at_once.get(&Phase::Engine).copied().unwrap_or_default();
        let reason = REASONS
            .iter()
            .find(|(phase, _)| at_once.get(phase).is_some_and(|count| *count > 0))
            .map_or(NONE, |(_, reason)| reason);
        in_use.push((at, tasks));
        reasons.push(reason);
    }
    let told = spans.iter().filter_map(|span| span.args.processors).max();
    let most = in_use.iter().map(|(_, count)| *count).max().unwrap_or_default();
    let processors = told.unwrap_or(most).max(1);
    // Of two calls, tasks seem to overlap that do not: one is told of later.
    in_use.iter_mut().for_each(|(_, count)| *count = processors.min(*count));
    let mut idle = BTreeMap::new();
    for ((from, reason), to) in in_use.iter().zip(reasons).zip(in_use.iter().skip(1)) {
        let unused = (processors - from.1) as u64 * (to.0 - from.0);
        if unused > 0 {
            *idle.entry(reason).or_default() += unused;
        }
    }
    Usage { processors, in_use, idle }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::timings::tests::span;

    #[test]
    fn no_more_are_in_use_than_there_are() {
        let mut call = span("call", Phase::Call, 0, 1);
        call.args.processors = Some(1);
        let spans = [call, span("a", Phase::Engine, 1, 5), span("b", Phase::Engine, 5, 5)];
        let usage = of(&spans);
        assert_eq!((usage.processors, usage.in_use.iter().map(|step| step.1).max()), (1, Some(1)));
        assert_eq!(usage.idle.values().sum::<u64>(), 1);
    }

    #[test]
    fn what_is_idle_has_a_reason() {
        let spans = [
            span("dry run", Phase::DryRun, 100, 10),
            span("call", Phase::Call, 110, 5),
            span("a", Phase::Engine, 115, 10),
            span("b", Phase::Engine, 115, 4),
            span("a", Phase::Transfer, 125, 3),
            span("a", Phase::Restore, 130, 1),
        ];
        let usage = of(&spans);
        assert_eq!(usage.processors, 2);
        let most = |at: u64| usage.in_use.iter().rev().find(|step| step.0 <= at).unwrap().1;
        assert_eq!([0, 14, 15, 18, 20, 26].map(most), [0, 0, 2, 2, 1, 0]);
        let expected = [
            ("a call of the engine starts", 10),
            (NONE, 4),
            ("files are put in place", 2),
            ("outcomes come here", 6),
            ("the build is planned", 20),
            ("what is left waits for what runs", 6),
        ];
        assert_eq!(usage.idle.into_iter().collect::<Vec<_>>(), expected);
    }
}
