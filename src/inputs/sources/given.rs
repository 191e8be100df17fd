//! Which files a unit is given of its package and beyond.

use std::{cell::RefCell, collections::HashMap};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    inputs::sources::target_folder,
    snapshot::scan::{self, Extent, Rules},
    unit::work::Unit,
};

/// What a unit is given, as it is now. Each folder is looked into once.
pub struct Given {
    /// Folders and files that it is given.
    roots: Vec<Utf8PathBuf>,
    target: Option<Utf8PathBuf>,
    /// Whether something below a root is left out, by the root's place in the list.
    excluded: RefCell<HashMap<(usize, Utf8PathBuf), bool>>,
}

impl Given {
    pub fn of(unit: &Unit) -> Self {
        Self {
            roots: [&unit.package].into_iter().chain(&unit.paths).cloned().collect(),
            target: target_folder(unit),
            excluded: RefCell::default(),
        }
    }

    /// Whether a path is among them.
    pub fn has(&self, path: &Utf8Path) -> bool {
        self.roots.iter().enumerate().any(|(number, root)| {
            let mut below = path.ancestors().take_while(|place| place != root);
            path.starts_with(root) && !below.any(|place| self.is_excluded(number, root, place))
        })
    }

    /// Whether a path is in the target folder of the unit's build, of the real one where this is a
    /// dry run.
    pub fn is_made(&self, path: &Utf8Path) -> bool {
        self.target.as_ref().is_some_and(|target| path.starts_with(target))
    }

    fn is_excluded(&self, number: usize, root: &Utf8Path, place: &Utf8Path) -> bool {
        let name = (number, place.to_owned());
        *self.excluded.borrow_mut().entry(name).or_insert_with(|| {
            let rules = Rules {
                target: self.target.as_deref(),
                extent: Extent::Sources,
                ..Rules::everything(root, Utf8Path::new(""))
            };
            scan::is_excluded(root, place, &rules)
        })
    }
}
