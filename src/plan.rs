//! Recipes as one Dockerfile: the stages below a unit, the unit's own, and what is taken out.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use crate::{
    dockerfile::{Dockerfile, Instruction, Run, Stage},
    recipe::{Key, Origin, Recipe, Recipes},
    stage::OUT,
};

/// A Dockerfile's text and the folders it names.
pub struct Plan {
    pub dockerfile: String,
    pub contexts: BTreeMap<String, Utf8PathBuf>,
}

/// The stage that holds only what the client gets.
const RESULT: &str = "result";

/// Plans one unit: `recipe`, whose stages are known to `recipes`.
pub fn unit(recipe: &Recipe, recipes: &mut Recipes, syntax: Option<&str>) -> Result<Plan> {
    let mut below = Vec::new();
    let mut visited = HashSet::new();
    let Origin::Step { stages, .. } = &recipe.origin else {
        anyhow::bail!("a copy is not built");
    };
    for key in stages {
        visit(key, recipes, &mut visited, &mut below)?;
    }
    below.push(recipe.clone());

    let mut contexts = BTreeMap::new();
    let mut bases: BTreeMap<&str, String> = BTreeMap::new();
    let mut steps: Vec<(&str, &str, &Run)> = Vec::new();
    for recipe in &below {
        let Origin::Step { base, run, contexts: own, .. } = &recipe.origin else { continue };
        contexts.extend(own.clone());
        let count = bases.len();
        bases.entry(base).or_insert_with(|| format!("base{count}"));
        steps.push((base, &recipe.key, run));
    }
    let mut stages: Vec<Stage> =
        bases.iter().map(|(base, name)| Stage { from: base, name, instruction: None }).collect();
    for (base, name, run) in steps {
        stages.push(Stage { from: &bases[base], name, instruction: Some(Instruction::Run(run)) });
    }
    let copy = Instruction::Copy { from: &recipe.key, source: OUT, target: "/" };
    stages.push(Stage { from: "scratch", name: RESULT, instruction: Some(copy) });
    Ok(Plan { dockerfile: Dockerfile { syntax, stages }.to_string(), contexts })
}

/// Appends the recipe and, before it, all below it, each once.
fn visit(key: &Key, recipes: &mut Recipes, visited: &mut HashSet<Key>, order: &mut Vec<Recipe>) -> Result<()> {
    if !visited.insert(key.clone()) {
        return Ok(());
    }
    let recipe = recipes.get(key).with_context(|| format!("failed to find the recipe {key} in the cache"))?.clone();
    if let Origin::Step { stages, .. } = &recipe.origin {
        for below in stages {
            visit(below, recipes, visited, order)?;
        }
    }
    order.push(recipe);
    Ok(())
}
