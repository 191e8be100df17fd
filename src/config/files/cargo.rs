//! The programs that cargo's own files of configuration name for linking.
//!
//! Source: "Hierarchical structure", `target.<triple>.linker` and `rustflags` in cargo's reference;
//! `-C linker` and `-C link-arg` in rustc's; `-fuse-ld` in gcc's and clang's.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};
use toml::de::{DeTable, DeValue};

use crate::config::{
    env::ARCH,
    files::{
        file::Lines,
        located::{At, Located},
    },
};

/// By this name, the settings of files have them, as a list.
pub const LINKERS: &str = "cargo.linkers";

/// The files that cargo reads for a command in a folder, there or not.
pub fn files(folder: &Utf8Path, cargo_home: Option<&Utf8Path>) -> Vec<Utf8PathBuf> {
    let folders = folder.ancestors().map(|folder| folder.join(".cargo"));
    let folders = folders.chain(cargo_home.map(Utf8Path::to_owned));
    folders.flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name))).collect()
}

/// What a file's text names. What is wrong in it, cargo says.
pub fn linkers(file: &Utf8Path, text: &str) -> Option<Located> {
    let config = DeTable::parse(text).ok()?;
    let config = config.get_ref();
    let table = |name: &str| config.get(name).and_then(|value| value.get_ref().as_table());
    let targets = table("target").into_iter().flatten();
    let targets = targets.filter(|(name, _)| is_for_this_machine(name.get_ref()));
    let targets = targets.filter_map(|(_, target)| target.get_ref().as_table());
    let mut found = Vec::new();
    for table in targets.chain(table("build")) {
        if let Some(linker) = table.get("linker")
            && let Some(name) = linker.get_ref().as_str()
        {
            found.push((from_file(file, name), linker.span().start));
        }
        if let Some(flags) = table.get("rustflags") {
            let words = words(flags.get_ref());
            let at = flags.span().start;
            found.extend(in_flags(words).map(|name| (from_file(file, &name), at)));
        }
    }
    found.retain(|(name, _)| is_name(name));
    let at = |start: usize| At { file: file.to_owned(), line: Lines(text).of(start) };
    let mut found = found.into_iter().map(|(value, start)| Located { value, at: vec![at(start)] });
    let first = found.next()?;
    Some(found.fold(first, |mut all, next| {
        all.extend(&next);
        all
    }))
}

/// The wrapper that a file names, and the file's name for it.
pub fn wrapper(file: &Utf8Path) -> Option<(String, String)> {
    let text = fs::read_to_string(file).ok()?;
    let config = DeTable::parse(&text).ok()?;
    let build = config.get_ref().get("build")?.get_ref().as_table()?;
    let name = build.get("rustc-wrapper")?.get_ref().as_str()?;
    Some((format!("`{file}`"), from_file(file, name)))
}

/// Whether a target's name or condition may be met by what runs here.
pub fn is_for_this_machine(target: &str) -> bool {
    let triple = target.to_ascii_lowercase();
    let is_host = triple.starts_with(ARCH) && triple.contains("linux");
    is_host || triple.starts_with("cfg(")
}

/// The programs that flags of rustc's name: linkers, and what those start to link.
pub fn in_flags<'a>(flags: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = String> {
    flags.into_iter().flat_map(str::split_whitespace).filter_map(|word| {
        let word = word.strip_prefix("-C").unwrap_or(word);
        if let Some(linker) = word.strip_prefix("linker=") {
            return Some(linker.to_owned());
        }
        if let Some((_, path)) = word.split_once("--ld-path=") {
            return Some(path.to_owned());
        }
        let (_, name) = word.split_once("-fuse-ld=")?;
        Some(if name.contains('/') { name.to_owned() } else { format!("ld.{name}") })
    })
}

/// Whether a text can be a program's name on `PATH`, or its whole path.
pub fn is_name(text: &str) -> bool {
    let is_clean = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
    let is_whole = text.starts_with('/') || !text.contains('/');
    !text.is_empty() && !text.starts_with('-') && is_whole && text.chars().all(is_clean)
}

/// A program's path is found from the folder that has the file's folder; a name is found on `PATH`.
fn from_file(file: &Utf8Path, name: &str) -> String {
    match file.parent().and_then(Utf8Path::parent) {
        Some(folder) if name.contains('/') => folder.join(name).into_string(),
        _ => name.to_owned(),
    }
}

/// The words of flags, which stand in a text or in a list.
fn words<'t>(flags: &'t DeValue<'_>) -> Vec<&'t str> {
    match flags {
        DeValue::String(text) => vec![text.as_ref()],
        DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_str()).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_links_is_named() {
        let host = format!("{ARCH}-unknown-linux-gnu");
        let text = format!(
            "[build]\nrustflags = \"-C link-arg=-fuse-ld=mold -Dwarnings\"\n\
             [target.{host}]\nlinker = \"clang\"\n\
             rustflags = [\"-C\", \"link-args=--ld-path=/opt/wild -x\", \"-Clinker=tools/cc\"]\n\
             [target.'cfg(unix)']\nlinker = \"tools/own\"\n\
             [target.thumbv7m-none-eabi]\nlinker = \"other\"\n"
        );
        let found = linkers("/w/.cargo/config.toml".into(), &text).unwrap();
        let mut names: Vec<&str> = found.value.split(',').collect();
        names.sort();
        assert_eq!(names, ["/opt/wild", "/w/tools/cc", "/w/tools/own", "clang", "ld.mold"]);
        assert_eq!(found.at.len(), 5);
        assert!(found.at.iter().any(|at| at.line == 4), "{:?}", found.at);
        assert!(linkers("/w/.cargo/config.toml".into(), "[build]\njobs = 2\n").is_none());
        assert!(linkers("/w/.cargo/config.toml".into(), "not TOML").is_none());
    }

    #[test]
    fn what_is_no_program_is_not_named() {
        for name in ["", "-x", "a b", "a,b", "dir/program"] {
            assert!(!is_name(name), "{name}");
        }
        for name in ["ld.mold", "/opt/wild/bin/wild"] {
            assert!(is_name(name), "{name}");
        }
    }
}
