//! What a task finds where it looks: the states of the paths that it was seen to touch, among the
//! files that it is sent. Where they are the same, the task does the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::{
    snapshot::copy::{INSIDE, Item, Listing},
    step::{
        protocol::{Source, Task},
        touched::{How, Touch, encode_touches, touches},
    },
    util::digest::digest,
};

/// How many links are followed in one path: so many as the kernel follows.
const MOST_LINKS: usize = 40;

/// The paths among those that a task was seen to touch at which what it was sent may be decisive,
/// and how it touched them; `None` if not all could be seen.
pub fn decisive(observed: &str) -> Option<String> {
    // Whoever touched it.
    let all: BTreeSet<Touch> =
        touches(observed).map(|touch| Touch { by: String::new(), ..touch }).collect();
    if all.iter().any(|touch| touch.how == How::Unseen) {
        return None;
    }
    Some(encode_touches(all.iter().filter(|Touch { how, what, .. }| {
        // Its home folder is empty.
        is_of_files(*how) && what.starts_with('/')
    })))
}

fn is_of_files(how: How) -> bool {
    match how {
        How::Ask | How::Read | How::List | How::Write | How::Refuse | How::Link | How::Run => true,
        How::Lack
        | How::Variable
        | How::ToolVariable
        | How::Connect
        | How::Host
        | How::Clock
        | How::Unseen => false,
    }
}

/// The files that a task is sent, by their paths in its container.
pub struct SentFiles {
    items: BTreeMap<Utf8PathBuf, Item>,
}

impl SentFiles {
    /// `listing` returns what is in a pack; `None` if that is not known.
    pub fn of(task: &Task, listing: impl Fn(&str) -> Option<Listing>) -> Option<Self> {
        let (mut items, mut added) = (BTreeMap::new(), BTreeSet::new());
        for input in &task.inputs {
            let Source::Pack(name) = &input.from else { continue };
            let target = Utf8Path::new(&input.target);
            if !is_of_sources(name) {
                // A single file, whose content the name tells.
                let item = Item::File { mode: 0, digest: name.clone() };
                items.insert(target.to_owned(), item);
                continue;
            }
            let below = Utf8Path::new(&input.path).strip_prefix(INSIDE).ok()?;
            let root = target.ancestors().nth(below.components().count())?;
            if added.insert((name, root)) {
                for (path, item) in listing(name)? {
                    items.insert(root.join(path), item);
                }
                for folder in root.ancestors() {
                    items.entry(folder.to_owned()).or_insert(Item::Folder);
                }
            }
        }
        Some(Self { items })
    }

    /// A digest of what is at all those paths; `None` if that cannot be told.
    pub fn states(&self, touched: &str) -> Option<String> {
        let mut states = Vec::new();
        for Touch { how, what, .. } in touches(touched) {
            states.push(format!("{} {what}\0{}", how.name(), self.state(how, &what)?));
        }
        Some(digest(states))
    }

    /// The files that are not as they were, and what became of them.
    pub fn changes_since<'a>(&'a self, before: &'a Self) -> BTreeMap<&'a Utf8Path, &'static str> {
        let paths = self.items.keys().chain(before.items.keys());
        let changed = paths.filter_map(|path| {
            let change = match (before.items.get(path), self.items.get(path)) {
                (before, now) if before == now => return None,
                (None, Some(Item::Folder)) | (Some(Item::Folder), None) => return None,
                (Some(_), Some(_)) => "was edited",
                (None, _) => "is new",
                (_, None) => "is gone",
            };
            Some((path.as_path(), change))
        });
        changed.collect()
    }

    fn state(&self, how: How, path: &str) -> Option<String> {
        let (mut state, place) = self.resolve(Utf8Path::new(path))?;
        match self.items.get(&place) {
            None => state += "nothing",
            Some(Item::Link(_)) => return None,
            Some(Item::File { mode, digest }) => state += &format!("file {mode:o} {digest}"),
            Some(Item::Folder) => match how {
                How::List => {
                    let own = self.below(&place).filter(|(path, _)| path.parent() == Some(&place));
                    state += &format!("list {}", digest(own.map(|(path, item)| kind(path, item))));
                }
                // It may read or move all that is there under other names.
                How::Write | How::Refuse | How::Link => {
                    let mut whole = Vec::new();
                    for (path, item) in self.below(&place) {
                        let content = match item {
                            Item::Link(_) => return None,
                            Item::Folder => "",
                            Item::File { digest, .. } => digest,
                        };
                        whole.push(format!("{}\0{content}", kind(path, item)));
                    }
                    state += &format!("whole {}", digest(whole));
                }
                _ => state += "folder",
            },
        }
        Some(state)
    }

    /// Where a path leads through links, and the texts of those; `None` if it leads nowhere.
    fn resolve(&self, path: &Utf8Path) -> Option<(String, Utf8PathBuf)> {
        let (mut links, mut place) = (String::new(), Utf8PathBuf::from("/"));
        let mut ahead: Vec<String> = names(path).rev().collect();
        let mut count = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                place.pop();
                continue;
            }
            place.push(&name);
            let Some(Item::Link(text)) = self.items.get(&place) else { continue };
            links += &format!("link {text}\0");
            place.pop();
            if text.starts_with('/') {
                place = "/".into();
            }
            ahead.extend(names(Utf8Path::new(text)).rev());
            count += 1;
            if count > MOST_LINKS {
                return None;
            }
        }
        Some((links, place))
    }

    /// What is below a folder.
    fn below(&self, folder: &Utf8Path) -> impl Iterator<Item = (&Utf8PathBuf, &Item)> {
        let behind = (Bound::Excluded(folder), Bound::Unbounded);
        self.items
            .range::<Utf8Path, _>(behind)
            .take_while(move |(path, _)| path.starts_with(folder))
    }
}

