//! Maps paths of the host to paths in a unit's container. A folder has the same path in both, or it
//! has a common path in the container, which is the same on every machine and in every checkout, so
//! that everybody can share what the unit makes there.
//!
//! Where a crate can bake a path in, which is the value of a variable, the common path is followed
//! by a `SENTINEL`: `/./` instead of `/`, which no reader of paths minds. Names of source files
//! have none, because rustc is told to remove it from them. So an output that contains a sentinel
//! contains a path that it would use when it runs. Its unit is compiled again with the host's own
//! path of that folder; all other folders stay common.

use std::{borrow::Cow, collections::BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

/// Folders of the host and their common paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMap {
    pairs: Vec<Pair>,
    /// The target folder of a dry run, and the real one that it stands for.
    dry_run_target: Option<Pair>,
}

/// A folder of the host and its common place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    host: Utf8PathBuf,
    container: String,
    /// Whether the unit sees it at the common path; otherwise, at the host's own.
    is_common: bool,
    /// Whether it is part of another one, and has its own place on the host for `container`.
    is_baked: bool,
}

impl Pair {
    pub(super) fn new(host: Utf8PathBuf, container: &str) -> Self {
        Self { host, container: container.to_owned(), is_common: false, is_baked: false }
    }

    fn in_container<'a>(&'a self, sentinel: &'a str) -> Seen<'a> {
        (self, &self.container, sentinel)
    }
}

pub(super) const CARGO_HOME: &str = "/cargo-home";
pub(super) const TARGET: &str = "/cargo-target";
pub(super) const WORKSPACE: &str = "/cargo-workspace";

/// Between a common path and the rest, in the values of variables.
const SENTINEL: &str = "/./";

impl PathMap {
    pub(super) fn new(mut pairs: Vec<Pair>, is_common: bool) -> Self {
        // Of what quotes, escapes or takes words apart, none stands in a replaced name.
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "\"'\\$:,;".contains(c);
        if pairs
            .iter()
            .any(|pair| pair.host.parent().is_none() || pair.host.as_str().contains(is_odd))
        {
            return Self::default();
        }
        pairs.iter_mut().for_each(|pair| pair.is_common = is_common);
        let mut path_map = Self { pairs, dry_run_target: None };
        path_map.sort();
        path_map
    }

