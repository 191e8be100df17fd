//! Where a unit's container shows the host's folders: at their own place, or at one that is the same on
//! every machine and in every checkout, so that what a unit makes there can serve all of them.
//!
//! A value that a crate can bake in (a variable's) names the common place with a [`MARK`] in it: a `.` that
//! no reader of paths minds. The names of source files carry none, for rustc is told to take it out of
//! them. So an output that holds a mark holds a path it means to use when it runs, and is made again with
//! the host's own path of that folder; the others stay common.

use std::{borrow::Cow, collections::BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

/// Folders of the host and their common places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pairs: Vec<Pair>,
    /// A folder in the place of another one of the host's: a rehearsal's target folder, for the real one.
    stand_in: Option<Pair>,
}

/// A folder of the host and its common place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    host: Utf8PathBuf,
    container: String,
    /// Whether the unit sees it at the common place; otherwise, where the host has it.
    is_common: bool,
    /// Whether it is part of another one, and has its own place on the host for `container`.
    is_baked: bool,
}

impl Pair {
    pub(super) fn new(host: Utf8PathBuf, container: &str) -> Self {
        Self { host, container: container.to_owned(), is_common: false, is_baked: false }
    }

    fn in_container<'a>(&'a self, mark: &'a str) -> Seen<'a> {
        (self, &self.container, mark)
    }
}

pub(super) const CARGO_HOME: &str = "/cargo-home";
pub(super) const TARGET: &str = "/cargo-target";
pub(super) const WORKSPACE: &str = "/cargo-workspace";

/// Between a common place and the rest of a path, in the values of variables.
const MARK: &str = "/./";

impl Places {
    pub(super) fn new(mut pairs: Vec<Pair>, is_common: bool) -> Self {
        // Of what quotes, escapes or takes words apart, none stands in a replaced name.
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "\"'\\$:,;".contains(c);
        if pairs.iter().any(|pair| pair.host.parent().is_none() || pair.host.as_str().contains(is_odd)) {
            return Self::default();
        }
        pairs.iter_mut().for_each(|pair| pair.is_common = is_common);
        let mut places = Self { pairs, stand_in: None };
        places.sort();
        places
    }

    /// The innermost folder decides.
    fn sort(&mut self) {
        self.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.host.as_str().len()));
    }

    /// The same with a folder in the place of another one of the host's.
    pub fn standing_in(self, folder: Utf8PathBuf, host: &Utf8Path) -> Self {
        Self { stand_in: Some(Pair::new(folder, host.as_str())), ..self }
    }

    /// The path that a path below a stand-in stands for.
    pub fn meant(&self, path: &Utf8Path) -> Utf8PathBuf {
        replaced(path.as_str(), self.stand_in.iter().map(|pair| pair.in_container(""))).into()
    }

    /// Whether there is nothing in a file but that it stands in for one of the host's.
    pub fn stands_in(&self, path: &Utf8Path) -> bool {
        self.stand_in.as_ref().is_some_and(|stand_in| path.starts_with(&stand_in.host))
    }

    /// The same for a unit that must see where the host has them the folders of the places with these marks.
    pub fn with_own(mut self, marks: &BTreeSet<String>) -> Self {
        self.pairs.iter_mut().for_each(|pair| pair.is_common &= !marks.contains(&mark_of(&pair.container)));
        self
    }

    /// The same for a unit that runs code which has a path below `folder` baked in: it sees the folder where its user does.
    pub fn with_baked(mut self, folder: &Utf8Path) -> Self {
        if self.moves(folder) {
            let own = self.meant(folder);
            self.pairs.insert(0, Pair { is_baked: true, ..Pair::new(folder.to_owned(), own.as_str()) });
            self.sort();
        }
        self
    }

    /// Whether the unit sees any of the common places.
    pub fn are_common(&self) -> bool {
        self.pairs.iter().any(|pair| pair.is_common)
    }

    /// Whether the unit sees a path elsewhere than the host has it.
    pub fn moves(&self, path: &Utf8Path) -> bool {
        self.pairs.iter().find(|pair| path.starts_with(&pair.host)).is_some_and(|pair| pair.is_common)
    }

    /// A path, or an argument with paths in it, as the container has it.
    pub fn shown(&self, text: &str) -> String {
        replaced(text, self.seen(""))
    }

    /// A path as units see it that have the common places.
    pub fn common(&self, path: &str) -> String {
        replaced(path, self.pairs.iter().filter(|pair| !pair.is_baked).map(|pair| pair.in_container("")))
    }

    /// A variable's value as the container has it, its paths marked.
    pub fn marked(&self, value: &str) -> String {
        replaced(value, self.seen(MARK))
    }

    /// Folders of this disk, where the unit sees each, and what comes between that and the rest of a path.
    fn seen<'a>(&'a self, mark: &'a str) -> impl Iterator<Item = Seen<'a>> + Clone {
        let stand_in = self.stand_in().map(|pair| pair.in_container(""));
        stand_in.chain(self.pairs.iter().map(move |pair| match pair.is_common {
            true => pair.in_container(mark),
            false if pair.is_baked => pair.in_container(""),
            false => (pair, pair.host.as_str(), ""),
        }))
    }

    /// The folder that the unit sees as another one of the host's, unless it sees it at its common place.
    fn stand_in(&self) -> impl Iterator<Item = &Pair> + Clone {
        self.stand_in.iter().filter(|stand_in| !self.moves(&stand_in.host))
    }

    /// What keeps the mark out of the names of source files that a build script made: options for rustc.
    ///
    /// It would also keep rustc from showing lines of such a file, hence only there.
    pub fn unmarking(&self) -> Option<String> {
        let is_common = self.pairs.iter().any(|pair| pair.is_common && pair.container == TARGET);
        is_common.then(|| format!("--remap-path-prefix={TARGET}{MARK}={TARGET}/"))
    }

    /// The marks to look for in an output.
    pub fn marks(&self) -> Vec<String> {
        self.pairs.iter().filter(|pair| pair.is_common).map(|pair| mark_of(&pair.container)).collect()
    }

    /// Text from the container as the host has it.
    pub fn restored<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut text = Cow::Borrowed(text);
        for pair in self.stand_in().chain(&self.pairs) {
            let (marked, host) = (mark_of(&pair.container), pair.host.as_str());
            for (place, host) in [(marked.as_str(), format!("{host}/")), (&pair.container, host.to_owned())] {
                if let Some(replaced) = replaced_bytes(&text, place.as_bytes(), host.as_bytes()) {
                    text = Cow::Owned(replaced);
                }
            }
        }
        text
    }
}

