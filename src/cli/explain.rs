//! `rustcbuildx explain FILE [OTHER]`: what decided a file of a target folder, or why two such
//! files differ.

use std::{collections::HashSet, process::ExitCode};

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::{
    config::{env::Env, settings::Config},
    step::{key::Key, spec::Step},
    store::{
        local::{LocalStore, Store},
        provenance::ProvenanceRecords,
    },
    unit::target_dir::noted_folders,
    util::state_dir::Cache,
};

/// All that a key digests, and the key.
#[derive(Serialize)]
struct Explanation {
    key: Key,
    is_stored: bool,
    image: String,
    /// The lines of its task: the words of its process, its environment, and where its inputs come
    /// from, which are other units' keys and digests of sources.
    task: Vec<String>,
}

/// Prints the explanation of one file as JSON, or the lines in which those of two files differ.
///
/// Fails on a file that a unit of ours did not make, or that was changed since.
pub fn run(env: &Env, path: &str, other: Option<&str>) -> Result<ExitCode> {
    let config = Config::load(env)?;
    let cache = Cache::open(env.cache_dir()?)?;
    let store = LocalStore::new(&cache, config.store_size);
    let text = |path: &str| -> Result<String> {
        let explanation = explain(&env.current_dir()?.join(path), &cache, &store)?;
        serde_json::to_string_pretty(&explanation).context("failed to print an explanation")
    };
    let this = text(path)?;
    match other {
        None => println!("{this}"),
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
    let step = noted_folders(&path).find_map(|root| {
        let mut records = ProvenanceRecords::new(cache, root.to_owned());
        let key = cargos_names(&path)
            .iter()
            .find_map(|path| records.of_path(path).map(|provenance| provenance.key.clone()));
        records.step(&key?).ok()
    });
    let Step { key, base: image, task, .. } = step.with_context(|| {
        format!(
            "failed to explain `{path}`: rustcbuildx did not make it, or it was changed since \
             (hint: of a program, name the file with a hash, under `deps`)"
        )
    })?;
    let task = task.identity().lines().map(str::to_owned).collect();
    Ok(Explanation { is_stored: store.has(&key), key, image, task })
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
