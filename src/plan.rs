//! Recipes as one Dockerfile: the stages below a unit, the unit's own, and what is taken out.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;

use crate::{
    dockerfile::{Dockerfile, Instruction, Mount, Run, Stage},
    recipe::{Origin, Recipe},
    stage::OUT,
};

/// A Dockerfile's text and the folders it names.
#[derive(Default)]
pub struct Plan {
    pub dockerfile: String,
    pub contexts: BTreeMap<String, Utf8PathBuf>,
    /// The names of the secrets it mounts.
    pub secrets: BTreeSet<String>,
}

/// The stage that holds only what the client gets.
const RESULT: &str = "result";

/// Plans one unit: the last of `recipes`, after all that it is made from. The result is its outcome.
pub fn unit(recipes: &[Recipe], syntax: Option<&str>) -> Plan {
    let copies = recipes.last().map(|recipe| (recipe.key.as_str(), "/".to_owned()));
    plan(recipes, copies.into_iter().collect(), syntax)
}

/// Plans many units: those `wanted` among `recipes`, which come after all that they are made from. The result has
/// a folder for the outcome of each.
pub fn units(recipes: &[Recipe], wanted: &[&str], syntax: Option<&str>) -> Plan {
    plan(recipes, wanted.iter().map(|key| (*key, format!("/{key}/"))).collect(), syntax)
}

/// `copies` are keys, and where in the result their outcomes belong.
fn plan(recipes: &[Recipe], copies: Vec<(&str, String)>, syntax: Option<&str>) -> Plan {
    let (mut contexts, mut secrets) = (BTreeMap::new(), BTreeSet::new());
    let mut bases: BTreeMap<&str, String> = BTreeMap::new();
    let mut steps: Vec<(&str, &str, &Run)> = Vec::new();
    for recipe in recipes {
        let Origin::Step { base, run, contexts: own, .. } = &recipe.origin else { continue };
        contexts.extend(own.clone());
        secrets.extend(run.mounts.iter().filter_map(|mount| match mount {
            Mount::Secret { id } => Some(id.clone()),
            _ => None,
        }));
        let count = bases.len();
        bases.entry(base).or_insert_with(|| format!("base{count}"));
        steps.push((base, &recipe.key, run));
    }
    let mut stages: Vec<Stage> =
        bases.iter().map(|(base, name)| Stage { from: base, name, instructions: vec![] }).collect();
    for (base, name, run) in steps {
        stages.push(Stage { from: &bases[base], name, instructions: vec![Instruction::Run(run)] });
    }
    let copies = copies.iter().map(|(from, target)| Instruction::Copy { from, source: OUT, target });
    stages.push(Stage { from: "scratch", name: RESULT, instructions: copies.collect() });
    Plan { dockerfile: Dockerfile { syntax, stages }.to_string(), contexts, secrets }
}
