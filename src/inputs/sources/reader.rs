//! Reads a folder as sources: scans it, digests what changed, and copies what is to be sent.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use super::{Homes, Part, Sources, parts, target_folder};
use crate::{
    snapshot::{
        copy,
        digests::{Memory, Whole, now},
        scan::{self, Entry, Extent, Rules},
    },
    unit::work::Unit,
    util::{digest::digest, state_dir::Cache},
};

/// Reads folders, each once.
pub struct Reader<'a> {
    pub cache: &'a Cache,
    pub homes: Homes,
    /// Whether what is read is to be sent, so that it is copied.
    pub copies: bool,
    /// What was read, and whether it is copied.
    read: HashMap<String, (Rc<Sources>, bool)>,
}

impl<'a> Reader<'a> {
    pub fn new(cache: &'a Cache, homes: Homes) -> Self {
        Self { cache, homes, copies: false, read: HashMap::new() }
    }

    /// The sources below a folder that a unit reads. Those in `wanted` count wherever they lie.
    pub fn sources(
        &mut self,
        root: &Utf8Path,
        unit: &Unit,
        wanted: &[Utf8PathBuf],
    ) -> Result<Rc<Sources>> {
        let (target, reach, cache) =
            (target_folder(unit), self.homes.reach_of(root), self.cache.path(""));
        let reach = reach.canonicalize_utf8().unwrap_or(reach);
        let rules = Rules {
            extent: Extent::Sources,
            target: target.as_deref(),
            cache: &cache,
            wanted,
            reach: &reach,
            is_own: !self.homes.is_from_elsewhere(root),
        };
        self.read(root, &rules)
    }

    /// All that is below a folder.
    pub fn everything(&mut self, root: &Utf8Path) -> Result<Rc<Sources>> {
        let cache = self.cache.path("");
        self.read(root, &Rules::everything(root, &cache))
    }

    fn read(&mut self, root: &Utf8Path, rules: &Rules<'_>) -> Result<Rc<Sources>> {
        let wanted = rules
            .wanted
            .iter()
            .filter(|wanted| wanted.starts_with(root))
            .map(|wanted| wanted.as_str());
        let id = digest([root.as_str(), &format!("{:?}", rules.extent)].into_iter().chain(wanted));
        let known = self.read.get(&id).cloned();
        let sources = match known {
            Some((sources, is_copied)) if is_copied || !self.copies => return Ok(sources),
            Some((sources, _)) => self.copied(&sources),
            None => self
                .found(root, rules)
                .and_then(|found| if self.copies { self.copied(&found) } else { Ok(found) }),
        };
        let sources =
            Rc::new(sources.with_context(|| format!("failed to read the sources in `{root}`"))?);
        self.read.insert(id, (sources.clone(), self.copies));
        Ok(sources)
    }

    fn found(&self, root: &Utf8Path, rules: &Rules<'_>) -> Result<Sources> {
        let began = now();
        let found = scan::scan(root, rules)?;
        // What cargo downloaded is not edited.
        let is_edited = rules.extent == Extent::Sources && !root.starts_with(&self.homes.cargo);
        let heavy = if is_edited { parts::heavy(&found) } else { vec![] };
        let split = parts::split(found, &heavy);
        let parts = [Utf8PathBuf::new()].into_iter().chain(heavy).zip(split);
        let parts = parts.map(|(place, found)| self.part(root, place, found, began).map(Rc::new));
        Ok(Sources { root: root.to_owned(), parts: parts.collect::<Result<_>>()? })
    }

    fn part(
        &self,
        root: &Utf8Path,
        place: Utf8PathBuf,
        found: Vec<Entry>,
        began: i64,
    ) -> Result<Part> {
        let (at, is_heavy) = (root.join(&place), !place.as_str().is_empty());
        let known = if is_heavy { Whole::of(&at, &found, self.cache) } else { None };
        let name = match known {
            Some(whole) => whole.name,
            None => {
                let mut memory = Memory::of(&at, self.cache);
                let name = copy::name_to_be(&memory.sources(&found)?, self.cache)?;
                memory.save(self.cache)?;
                if is_heavy {
                    Whole::save(&at, &found, began, &name, self.cache)?;
                }
                name
            }
        };
        Ok(Part { context: copy::folder_of(&name, self.cache), name, is_heavy, place, found })
    }

    /// The same, with a copy of everything that is to be sent. The result is what is in the copy,
    /// even if the originals changed meanwhile.
    fn copied(&self, sources: &Sources) -> Result<Sources> {
        let Sources { root, parts } = sources;
        let parts = parts.iter().map(|part| match self.is_there(part) {
            true => Ok(part.clone()),
            false => self.copy(root, part).map(Rc::new),
        });
        Ok(Sources { root: root.clone(), parts: parts.collect::<Result<_>>()? })
    }

    fn is_there(&self, part: &Part) -> bool {
        self.cache.used(&format!("sources/{}", part.name)).is_some()
    }

    fn copy(&self, root: &Utf8Path, part: &Part) -> Result<Part> {
        let mut memory = Memory::of(&root.join(&part.place), self.cache);
        let sources = memory.sources(&part.found)?;
        let (name, listing) = copy::copy(&sources, memory.copy.as_deref(), self.cache)?;
        memory.set_copy(&name);
        memory.save(self.cache)?;
        let mut found = part.found.clone();
        if name != part.name {
            log::info!("`{root}` changed while it was read");
            let copied: HashSet<&Utf8Path> =
                listing.iter().map(|(path, _)| path.as_path()).collect();
            found.retain(|entry| copied.contains(entry.path.as_path()));
        }
        let (place, is_heavy) = (part.place.clone(), part.is_heavy);
        Ok(Part { context: copy::folder_of(&name, self.cache), name, is_heavy, place, found })
    }
}
