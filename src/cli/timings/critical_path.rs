//! The units that a build waited for from its first to its last: to make another one faster makes
//! the build no faster.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::timings::Span;

/// The spans of tasks on the critical path, first to last.
pub fn of(spans: &[Span]) -> Vec<&Span> {
    let tasks = spans.iter().filter_map(|span| Some((span.args.key.as_deref()?, span)));
    // Of a task that ran more than once, the last.
    let tasks: BTreeMap<&str, &Span> = tasks.collect();
    let mut next = tasks.values().copied().max_by_key(|span| end(span));
    let (mut path, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(span) = next.filter(|span| seen.insert(span.args.key.as_deref())) {
        path.push(span);
        let needed = span.args.needs.iter().filter_map(|key| tasks.get(key.as_str()).copied());
        // Of metadata, which is there before a task ends, it is only known that it was there.
        next = needed.max_by_key(|needed| (end(needed).min(span.ts), needed.ts));
    }
    path.reverse();
    path
}

fn end(span: &Span) -> u64 {
    span.ts + span.dur
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::timings::{Phase, tests::span};

    #[test]
    fn it_leads_from_the_last_to_what_was_waited_for() {
        let task = |key: &str, ts: u64, dur: u64, needs: &[&str]| {
            let mut span = span(key, Phase::Engine, ts, dur);
            span.args.key = Some(key.to_owned());
            span.args.needs = needs.iter().map(|key| (*key).to_owned()).collect();
            span
        };
        let spans = [
            span("dry run", Phase::DryRun, 0, 100),
            task("short", 0, 5, &[]),
            task("long", 0, 20, &["not here"]),
            // It began when the metadata of `long` was there.
            task("early", 15, 10, &["short", "long"]),
            task("other", 25, 3, &["short"]),
            task("last", 28, 5, &["early", "other"]),
        ];
        let names: Vec<&str> = of(&spans).into_iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["short", "other", "last"]);
        assert!(of(&spans[..1]).is_empty());
        let names: Vec<&str> = of(&spans[..4]).into_iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["long", "early"]);
    }
}
