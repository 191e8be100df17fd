//! `rustcbuildx explain FILE [OTHER]`: what decided a file of a target folder, or why two such
//! files differ.

use std::{collections::HashSet, process::ExitCode};

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use super::{changes, touched};
use crate::{
    config::{env::Env, settings::Config},
    step::{key::Key, spec::Step},
    store::{
        local::{LocalStore, Store},
        provenance::{Observation, ProvenanceRecords},
    },
    unit::target_dir::noted_folders,
    util::state_dir::Cache,
};

/// How a file was made.
struct Explanation {
    step: Step,
    is_stored: bool,
    /// What changed since it was made before, where that was in another way.
    changes: Vec<String>,
    observation: Observation,
    /// The names of what it was made from.
    made_from: Vec<String>,
}

/// The same for programs: all that a key digests, and the key.
#[derive(Serialize)]
struct Record<'a> {
    key: &'a Key,
    is_stored: bool,
    image: &'a str,
    /// The lines of its task: the words of its process, its environment, and where its inputs come
    /// from, which are other units' keys and digests of sources.
    task: Vec<String>,
    /// What its processes touched, as lines; `null` if nobody could look.
    observed: Option<Vec<&'a str>>,
}

/// Prints the explanation of one file, or the lines in which those of two files differ; with
/// `is_json`, for programs.
///
/// Fails on a file that a unit of ours did not make, or that was changed since.
pub fn run(env: &Env, path: &str, other: Option<&str>, is_json: bool) -> Result<ExitCode> {
    let config = Config::load(env)?;
    let cache = Cache::open(env.cache_dir()?)?;
    let store = LocalStore::new(&cache, config.store_size);
    let text = |path: &str| -> Result<String> {
        let explanation = explain(&env.current_dir()?.join(path), &cache, &store)?;
        if is_json { explanation.json() } else { Ok(explanation.text(path)) }
    };
    let this = text(path)?;
    match other {
        None => println!("{}", this.trim_end()),
        Some(other) => print!("{}", difference(&this, &text(other)?)),
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(path: &Utf8Path, cache: &Cache, store: &impl Store) -> Result<Explanation> {
    let path = path.canonicalize_utf8().with_context(|| format!("failed to find `{path}`"))?;
    ensure!(
        noted_folders(&path).next().is_some(),
        "failed to explain `{path}`: it is in no target folder"
    );
    let found = noted_folders(&path).find_map(|root| {
        let mut records = ProvenanceRecords::new(cache, root.to_owned());
        let (name, key) = cargos_names(&path).into_iter().find_map(|path| {
            let key = records.of_path(&path)?.key.clone();
            Some((path, key))
        })?;
        let step = records.step(&key).ok()?;
        let before = records.before(&name).and_then(|before| records.step(&before).ok());
        let observation = records.observation(&key)?;
        let name_of = |key: &str| records.step(key).ok().map(|step| step.task.name);
        let mut made_from: Vec<String> = step.made_from().filter_map(name_of).collect();
        made_from.sort();
        made_from.dedup();
        let changes = before
            .map(|before| changes::between(&before, &step, &observation, cache, name_of))
            .unwrap_or_default();
        let is_stored = store.has(&key);
        Some(Explanation { step, is_stored, changes, observation, made_from })
    });
    found.with_context(|| {
        format!(
            "failed to explain `{path}`: rustcbuildx did not make it, or it was changed since \
             (hint: of a program, name the file with a hash, under `deps`)"
        )
    })
}

impl Explanation {
    fn json(&self) -> Result<String> {
        let Self { step, is_stored, observation, .. } = self;
        let record = Record {
            key: &step.key,
            is_stored: *is_stored,
            image: &step.base,
            task: lines_of(step),
            observed: observation.touched.as_ref().map(|touched| touched.lines().collect()),
        };
        serde_json::to_string_pretty(&record).context("failed to print an explanation")
    }

    fn text(&self, path: &str) -> String {
        let Self { step: Step { key, base, task, .. }, is_stored, made_from, .. } = self;
        let stored = if *is_stored { "in the store" } else { "not in the store" };
        let mut text = format!("{path}\n  {}, key {key}, {stored}\n  image {base}\n", task.name);
        text += &section("made from", made_from);
        text += &section("built anew, as this changed", &self.changes);
        let parts = touched::parts(&self.observation, task.kind, true);
        text + &touched::printed(&parts, "  ")
    }
}

fn section(title: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    if lines.is_empty() { lines } else { format!("  {title}\n{lines}") }
}

fn lines_of(step: &Step) -> Vec<String> {
    step.task.identity().lines().map(str::to_owned).collect()
}

/// Under what names a unit may have written a file: cargo links some of `deps` to the folder above.
fn cargos_names(path: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut names = vec![path.to_owned()];
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return names };
    let stem = name.replace('-', "_");
    let entries = dir.join("deps").read_dir_utf8().into_iter().flatten().flatten();
    let is_alike = |other: &str| {
        let hash = other
            .strip_prefix(&stem)
            .or_else(|| other.strip_prefix(name))
            .and_then(|rest| rest.strip_prefix('-'));
        hash.is_some_and(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()))
    };
    names.extend(
        entries
            .map(|entry| entry.into_path())
            .filter(|path| path.file_name().is_some_and(is_alike)),
    );
    names
}

/// The lines that only one of two texts has: `-` before those of the first, `+` before those of the
/// second.
fn difference(first: &str, second: &str) -> String {
    let only = |sign: char, text: &str, other: &str| -> String {
        let others: HashSet<&str> = other.lines().collect();
        text.lines()
            .filter(|line| !others.contains(line))
            .map(|line| format!("{sign}{line}\n"))
            .collect()
    };
    only('-', first, second) + &only('+', second, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_text_only_are_a_difference() {
        assert_eq!(difference("a\nb\nc\n", "a\nd\nc\n"), "-b\n+d\n");
        assert_eq!(difference("a\n", "a\n"), "");
    }

    #[test]
    fn programs_are_found_beside_their_links() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::create_dir(dir.join("deps")).unwrap();
        for name in ["my_tool-0a1b", "my_tool-0a1b.d", "my_tool_2-0a1b"] {
            std::fs::write(dir.join("deps").join(name), "").unwrap();
        }
        assert_eq!(
            cargos_names(&dir.join("my-tool")),
            [dir.join("my-tool"), dir.join("deps/my_tool-0a1b")]
        );
    }
}
