//! `rustcbuildx timings FILE`: a page that shows where the time of a build went.

use std::{collections::BTreeMap, fmt::Write, fs, process::ExitCode};

use anyhow::{Result, bail};
use camino::Utf8Path;

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
    (Phase::DryRun, "rehearsal", "#9b7fd1"),
    (Phase::Inputs, "finding inputs", "#c9a227"),
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

const STYLE: &str = "body{font:14px \
                     sans-serif;margin:2em}table{border-collapse:collapse;margin-bottom:2em}\
                     td,th{padding:.2em \
                     1em;text-align:left}td.n{text-align:right}i{display:inline-block;width:1em;height:1em;margin-right:.5em}\
                     .r{display:flex;height:18px}.r:hover{background:#f3f3f3}.l{width:24em;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}\
                     .t{position:relative;flex:1}.t \
                     b{position:absolute;height:14px;top:2px;min-width:1px}";

fn html(spans: &[Span]) -> String {
    let start = spans.iter().map(|span| span.ts).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.ts + span.dur).max().unwrap_or_default();
    let whole = (end - start).max(1) as f64;
    let mut rows: Vec<(&str, Vec<&Span>)> = Vec::new();
    for span in spans {
        match rows.iter_mut().find(|(name, _)| *name == span.name) {
            Some((_, row)) => row.push(span),
            None => rows.push((&span.name, vec![span])),
        }
    }
    let mut page = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>rustcbuildx \
         timings</title>\n<style>{STYLE}</style>\n\
         <h1>Where the time went</h1>\n<p>{:.1} s, {} rows</p>\n{}",
        whole / 1e6,
        rows.len(),
        totals(spans)
    );
    for (name, row) in rows {
        write!(page, "<div class=\"r\"><div class=\"l\">{}</div><div class=\"t\">", escaped(name))
            .expect(TAKES_ALL);
        for span in row {
            let (phase, colour) = looks(span.phase);
            let (left, width) =
                ((span.ts - start) as f64 / whole * 100.0, span.dur as f64 / whole * 100.0);
            let (from, took) = ((span.ts - start) as f64 / 1e6, span.dur as f64 / 1e6);
            write!(
                page,
                "<b style=\"left:{left:.3}%;width:{width:.3}%;background:{colour}\" title=\"{}: \
                 {phase}, {took:.3} s from {from:.2} s\"></b>",
                escaped(name)
            )
            .expect(TAKES_ALL);
        }
        page += "</div></div>\n";
    }
    page
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
        assert!(page.contains("a &lt;1>") && page.contains("left:50.000%;width:50.000%"), "{page}");
        assert!(
            page.contains("restored from the store<td class=\"n\">1<td class=\"n\">2.0"),
            "{page}"
        );
    }
}
