//! What a unit was seen to touch, for people: what it reads beyond its package and the image, what
//! it looked for in vain, wrote, started, and spoke to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use camino::Utf8Path;

use crate::{
    step::{
        protocol::Kind,
        touched::{How, Touch, touches},
    },
    store::provenance::Observation,
    unit::variables,
};

/// A part of what a unit touched, under the words that people read.
pub struct Part {
    pub title: &'static str,
    pub lines: Vec<String>,
}

/// What was seen of a kind of task, in parts that are not empty: all of it, or what is beyond its
/// package and what every unit of its kind does.
pub fn parts(observation: &Observation, kind: Kind, is_all: bool) -> Vec<Part> {
    let Observation { package, touched } = observation;
    let Some(touched) = touched else {
        return vec![Part { title: "was not looked at", lines: vec![] }];
    };
    let mut parts: BTreeMap<&str, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for Touch { by, how, what } in touches(touched) {
        let Some(title) = title_of(how, &what) else { continue };
        let is_own =
            [READ, LISTED, IN_VAIN].contains(&title) && Utf8Path::new(&what).starts_with(package);
        if is_all || !is_own && !is_usual(how, &what, kind) {
            let programs = parts.entry(title).or_default().entry(what).or_default();
            programs.extend(Some(by).filter(|by| !is_units_own(by)));
        }
    }
    let part = |title: &&'static str| {
        let touched = parts.remove(title)?.into_iter();
        let lines = touched.map(|(what, programs)| match programs.is_empty() {
            true => what,
            false => format!("{what}  ({})", Vec::from_iter(programs).join(", ")),
        });
        Some(Part { title, lines: lines.collect() })
    };
    TITLES.iter().filter_map(part).collect()
}

/// Whether a program is a unit's own, which needs no mention, or not known.
fn is_units_own(program: &str) -> bool {
    let is_script = program.starts_with("build-script-") || program.starts_with("build_script_");
    is_script || ["", "clippy-driver", "rustc", "worker"].contains(&program)
}

const READ: &str = "read";
const LISTED: &str = "listed";
const IN_VAIN: &str = "looked for in vain";
const WROTE: &str = "wrote";
const REFUSED: &str = "was not allowed to write";
const ASKED: &str = "asked for variables";
const STARTED: &str = "started programs";
const REACHED: &str = "tried to reach";
const CLOCK: &str = "asked for the time";
const UNSEEN: &str = "could not be seen in full, as it started";
/// In the order in which people read them.
const TITLES: &[&str] =
    &[READ, LISTED, IN_VAIN, WROTE, REFUSED, ASKED, STARTED, REACHED, CLOCK, UNSEEN];

/// Under which title something stands, if at all: what is only asked about, and there, is no more
/// than a step on the way.
fn title_of(how: How, what: &str) -> Option<&'static str> {
    let is_there = || Utf8Path::new(what).exists();
    match how {
        How::Read if is_there() => Some(READ),
        How::List if is_there() => Some(LISTED),
        How::Read | How::Ask | How::List => (!is_there()).then_some(IN_VAIN),
        How::Lack => Some(IN_VAIN),
        How::Write => Some(WROTE),
        How::Refuse => Some(REFUSED),
        How::Variable => Some(ASKED),
        How::ToolVariable | How::Link => None,
        How::Run => Some(STARTED),
        How::Connect | How::Host => Some(REACHED),
        How::Clock => Some(CLOCK),
        How::Unseen => Some(UNSEEN),
    }
}

/// Whether all units of a kind do that: compilers start linkers, and all look at what cargo sets.
fn is_usual(how: How, what: &str, kind: Kind) -> bool {
    const LINKERS: &[&str] =
        &["as", "cc", "collect2", "gcc", "gnm", "gstrip", "ld", "ld.lld", "lld", "rust-lld"];
    match how {
        How::Variable => variables::are_of_cargo(what),
        How::Run | How::Lack if kind == Kind::Compile => {
            LINKERS.contains(&what.rsplit('/').next().unwrap_or_default())
        }
        _ => false,
    }
}

/// Lines under their titles, `indent` before each.
pub fn printed(parts: &[Part], indent: &str) -> String {
    let mut text = String::new();
    for Part { title, lines } in parts {
        writeln!(text, "{indent}{title}").expect("a string takes all");
        lines.iter().for_each(|line| {
            writeln!(text, "{indent}  {}", line.escape_debug()).expect("a string takes all");
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ones_own_is_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::create_dir(root.join("own")).unwrap();
        for file in ["own/a", "b"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let observed = format!(
            "read {root}/own/a\nby cc\nread {root}/b\nask {root}/b\nask {root}/c\nask {root}/own/d\nwrite \
             {root}/own/e\nlack tool\nby rustc\ntool-variable PATH\nvariable A\nvariable \
             OUT_DIR\nrun /usr/bin/cc\n"
        );
        let observation = Observation { package: root.join("own"), touched: Some(observed) };
        let texts = |is_all| printed(&parts(&observation, Kind::Compile, is_all), "");
        let expected = format!(
            "read\n  {root}/b  (cc)\nlooked for in vain\n  {root}/c  (cc)\n  tool  (cc)\nwrote\n  \
             {root}/own/e  (cc)\nasked \
             for variables\n  A\n"
        );
        assert_eq!(texts(false), expected);
        assert!(texts(true).starts_with(&format!("read\n  {root}/b  (cc)\n  {root}/own/a\n")));
    }
}