/// The marks of all places.
pub fn all_marks() -> [String; 3] {
    [CARGO_HOME, TARGET, WORKSPACE].map(mark_of)
}

fn mark_of(place: &str) -> String {
    format!("{place}{MARK}")
}

/// A folder, what to put in its place, and between that and the rest of a path.
type Seen<'a> = (&'a Pair, &'a str, &'a str);

/// Text with folders replaced, the first that fits deciding.
fn replaced<'a>(text: &str, folders: impl Iterator<Item = Seen<'a>> + Clone) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    'next: while let Some(at) = rest.find('/') {
        let before = text.len() - rest.len() + at;
        if begins_path(&text[..before]) {
            for (pair, place, mark) in folders.clone() {
                if let Some(after) = rest[at..].strip_prefix(pair.host.as_str())
                    && ends_name(after)
                {
                    replaced += &rest[..at];
                    replaced += place;
                    replaced += mark;
                    rest = if mark.is_empty() { after } else { after.strip_prefix('/').unwrap_or(after) };
                    continue 'next;
                }
            }
        }
        replaced += &rest[..=at];
        rest = &rest[at + 1..];
    }
    replaced + rest
}

fn replaced_bytes(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let mut found = memchr::memmem::find_iter(text, from).peekable();
    found.peek()?;
    let mut replaced = Vec::with_capacity(text.len());
    let mut copied = 0;
    for at in found {
        replaced.extend_from_slice(&text[copied..at]);
        replaced.extend_from_slice(to);
        copied = at + from.len();
    }
    replaced.extend_from_slice(&text[copied..]);
    Some(replaced)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || "_-.".contains(c)
}

/// Whether a path may begin behind this text: not in the middle of another, but right after `-I` or `-L`.
fn begins_path(before: &str) -> bool {
    let mut chars = before.chars().rev();
    let (last, second, third) = (chars.next(), chars.next(), chars.next());
    let after_option =
        last.is_some_and(|c| c.is_ascii_alphabetic()) && second == Some('-') && !third.is_some_and(is_name);
    !last.is_some_and(|c| is_name(c) || c == '/') || after_option
}

