//! Paths that a crate bakes in, as by `env!("CARGO_MANIFEST_DIR")`: its code may open what is
//! there.
//!
//! Crates that wrap C code find it in their own package by such a path. Others find a program
//! there, or in the output folder of their build script. A build script or macro that is linked
//! with such a crate opens the path inside a container, so the container has to show it.
//!
//! rustc's dep-info lists the variables that a crate looked up, and nothing else tells them. For a
//! unit that did not run yet, only what was discovered in earlier builds is known
//! ([`crate::inputs::discovered`]).

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::unit::work::Unit;

/// What the code of an artifact may open by a path that is baked into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baked {
    /// In the crate's own code, which becomes a part of every program that links it.
    pub code: BTreeSet<Utf8PathBuf>,
    /// In a proc macro's code, and in that of the crates that it links: it runs in the compiles of
    /// its dependents.
    pub macros: BTreeSet<Utf8PathBuf>,
}

impl Baked {
    /// That of a macro, by what the crates have that it links.
    pub fn of_macro(linked: BTreeSet<Utf8PathBuf>) -> Self {
        Self { macros: linked, ..Self::default() }
    }

    /// Adds the paths that a unit with its path map has in the variables of these names.
    pub fn add(&mut self, unit: &Unit, names: &BTreeSet<String>) {
        let values = names.iter().filter_map(|name| unit.env.get(name));
        let paths = values
            .flat_map(|value| absolute_paths(value))
            .filter(|path| !unit.path_map.moves(path));
        let to = if unit.is_proc_macro() { &mut self.macros } else { &mut self.code };
        to.extend(paths.map(Utf8Path::to_owned));
    }
}

/// The absolute paths in a variable's value: the whole, or words of it.
pub fn absolute_paths(value: &str) -> impl Iterator<Item = &Utf8Path> {
    let words = value.split([' ', '\t', '\n', ':', ';', ',', '=', '"', '\'']);
    let words = words.map(|word| word.trim_start_matches("-I").trim_start_matches("-L"));
    std::iter::once(value).chain(words).map(Utf8Path::new).filter(|path| path.is_absolute())
}
