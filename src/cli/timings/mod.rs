//! `rustcbuildx timings FILE`: a page that shows where the time of a build went.

mod critical_path;
mod usage;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    process::ExitCode,
};

use anyhow::{Result, bail};
use camino::Utf8Path;

use self::usage::Usage;
use crate::{
    report::timings::{self, Phase, Span},
    util::disk::OnDisk,
};

/// Writes the page beside a file of `RUSTCBUILDX_TIMINGS`, and prints its name.
pub fn run(path: &str) -> Result<ExitCode> {
    let path = Utf8Path::new(path);
    let spans = timings::read(path)?;
    if spans.is_empty() {
        bail!(
            "failed to show `{path}`: no timings in it (hint: RUSTCBUILDX_TIMINGS=FILE of a build \
             writes them)"
        );
    }
    let page = path.with_extension("html");
    fs::write(&page, html(&spans)).on_disk(&page, || format!("failed to write `{page}`"))?;
    println!("{page}");
    Ok(ExitCode::SUCCESS)
}

/// Each phase, its name and its colour.
const PHASES: &[(Phase, &str, &str)] = &[
    (Phase::DryRun, "dry run", "#9b7fd1"),
    (Phase::Inputs, "finding inputs", "#c9a227"),
    (Phase::Call, "start of a call", "#8a8a8a"),
    (Phase::Engine, "engine", "#d9622b"),
    (Phase::Cached, "cached by the engine", "#3f8fc4"),
    (Phase::Transfer, "transfer", "#c2508f"),
    (Phase::Restore, "restored from the store", "#4fa35c"),
];

fn looks(phase: Phase) -> (&'static str, &'static str) {
    let found =
        PHASES.iter().find(|(known, ..)| *known == phase).expect("every phase is in the table");
    (found.1, found.2)
}

const STYLE: &str = include_str!("style.css");

fn html(spans: &[Span]) -> String {
    let start = spans.iter().map(|span| span.ts).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.ts + span.dur).max().unwrap_or_default();
    let whole = (end - start).max(1);
    let mut rows: Vec<(&str, Vec<&Span>)> = Vec::new();
    for span in spans {
        match rows.iter_mut().find(|(name, _)| *name == span.name) {
            Some((_, row)) => row.push(span),
            None => rows.push((&span.name, vec![span])),
        }
    }
    let (usage, path) = (usage::of(spans), critical_path::of(spans));
    let critical: BTreeSet<&str> = path.iter().map(|span| span.name.as_str()).collect();
    let mut page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>rustcbuildx \
         timings</title>\n<style>{STYLE}</style>\n<h1>Where the time went</h1>\n<p>{} on {} \
         processors, {} rows. {}</p>\n{}{}{}<div class=\"rows\">{}",
        seconds(whole),
        usage.processors,
        rows.len(),
        path_in_words(&path),
        totals(spans),
        idle(&usage, whole),
        chart(&usage, whole),
        axis(whole)
    );
    for (name, row) in rows {
        let class = if critical.contains(name) { "l c" } else { "l" };
        write!(
            page,
            "<div class=\"r\"><div class=\"{class}\">{}</div><div class=\"t\">",
            escaped(name)
        )
        .expect(TAKES_ALL);
        for span in row {
            let (phase, colour) = looks(span.phase);
            let from = span.ts - start;
            write!(
                page,
                "<b style=\"left:{};width:{};background:{colour}\" title=\"{}: {phase}, {:.3} s \
                 from {:.2} s\"></b>",
                share(from, whole),
                share(span.dur, whole),
                escaped(name),
                span.dur as f64 / 1e6,
                from as f64 / 1e6
            )
            .expect(TAKES_ALL);
        }
        page += "</div></div>\n";
    }
    page + "</div>\n"
}

fn path_in_words(path: &[&Span]) -> String {
    let at_work: u64 = path.iter().map(|span| span.dur).sum();
    match path.len() {
        0 => "No task was run.".to_owned(),
        count => format!(
            "The critical path, whose names are marked, has {count} of them, which took {} in all.",
            seconds(at_work)
        ),
    }
}

