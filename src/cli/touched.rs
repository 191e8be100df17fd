//! What a unit was seen to touch, for people: what it reads beyond its package and the image, what
//! it looked for in vain, wrote, started, and spoke to.

use std::{collections::BTreeMap, fmt::Write};

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
    let mut parts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Touch { how, what } in touches(touched) {
        let Some(title) = title_of(how, &what) else { continue };
        let is_own =
            [READ, LISTED, IN_VAIN].contains(&title) && Utf8Path::new(&what).starts_with(package);
        if is_all || !is_own && !is_usual(how, &what, kind) {
            let lines = parts.entry(title).or_default();
            if !lines.contains(&what) {
                lines.push(what);
            }
        }
    }
    let part = |title: &&'static str| Some(Part { title, lines: parts.remove(title)? });
    TITLES.iter().filter_map(part).collect()
}

const READ: &str = "read";
const LISTED: &str = "listed";
const IN_VAIN: &str = "looked for in vain";
const WROTE: &str = "wrote";
const REFUSED: &str = "was not allowed to write";
const ASKED: &str = "asked for variables";
const STARTED: &str = "started programs";
const REACHED: &str = "tried to reach";
const UNSEEN: &str = "could not be seen in full, as it started";
/// In the order in which people read them.
const TITLES: &[&str] = &[READ, LISTED, IN_VAIN, WROTE, REFUSED, ASKED, STARTED, REACHED, UNSEEN];

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
        How::ToolVariable => None,
        How::Run => Some(STARTED),
        How::Connect | How::Host => Some(REACHED),
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
            "read {root}/own/a\nread {root}/b\nask {root}/b\nask {root}/c\nask {root}/own/d\nwrite \
             {root}/own/e\nlack tool\ntool-variable PATH\nvariable A\nvariable \
             OUT_DIR\nrun /usr/bin/cc\n"
        );
        let observation = Observation { package: root.join("own"), touched: Some(observed) };
        let texts = |is_all| printed(&parts(&observation, Kind::Compile, is_all), "");
        let expected = format!(
            "read\n  {root}/b\nlooked for in vain\n  {root}/c\n  tool\nwrote\n  {root}/own/e\nasked \
             for variables\n  A\n"
        );
        assert_eq!(texts(false), expected);
        assert!(texts(true).starts_with(&format!("read\n  {root}/own/a\n  {root}/b\n")));
    }
}
