//! From a folder to its sources: what is found, what of that is known, and copies of what is to be sent.

use std::{collections::HashMap, rc::Rc};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{
    Homes, Part, Sources,
    digests::Memory,
    parts,
    scan::{Extent, Rules, Scan},
    target_folder,
};
use crate::{
    cache::{Cache, digest},
    unit::Unit,
};

/// Reads folders, each once.
pub struct Reader<'a> {
    pub cache: &'a Cache,
    pub homes: Homes,
    /// Whether what is read is to be sent, so that it is copied.
    pub copies: bool,
    /// Whether the engine has a heavy part, so that it need not be sent.
    is_given: Box<dyn Fn(&str) -> bool + 'a>,
    read: HashMap<(String, bool), Rc<Sources>>,
}

impl<'a> Reader<'a> {
    pub fn new(cache: &'a Cache, homes: Homes, is_given: impl Fn(&str) -> bool + 'a) -> Self {
        Self { cache, homes, copies: false, is_given: Box::new(is_given), read: HashMap::new() }
    }

    /// What is below a folder that a unit reads, of which `wanted` counts wherever it lies.
    pub fn sources(&mut self, root: &Utf8Path, unit: &Unit, wanted: &[Utf8PathBuf]) -> Result<Rc<Sources>> {
        let (target, tree, cache) = (target_folder(unit), self.homes.tree_of(root), self.cache.path(""));
        let (extent, reach) = (Extent::Sources, tree.canonicalize_utf8().unwrap_or(tree));
        self.read(root, &Rules { extent, target: target.as_deref(), cache: &cache, wanted, reach: &reach })
    }

    /// All that is below a folder.
    pub fn everything(&mut self, root: &Utf8Path) -> Result<Rc<Sources>> {
        let (extent, target, cache) = (Extent::Everything, None, self.cache.path(""));
        self.read(root, &Rules { extent, target, cache: &cache, wanted: &[], reach: root })
    }

    fn read(&mut self, root: &Utf8Path, rules: &Rules<'_>) -> Result<Rc<Sources>> {
        let wanted = rules.wanted.iter().filter(|wanted| wanted.starts_with(root)).map(|wanted| wanted.as_str());
        let id = digest([root.as_str(), &format!("{:?}", rules.extent)].into_iter().chain(wanted));
        if let Some(sources) = self.read.get(&(id.clone(), self.copies)) {
            return Ok(sources.clone());
        }
        let parts = self.parts(root, rules).with_context(|| format!("failed to read the sources in `{root}`"))?;
        let sources = Rc::new(Sources { root: root.to_owned(), parts });
        self.read.insert((id, self.copies), sources.clone());
        Ok(sources)
    }

    fn parts(&self, root: &Utf8Path, rules: &Rules<'_>) -> Result<Vec<Part>> {
        let found = Scan::of(root, rules)?.entries;
        let mut memory = Memory::of(root, self.cache);
        let (sources, mut is_new) = memory.sources(found)?;
        // What cargo downloaded is not edited.
        let is_edited = rules.extent == Extent::Sources && !root.starts_with(&self.homes.cargo);
        let heavy = if is_edited { parts::heavy(&sources) } else { vec![] };
        let split = parts::split(sources, &heavy);
        let mut parts = Vec::new();
        for (place, sources) in [Utf8PathBuf::new()].into_iter().chain(heavy).zip(split) {
            let mut part = Part::of(place, &sources, self.cache);
            if self.copies && !(part.is_heavy && (self.is_given)(&part.name)) {
                is_new |= part.copy(&sources, &mut memory, self.cache)?;
            }
            parts.push(part);
        }
        if is_new {
            memory.save(root, self.cache)?;
        }
        Ok(parts)
    }
}
