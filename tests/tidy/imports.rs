//! Which file imports which.
//!
//! A file imports another one if its code that ships names something of it: in a `use`, or by a
//! path that begins with `crate`, `self`, `super` or the name of a child. What a `pub use` hands on
//! is followed to the file that has it, so that neither the `pub use` nor the `mod` lines of a
//! folder's `mod.rs` are imports. A method that is called is none: its type is, where it is named.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

pub struct Imports {
    /// For each file, by its name, those that it imports.
    pub by_file: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    pub fn of(sources: &[Source]) -> Self {
        let by_file = sources.iter().map(|source| {
            let found = source.paths.iter().filter_map(|path| imported(source, path, sources));
            let others =
                found.filter(|file| file.module != source.module && !file.module.is_empty());
            (source.name.clone(), others.map(|file| file.name.clone()).collect())
        });
        Self { by_file: by_file.collect() }
    }

    /// A way from a file back to itself, if there is one.
    pub fn circle(&self, file: &str) -> Option<Vec<&str>> {
        let mut seen = BTreeSet::new();
        let mut ways: Vec<Vec<&str>> =
            self.by_file[file].iter().map(|next| vec![next.as_str()]).collect();
        while let Some(way) = ways.pop() {
            let at = *way.last().unwrap();
            if at == file {
                return Some(way);
            }
            if seen.insert(at) {
                ways.extend(
                    self.by_file[at].iter().map(|next| [&way[..], &[next.as_str()]].concat()),
                );
            }
        }
        None
    }
}

/// The file that has what a path of `source` names; `None` if that is of another crate.
fn imported<'s>(source: &Source, path: &str, sources: &'s [Source]) -> Option<&'s Source> {
    let full = absolute(source, path, sources)?;
    let is_module = |module: &[String]| sources.iter().find(|source| source.module == module);
    // The longest beginning of the path that is a module.
    let (file, rest) =
        (0..=full.len()).rev().find_map(|end| Some((is_module(&full[..end])?, &full[end..])))?;
    let handed_on = file
        .handed_on
        .iter()
        .find(|path| path.rsplit("::").next() == rest.first().map(String::as_str));
    handed_on.and_then(|path| imported(file, path, sources)).or(Some(file))
}

/// A path from the root of the crate.
fn absolute(source: &Source, path: &str, sources: &[Source]) -> Option<Vec<String>> {
    let module = &source.module[..];
    let mut words = path.split("::").map(str::to_owned).peekable();
    let first = words.peek()?.clone();
    let mut full = match first.as_str() {
        "crate" | "rustcbuildx" => {
            words.next();
            vec![]
        }
        "self" => {
            words.next();
            module.to_vec()
        }
        "super" => module.to_vec(),
        // A child, or what a `use` has brought.
        name if sources
            .iter()
            .any(|source| source.module == [module, &[name.to_owned()]].concat()) =>
        {
            module.to_vec()
        }
        name => {
            let is_it = |used: &&String| {
                used.rsplit_once("::").is_some_and(|(_, last)| last == name) && *used != path
            };
            words.next();
            source.paths.iter().filter(is_it).find_map(|used| absolute(source, used, sources))?
        }
    };
    while words.next_if(|word| word == "super").is_some() {
        full.pop();
    }
    full.extend(words);
    Some(full)
}

#[cfg(test)]
fn case(files: &[(&str, &str)]) -> Imports {
    let source = |(module, paths): &(&str, &str)| {
        let module: Vec<String> =
            module.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let words = |of_handed_on: bool| {
            let paths =
                paths.split(' ').filter(move |path| path.starts_with("pub:") == of_handed_on);
            paths.map(|path| path.trim_start_matches("pub:").to_owned()).collect()
        };
        let (name, text, code) = (module.join("/"), String::new(), String::new());
        Source { name, module, text, code, paths: words(false), handed_on: words(true) }
    };
    Imports::of(&files.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn imports_are_followed_to_the_file_that_has_the_item() {
    let imports = case(&[
        ("", ""),
        ("a", "pub:self::b::B"),
        ("a/b", "crate::c::C std::fs"),
        ("a/d", "super::B super::super::c"),
        ("c", "crate::a::d::D"),
        ("e", "crate::a::b b::B crate::a a::d::D"),
    ]);
    let of = |file: &str| imports.by_file[file].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("a"), [""; 0]);
    assert_eq!(of("a/b"), ["c"]);
    assert_eq!(of("a/d"), ["a/b", "c"]);
    assert_eq!(of("e"), ["a", "a/b", "a/d"]);
    assert_eq!(imports.circle("a/b").unwrap(), ["c", "a/d", "a/b"]);
    assert_eq!(imports.circle("e"), None);
    let imports =
        case(&[("", ""), ("a", "pub:self::b::B"), ("a/b", "crate::c::C"), ("c", "crate::a::B")]);
    assert_eq!(imports.circle("a/b").unwrap(), ["c", "a/b"]);
}