    /// The innermost folder decides.
    fn sort(&mut self) {
        self.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.host.as_str().len()));
    }

    /// The target folder, where the unit has one.
    pub fn target(&self) -> Option<&Utf8Path> {
        let of_target = |pair: &&Pair| pair.container == TARGET && !pair.is_baked;
        self.pairs.iter().find(of_target).map(|pair| pair.host.as_path())
    }

    /// The same for a unit of a dry run, whose target folder `folder` stands for the real one,
    /// `host`.
    pub fn with_dry_run_target(self, folder: Utf8PathBuf, host: &Utf8Path) -> Self {
        Self { dry_run_target: Some(Pair::new(folder, host.as_str())), ..self }
    }

    /// The real path of a path below the target folder of a dry run.
    pub fn real_path(&self, path: &Utf8Path) -> Utf8PathBuf {
        replaced(path.as_str(), self.dry_run_target.iter().map(|pair| pair.in_container(""))).into()
    }

    /// Whether a path is in the target folder of a dry run, whose files are empty.
    pub fn is_in_dry_run_target(&self, path: &Utf8Path) -> bool {
        self.dry_run_target
            .as_ref()
            .is_some_and(|dry_run_target| path.starts_with(&dry_run_target.host))
    }

    /// The same, but with the host's own paths for the folders with these sentinels.
    pub fn with_own(mut self, sentinels: &BTreeSet<String>) -> Self {
        self.pairs
            .iter_mut()
            .for_each(|pair| pair.is_common &= !sentinels.contains(&sentinel_of(&pair.container)));
        self
    }

    /// The same for a unit that runs code which has a path below `folder` baked in: it sees the
    /// folder where its user does.
    pub fn with_baked(mut self, folder: &Utf8Path) -> Self {
        if self.moves(folder) {
            let own = self.real_path(folder);
            self.pairs
                .insert(0, Pair { is_baked: true, ..Pair::new(folder.to_owned(), own.as_str()) });
            self.sort();
        }
        self
    }

    /// Whether the unit sees any common path.
    pub fn are_common(&self) -> bool {
        self.pairs.iter().any(|pair| pair.is_common)
    }

    /// Whether the unit sees a path elsewhere than the host has it.
    pub fn moves(&self, path: &Utf8Path) -> bool {
        self.pairs
            .iter()
            .find(|pair| path.starts_with(&pair.host))
            .is_some_and(|pair| pair.is_common)
    }

    /// A path, or an argument with paths in it, as the container has it.
    pub fn to_container(&self, text: &str) -> String {
        replaced(text, self.seen(""))
    }

    /// A path as it is for units that see the common paths.
    pub fn common(&self, path: &str) -> String {
        replaced(
            path,
            self.pairs.iter().filter(|pair| !pair.is_baked).map(|pair| pair.in_container("")),
        )
    }

    /// A path that units see who see the common paths, as the host has it.
    pub fn on_host(&self, path: &Utf8Path) -> Utf8PathBuf {
        let own = self.pairs.iter().filter(|pair| !pair.is_baked);
        let mut hosts = own.filter_map(|pair| {
            let below = path.strip_prefix(&pair.container).ok()?;
            Some(if below.as_str().is_empty() { pair.host.clone() } else { pair.host.join(below) })
        });
        hosts.next().unwrap_or_else(|| path.to_owned())
    }

    /// A variable's value as the container has it, with sentinels.
    pub fn with_sentinels(&self, value: &str) -> String {
        replaced(value, self.seen(SENTINEL))
    }

    /// Folders of this disk, where the unit sees each, and what comes between that and the rest of
    /// a path.
    fn seen<'a>(&'a self, sentinel: &'a str) -> impl Iterator<Item = Seen<'a>> + Clone {
        let dry_run_target = self.dry_run_target().map(|pair| pair.in_container(""));
        dry_run_target.chain(self.pairs.iter().map(move |pair| match pair.is_common {
            true => pair.in_container(sentinel),
            false if pair.is_baked => pair.in_container(""),
            false => (pair, pair.host.as_str(), ""),
        }))
    }

    /// The folder that the unit sees as another one of the host's, unless it sees it at its common
    /// place.
    fn dry_run_target(&self) -> impl Iterator<Item = &Pair> + Clone {
        self.dry_run_target.iter().filter(|dry_run_target| !self.moves(&dry_run_target.host))
    }

    /// The option for rustc that removes the sentinel from the names of source files that a build
    /// script made.
    ///
    /// It would also keep rustc from showing lines of such a file, hence only there.
    pub fn remap_option(&self) -> Option<String> {
        let is_common = self.pairs.iter().any(|pair| pair.is_common && pair.container == TARGET);
        is_common.then(|| format!("--remap-path-prefix={TARGET}{SENTINEL}={TARGET}/"))
    }

    /// The sentinels to look for in an output.
    pub fn sentinels(&self) -> Vec<String> {
        self.pairs
            .iter()
            .filter(|pair| pair.is_common)
            .map(|pair| sentinel_of(&pair.container))
            .collect()
    }

    /// Text from the container as the host has it.
    pub fn to_host<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut text = Cow::Borrowed(text);
        for pair in self.dry_run_target().chain(&self.pairs) {
            let (with_sentinels, host) = (sentinel_of(&pair.container), pair.host.as_str());
            for (place, host) in
                [(with_sentinels.as_str(), format!("{host}/")), (&pair.container, host.to_owned())]
            {
                if let Some(replaced) = replaced_bytes(&text, place.as_bytes(), host.as_bytes()) {
                    text = Cow::Owned(replaced);
                }
            }
        }
        text
    }
}

/// All sentinels.
pub fn all_sentinels() -> [String; 3] {
    [CARGO_HOME, TARGET, WORKSPACE].map(sentinel_of)
}