/// Whether a file's name ends before this text.
fn ends_name(after: &str) -> bool {
    !after.chars().next().is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(is_common: bool) -> Places {
        let pairs = [("/h/.cargo", CARGO_HOME), ("/h/w", WORKSPACE), ("/h/w/target", TARGET)];
        Places::new(pairs.map(|(host, container)| Pair::new(host.into(), container)).to_vec(), is_common)
    }

    #[test]
    fn whole_names_are_replaced() {
        for (text, expected) in [
            ("/h/.cargo/registry/a.rs", "/cargo-home/registry/a.rs"),
            ("-Ldependency=/h/w/target/debug", "-Ldependency=/cargo-target/debug"),
            ("-L/h/w/target", "-L/cargo-target"),
            ("-I/h/w -I /h/w/src:/h/w/target/x", "-I/cargo-workspace -I /cargo-workspace/src:/cargo-target/x"),
            ("feature=\"/h/w\"", "feature=\"/cargo-workspace\""),
            ("/h/wx /h/w-x /h/w.x /x/h/w //h/w", "/h/wx /h/w-x /h/w.x /x/h/w //h/w"),
            ("/ü/h/w", "/ü/h/w"),
            ("", ""),
        ] {
            assert_eq!(places(true).shown(text), expected);
        }
    }

    #[test]
    fn a_value_is_marked_and_comes_back() {
        let value = "/h/w/target/debug/out:/h/w/target/:/usr";
        let marked = places(true).marked(value);
        assert_eq!(marked, "/cargo-target/./debug/out:/cargo-target/./:/usr");
        assert_eq!(places(true).marked("/h/w"), "/cargo-workspace/./");
        assert_eq!(places(true).restored(marked.as_bytes()), value.as_bytes());
        assert_eq!(places(true).restored(places(true).shown(value).as_bytes()), value.as_bytes());
    }

    #[test]
    fn one_place_is_the_hosts() {
        let own = all_marks().into_iter().filter(|mark| mark.starts_with(WORKSPACE)).collect();
        let places = places(true).with_own(&own);
        assert_eq!(places.marked("/h/w/a:/h/w/target/b:/h/.cargo/c"), "/h/w/a:/cargo-target/./b:/cargo-home/./c");
        assert!(places.are_common() && !places.moves("/h/w/src".into()) && places.moves("/h/w/target".into()));
        assert_eq!(places.marks().len(), 2);
        assert!(places.unmarking().is_some());
        let places = places.standing_in("/h/w/target".into(), Utf8Path::new("/real/target"));
        assert_eq!(places.shown("/h/w/target/b"), "/cargo-target/b");
    }

    #[test]
    fn what_others_made_is_named_as_on_the_host() {
        let hosts = places(false);
        assert!(hosts.unmarking().is_none() && hosts.marks().is_empty());
        assert_eq!(hosts.marked("/h/w"), "/h/w");
        assert_eq!(hosts.restored(b"--> /cargo-home/a.rs:1"), &b"--> /h/.cargo/a.rs:1"[..]);
    }

    #[test]
    fn a_folder_stands_in_for_another() {
        let places = places(false).standing_in("/tmp/r/target".into(), Utf8Path::new("/h/w/target"));
        assert_eq!(places.marked("-L/tmp/r/target/debug /h/w/target"), "-L/h/w/target/debug /h/w/target");
        assert_eq!(places.restored(b"/h/w/target/debug/out"), &b"/tmp/r/target/debug/out"[..]);
        assert!(places.marks().is_empty());
    }

    #[test]
    fn what_is_baked_in_is_seen_where_the_host_has_it() {
        let places = places(true)
            .standing_in("/h/w/target".into(), Utf8Path::new("/real/target"))
            .with_baked("/h/.cargo/registry/a".into())
            .with_baked("/h/w/target/out".into());
        let text = "/h/.cargo/registry/a/b /h/.cargo/registry/c /h/w/target/out/x /h/w/target/y";
        assert_eq!(
            places.marked(text),
            "/h/.cargo/registry/a/b /cargo-home/./registry/c /real/target/out/x /cargo-target/./y"
        );
        assert_eq!(places.restored(places.marked(text).as_bytes()), text.as_bytes());
        assert_eq!(places.common("/h/.cargo/registry/a"), "/cargo-home/registry/a");
        assert!(!places.moves("/h/w/target/out/x".into()) && places.moves("/h/w/target/y".into()));
        assert_eq!((places.marks().len(), places.clone()), (3, places.with_baked("/elsewhere".into())));
    }

    #[test]
    fn odd_names_stay_where_they_are() {
        let pairs = vec![Pair::new("/h/a b".into(), TARGET)];
        assert_eq!(Places::new(pairs, true).shown("/h/a b/c"), "/h/a b/c");
    }
}