/// How many processors were in use at each moment.
fn chart(usage: &Usage, whole: u64) -> String {
    let (width, most) = (1000.0, usage.processors as f64);
    let mut points = format!("0,{most} ");
    let mut before = 0;
    for (at, count) in &usage.in_use {
        let x = *at as f64 / whole as f64 * width;
        write!(points, "{x:.2},{} {x:.2},{} ", most - before as f64, most - *count as f64)
            .expect(TAKES_ALL);
        before = *count;
    }
    format!(
        "<div class=\"r chart\"><div class=\"l\">processors in use, of {most}</div><div \
         class=\"t\"><svg viewBox=\"0 0 {width} {most}\" preserveAspectRatio=\"none\"><polygon \
         points=\"{points}{width},{most}\"/></svg></div></div>\n"
    )
}

/// Lines at whole numbers of seconds or parts of one, and what they stand for.
fn axis(whole: u64) -> String {
    const MOST: u64 = 12;
    let steps = (4..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
    let step = steps.take_while(|step| *step < u64::MAX / 10).find(|step| whole / step <= MOST);
    let mut axis = "<div class=\"axis\">".to_owned();
    for at in (0..=whole).step_by(usize::try_from(step.unwrap_or(whole)).unwrap_or(usize::MAX)) {
        write!(axis, "<s style=\"left:{}\">{}</s>", share(at, whole), seconds(at))
            .expect(TAKES_ALL);
    }
    axis + "</div>\n"
}

/// A table of the reasons for which processors were idle, and for how long.
fn idle(usage: &Usage, whole: u64) -> String {
    let mut reasons: Vec<_> = usage.idle.iter().collect();
    reasons.sort_by_key(|(_, micros)| std::cmp::Reverse(**micros));
    let mut table =
        "<table><tr><th>processors idle, because<th>of all their time</tr>\n".to_owned();
    for (reason, micros) in reasons {
        let part = share(*micros, whole * usage.processors as u64);
        writeln!(table, "<tr><td>{reason}<td class=\"n\">{part}</tr>").expect(TAKES_ALL);
    }
    table + "</table>\n"
}

fn seconds(micros: u64) -> String {
    let seconds = micros as f64 / 1e6;
    if micros.is_multiple_of(1_000_000) {
        format!("{seconds} s")
    } else {
        format!("{seconds:.1} s")
    }
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 / whole as f64 * 100.0)
}

const TAKES_ALL: &str = "a String takes all";

/// A table of the phases: how often, and how long in all.
fn totals(spans: &[Span]) -> String {
    let mut sums: BTreeMap<Phase, (u64, u64)> = BTreeMap::new();
    for span in spans {
        let (count, sum) = sums.entry(span.phase).or_default();
        *count += 1;
        *sum += span.dur;
    }
    let mut table = "<table><tr><th>phase<th>times<th>seconds in all</tr>\n".to_owned();
    for (phase, (count, sum)) in sums {
        let (name, colour) = looks(phase);
        let seconds = sum as f64 / 1e6;
        writeln!(
            table,
            "<tr><td><i style=\"background:{colour}\"></i>{name}<td \
             class=\"n\">{count}<td class=\"n\">{seconds:.1}</tr>"
        )
        .expect(TAKES_ALL);
    }
    table + "</table>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::report::timings::Timings;

    #[test]
    fn a_page_has_a_row_for_each_unit_and_a_total_for_each_phase() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("trace.json");
        let timings = Timings::to(Some(path.as_str()));
        let (now, second) = (SystemTime::now(), Duration::from_secs(1));
        timings.add("a <1>", Phase::Inputs, now, now + second);
        timings.add("a <1>", Phase::Engine, now + second, now + 2 * second);
        timings.add("b", Phase::Restore, now, now + 2 * second);
        assert_eq!(run(path.as_str()).unwrap(), ExitCode::SUCCESS);
        let page = fs::read_to_string(path.with_extension("html")).unwrap();
        assert_eq!(page.matches("<div class=\"r\">").count(), 2);
        assert!(page.contains("2 s on 1 processors, 2 rows"), "{page}");
        assert!(page.contains("left:50.00%\">1 s</s>"), "{page}");
        assert!(page.contains("inputs are found<td class=\"n\">50.00%"), "{page}");
        assert!(page.contains("a &lt;1>") && page.contains("left:50.00%;width:50.00%"), "{page}");
        assert!(
            page.contains("restored from the store<td class=\"n\">1<td class=\"n\">2.0"),
            "{page}"
        );
    }
}