/// Whether a pack has the name of a copy of sources, which tells nothing of what is in it.
fn is_of_sources(name: &str) -> bool {
    name.starts_with('s')
}

fn names(path: &Utf8Path) -> impl DoubleEndedIterator<Item = String> {
    path.components().filter_map(|component| match component {
        Utf8Component::Normal(name) => Some(name.to_owned()),
        Utf8Component::ParentDir => Some("..".to_owned()),
        _ => None,
    })
}

/// What a list of a folder says of something in it.
fn kind(path: &Utf8Path, item: &Item) -> String {
    let kind = match item {
        Item::Folder => 'd',
        Item::File { .. } => 'f',
        Item::Link(_) => 'l',
    };
    format!("{kind}\0{path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{protocol::Input, spec::tests::step};

    fn file(digest: &str) -> Item {
        Item::File { mode: 0o644, digest: digest.to_owned() }
    }

    /// What is sent of a package in `/w/p`: some of it by itself, and a part of it apart.
    fn sent(more: &[(&str, Item)]) -> SentFiles {
        let mut package: Listing = [("src", Item::Folder), ("modules", Item::Folder)]
            .map(|(path, item)| (path.into(), item))
            .into();
        package.push(("src/lib.rs".into(), file("1")));
        package.extend(more.iter().map(|(path, item)| ((*path).into(), item.clone())));
        let modules: Listing = vec![("a.js".into(), file("2"))];
        let input = |target: &str, pack: &str, path: &str| Input {
            target: target.to_owned(),
            from: Source::Pack(pack.to_owned()),
            path: path.to_owned(),
            is_writable: false,
        };
        let mut task = step("u", "s1", "/".into()).task;
        task.inputs = vec![
            input("/w/p/src", "s1", "p/src"),
            input("/w/p/modules", "s2", "p"),
            input("/w/one.txt", "f3", "p/one.txt"),
        ];
        let listing = |name: &str| match name {
            "s1" => Some(package.clone()),
            "s2" => Some(modules.clone()),
            _ => None,
        };
        SentFiles::of(&task, listing).unwrap()
    }

    /// Whether a task that touched this can tell that there is more.
    #[track_caller]
    fn case(touched: &str, more: &[(&str, Item)], expected: bool) {
        let states = |more| sent(more).states(&format!("{touched}\n")).unwrap();
        assert_eq!(states(&[]) != states(more), expected, "{touched}");
    }

    #[test]
    fn only_what_was_touched_is_decisive() {
        let readme = [("README.md", file("3"))];
        case("read /w/p/src/lib.rs", &readme, false);
        case("ask /w/p", &readme, false);
        case("ask /w/p/README.md", &readme, true);
        case("list /w/p", &readme, true);
        case("list /w", &readme, false);
        case("list /w/p/src", &readme, false);
        case("link /w/p", &readme, true);
        case("write /w/p", &readme, true);
        case("link /w/p/src", &readme, false);
        case("read /w/p/src/lib.rs", &[("src/lib.rs", file("9"))], true);
        case("run /w/p/src/lib.rs", &[("src/lib.rs", file("9"))], true);
        case("list /w/p/src", &[("src/lib.rs", file("9"))], false);
        case("link /w/p/src", &[("src/lib.rs", file("9"))], true);
    }

    #[test]
    fn links_are_followed() {
        let links = [("l", Item::Link("src".into())), ("m", Item::Link("../p/l/lib.rs".into()))];
        let edited = [&links[..], &[("src/lib.rs", file("9"))]].concat();
        for touched in ["read /w/p/l/lib.rs", "read /w/p/m", "read /w/p/l/../src/lib.rs"] {
            let states = |more: &[(&str, Item)]| sent(more).states(&format!("{touched}\n"));
            assert!(states(&links).is_some());
            assert_ne!(states(&links), states(&edited), "{touched}");
        }
        let states = |more, touched| sent(more).states(touched);
        let endless = [("x", Item::Link("x".into()))];
        assert_eq!(states(&endless, "read /w/p/x\n"), None);
        assert_eq!(states(&links, "link /w/p\n"), None, "what they lead to is not listed");
    }

    #[test]
    fn what_is_sent_apart_is_in_its_folder() {
        let sent = sent(&[]);
        let state = |how, path| sent.state(how, path).unwrap();
        assert!(state(How::Read, "/w/p/modules/a.js").ends_with(" 2"));
        assert!(state(How::Read, "/w/one.txt").ends_with(" f3"));
        assert_eq!(state(How::Ask, "/w/p/modules"), "folder");
        assert_ne!(state(How::List, "/w/p/modules"), state(How::List, "/w/p/src"));
        assert_eq!(state(How::Read, "/w/two.txt"), "nothing");
    }

    #[test]
    fn not_all_that_was_touched_is_a_file() {
        let observed = "variable A\nread /w/a\nhost b\nask ~/c\nlack cc\nlist /w\n";
        assert_eq!(decisive(observed).unwrap(), "read /w/a\nlist /w\n");
        assert_eq!(decisive("read /w/a\nunseen a program\n"), None);
    }
}