fn sentinel_of(place: &str) -> String {
    format!("{place}{SENTINEL}")
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
            for (pair, place, sentinel) in folders.clone() {
                if let Some(after) = rest[at..].strip_prefix(pair.host.as_str())
                    && ends_name(after)
                {
                    replaced += &rest[..at];
                    replaced += place;
                    replaced += sentinel;
                    rest = if sentinel.is_empty() {
                        after
                    } else {
                        after.strip_prefix('/').unwrap_or(after)
                    };
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

/// Whether a path may begin behind this text: not in the middle of another, but right after `-I` or
/// `-L`.
fn begins_path(before: &str) -> bool {
    let mut chars = before.chars().rev();
    let (last, second, third) = (chars.next(), chars.next(), chars.next());
    let after_option = last.is_some_and(|c| c.is_ascii_alphabetic())
        && second == Some('-')
        && !third.is_some_and(is_name);
    !last.is_some_and(|c| is_name(c) || c == '/') || after_option
}

/// Whether a file's name ends before this text.
fn ends_name(after: &str) -> bool {
    !after.chars().next().is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_map(is_common: bool) -> PathMap {
        let pairs = [("/h/.cargo", CARGO_HOME), ("/h/w", WORKSPACE), ("/h/w/target", TARGET)];
        PathMap::new(
            pairs.map(|(host, container)| Pair::new(host.into(), container)).to_vec(),
            is_common,
        )
    }

    #[test]
    fn whole_names_are_replaced() {
        for (text, expected) in [
            ("/h/.cargo/registry/a.rs", "/cargo-home/registry/a.rs"),
            ("-Ldependency=/h/w/target/debug", "-Ldependency=/cargo-target/debug"),
            ("-L/h/w/target", "-L/cargo-target"),
            (
                "-I/h/w -I /h/w/src:/h/w/target/x",
                "-I/cargo-workspace -I /cargo-workspace/src:/cargo-target/x",
            ),
            ("feature=\"/h/w\"", "feature=\"/cargo-workspace\""),
            ("/h/wx /h/w-x /h/w.x /x/h/w //h/w", "/h/wx /h/w-x /h/w.x /x/h/w //h/w"),
            ("/ü/h/w", "/ü/h/w"),
            ("", ""),
        ] {
            assert_eq!(path_map(true).to_container(text), expected);
        }
    }

    #[test]
    fn a_value_is_marked_and_comes_back() {
        let value = "/h/w/target/debug/out:/h/w/target/:/usr";
        let with_sentinels = path_map(true).with_sentinels(value);
        assert_eq!(with_sentinels, "/cargo-target/./debug/out:/cargo-target/./:/usr");
        assert_eq!(path_map(true).with_sentinels("/h/w"), "/cargo-workspace/./");
        assert_eq!(path_map(true).to_host(with_sentinels.as_bytes()), value.as_bytes());
        assert_eq!(
            path_map(true).to_host(path_map(true).to_container(value).as_bytes()),
            value.as_bytes()
        );
    }

    #[test]
    fn one_place_is_the_hosts() {
        let own = all_sentinels()
            .into_iter()
            .filter(|sentinel| sentinel.starts_with(WORKSPACE))
            .collect();
        let path_map = path_map(true).with_own(&own);
        assert_eq!(
            path_map.with_sentinels("/h/w/a:/h/w/target/b:/h/.cargo/c"),
            "/h/w/a:/cargo-target/./b:/cargo-home/./c"
        );
        assert!(
            path_map.are_common()
                && !path_map.moves("/h/w/src".into())
                && path_map.moves("/h/w/target".into())
        );
        assert_eq!(path_map.sentinels().len(), 2);
        assert!(path_map.remap_option().is_some());
        let path_map =
            path_map.with_dry_run_target("/h/w/target".into(), Utf8Path::new("/real/target"));
        assert_eq!(path_map.to_container("/h/w/target/b"), "/cargo-target/b");
    }

    #[test]
    fn what_others_made_is_named_as_on_the_host() {
        let hosts = path_map(false);
        assert!(hosts.remap_option().is_none() && hosts.sentinels().is_empty());
        assert_eq!(hosts.with_sentinels("/h/w"), "/h/w");
        assert_eq!(hosts.to_host(b"--> /cargo-home/a.rs:1"), &b"--> /h/.cargo/a.rs:1"[..]);
    }

    #[test]
    fn a_folder_stands_in_for_another() {
        let path_map = path_map(false)
            .with_dry_run_target("/tmp/r/target".into(), Utf8Path::new("/h/w/target"));
        assert_eq!(
            path_map.with_sentinels("-L/tmp/r/target/debug /h/w/target"),
            "-L/h/w/target/debug /h/w/target"
        );
        assert_eq!(path_map.to_host(b"/h/w/target/debug/out"), &b"/tmp/r/target/debug/out"[..]);
        assert!(path_map.sentinels().is_empty());
    }

    #[test]
    fn what_is_baked_in_is_seen_where_the_host_has_it() {
        let path_map = path_map(true)
            .with_dry_run_target("/h/w/target".into(), Utf8Path::new("/real/target"))
            .with_baked("/h/.cargo/registry/a".into())
            .with_baked("/h/w/target/out".into());
        let text = "/h/.cargo/registry/a/b /h/.cargo/registry/c /h/w/target/out/x /h/w/target/y";
        assert_eq!(
            path_map.with_sentinels(text),
            "/h/.cargo/registry/a/b /cargo-home/./registry/c /real/target/out/x /cargo-target/./y"
        );
        assert_eq!(path_map.to_host(path_map.with_sentinels(text).as_bytes()), text.as_bytes());
        let common = "/cargo-home/registry/a";
        assert_eq!(path_map.common("/h/.cargo/registry/a"), common);
        assert_eq!(path_map.on_host(common.into()), "/h/.cargo/registry/a");
        assert_eq!(path_map.on_host("/cargo-home".into()), "/h/.cargo");
        assert_eq!(path_map.on_host("/cargo-home-2/a".into()), "/cargo-home-2/a");
        assert!(
            !path_map.moves("/h/w/target/out/x".into()) && path_map.moves("/h/w/target/y".into())
        );
        assert_eq!(
            (path_map.sentinels().len(), path_map.clone()),
            (3, path_map.with_baked("/elsewhere".into()))
        );
    }

    #[test]
    fn odd_names_stay_where_they_are() {
        let pairs = vec![Pair::new("/h/a b".into(), TARGET)];
        assert_eq!(PathMap::new(pairs, true).to_container("/h/a b/c"), "/h/a b/c");
    }
}
