//! What a unit was seen to touch, for people: what it reads beyond its package and the image, what
//! it looked for in vain, wrote, started, and spoke to.

use std::{collections::BTreeMap, fmt::Write};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    step::{
        protocol::{Kind, Task},
        touched::{How, Touch, touches},
    },
    unit::variables,
};

/// A part of what a unit touched, under the words that people read.
pub struct Part {
    pub title: &'static str,
    pub lines: Vec<String>,
}

/// What was touched by a task, in parts that are not empty: all of it, or what is beyond its
/// package and what every unit of its kind does.
pub fn parts(observed: &str, task: &Task, package: &Utf8Path, is_all: bool) -> Vec<Part> {
    let mut parts: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for Touch { how, what } in touches(observed) {
        let Some(number) = title_of(how, &what) else { continue };
        let is_own = number <= IN_VAIN && Utf8Path::new(&what).starts_with(package);
        if is_all || !is_own && !is_usual(how, &what, task.kind) {
            let lines = parts.entry(number).or_default();
            if !lines.contains(&what) {
                lines.push(what);
            }
        }
    }
    parts.into_iter().map(|(number, lines)| Part { title: TITLES[number], lines }).collect()
}

const TITLES: [&str; 9] = [
    "read",
    "listed",
    "looked for in vain",
    "wrote",
    "was not allowed to write",
    "asked for variables",
    "started programs",
    "tried to reach",
    "could not be seen in full, as it started",
];
const IN_VAIN: usize = 2;

/// The folder of a task's package, as its environment names it.
pub fn package_of(task: &Task) -> Utf8PathBuf {
    let package = task.env.iter().find_map(|set| set.strip_prefix("CARGO_MANIFEST_DIR="));
    package.unwrap_or_default().into()
}

/// Under which title something stands, if at all: what is only asked about, and there, is no more
/// than a step on the way.
fn title_of(how: How, what: &str) -> Option<usize> {
    let is_there = || Utf8Path::new(what).exists();
    match how {
        How::Read if is_there() => Some(0),
        How::List if is_there() => Some(1),
        How::Read | How::Ask | How::List => (!is_there()).then_some(IN_VAIN),
        How::Lack => Some(IN_VAIN),
        How::Write => Some(3),
        How::Refuse => Some(4),
        How::Variable => Some(5),
        How::ToolVariable => None,
        How::Run => Some(6),
        How::Connect | How::Host => Some(7),
        How::Unseen => Some(8),
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
        let task = crate::step::spec::tests::step("u1", "s1", root.to_owned()).task;
        let texts = |is_all| printed(&parts(&observed, &task, &root.join("own"), is_all), "");
        let expected = format!(
            "read\n  {root}/b\nlooked for in vain\n  {root}/c\n  tool\nwrote\n  {root}/own/e\nasked \
             for variables\n  A\n"
        );
        assert_eq!(texts(false), expected);
        assert!(texts(true).starts_with(&format!("read\n  {root}/own/a\n  {root}/b\n")));
    }
}
