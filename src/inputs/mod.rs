//! Finds what a unit reads on the host, as inputs of its task: other units' outcomes, and what is
//! sent.

pub mod baked;
pub mod canonical_program;
pub mod copies;
pub mod discovered;
mod named;
pub mod observed;
pub mod sources;
pub mod states;
pub mod version_control;
pub mod writes;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    inputs::sources::{Given, Reader, Sources},
    rustc::{
        args::{Flag, RustcArgs},
        tool::Tool,
    },
    step::{
        key::Key,
        protocol::{Input, Source},
        spec::{Context, Output},
    },
    store::provenance::{Origin, Provenance, ProvenanceRecords},
    target::shim,
    unit::work::{Unit, Work},
    util::{path::normalised, state_dir::Cache},
};

/// What a unit reads, and where that comes from.
#[derive(Default)]
pub struct Inputs {
    /// Files and folders, by the paths that the host has for them.
    pub inputs: Vec<Input>,
    /// The names and folders of what is sent.
    pub contexts: BTreeMap<String, Context>,
    /// The crates it is compiled against.
    pub crates: Vec<Key>,
    /// See [`Provenance::macros`].
    pub macros: Option<Utf8PathBuf>,
    /// What the code of those crates may open when it runs; see [`crate::unit::baked_paths`].
    pub baked: BTreeSet<Utf8PathBuf>,
    /// Files and folders to add once it is known what else lies below them.
    roots: Vec<Utf8PathBuf>,
    /// Where there is an input.
    places: HashSet<Utf8PathBuf>,
}

/// Where to look for inputs.
pub struct Finder<'a> {
    pub cache: &'a Cache,
    pub records: ProvenanceRecords<'a>,
    pub reader: Reader<'a>,
}

impl Finder<'_> {
    /// Finds the inputs of a unit; fails if one of them cannot be read. Its path map then shows
    /// what the code that it runs opens.
    pub fn inputs(&mut self, unit: &mut Unit) -> Result<Inputs> {
        self.find(unit).with_context(|| format!("failed to find the inputs of {}", unit.name()))
    }

    fn find(&mut self, unit: &mut Unit) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        let below = self.below(unit, &mut inputs)?;
        self.baked(unit, &below, &mut inputs)?;
        let unit = &*unit;
        match &unit.work {
            Work::Compile { tool, args, .. } => {
                self.crates(unit, args, &below, &mut inputs);
                self.named_by_options(unit, args, &mut inputs)?;
                if *tool == Tool::Clippy {
                    self.clippy_config(unit, &mut inputs)?;
                }
                if let Some(out_dir) = unit.env.get("OUT_DIR") {
                    self.artifact(Utf8Path::new(out_dir), &mut inputs)?;
                }
            }
            Work::BuildScript { program, .. } => {
                self.program(program, unit, &mut inputs)?;
                // The dynamic libraries among the crates of a program that is about to run.
                for provenance in &below {
                    for output in provenance
                        .outputs
                        .iter()
                        .filter(|output| output.host.extension() == Some("so"))
                    {
                        inputs.add(provenance, output, false);
                    }
                }
                self.named_by_variables(unit, &mut inputs)?;
            }
        }
        self.artifact_dependencies(unit, &mut inputs)?;
        self.package(unit, &mut inputs)?;
        inputs.inputs.sort();
        Ok(inputs)
    }

    /// The crates of `--extern` and all that they were compiled against; or the program of a build
    /// script, and its crates.
    fn below(&mut self, unit: &Unit, inputs: &mut Inputs) -> Result<Vec<Provenance>> {
        match &unit.work {
            Work::Compile { args, .. } => {
                self.direct_crates(unit, args, inputs)?;
                self.records.crate_closure(&inputs.crates)
            }
            Work::BuildScript { program, .. } => {
                let (key, _) = self.key_of(program)?;
                self.records.crate_closure(&[key])
            }
        }
    }

    fn direct_crates(&mut self, unit: &Unit, args: &RustcArgs, inputs: &mut Inputs) -> Result<()> {
        let mut unknown = false;
        for (_, path) in args.externs() {
            let Some(path) = path else { continue };
            let path = unit.cwd.join(path);
            if !path.exists() {
                continue;
            }
            let (key, known) = self.key_of(&path)?;
            unknown |= !known;
            push_new(&mut inputs.crates, key);
        }
        if unknown {
            self.all_crates_nearby(unit, args, inputs)?;
        }
        Ok(())
    }

    /// Shows a unit the paths that are baked into the code that it runs: a macro, or a build
    /// script.
    fn baked(&mut self, unit: &mut Unit, below: &[Provenance], inputs: &mut Inputs) -> Result<()> {
        inputs.baked = below.iter().flat_map(|provenance| provenance.baked.code.clone()).collect();
        let mut run: BTreeSet<Utf8PathBuf> = match &unit.work {
            Work::Compile { .. } => {
                below.iter().flat_map(|provenance| provenance.baked.macros.clone()).collect()
            }
            Work::BuildScript { .. } => {
                let mut tools = vec![];
                for path in unit.artifacts().filter(|path| path.exists()) {
                    tools.push(self.key_of(path)?.0);
                }
                let tools = self.records.crate_closure(&tools)?;
                inputs
                    .baked
                    .iter()
                    .cloned()
                    .chain(tools.into_iter().flat_map(|provenance| provenance.baked.code))
                    .collect()
            }
        };
        // With common paths, the canonical program runs.
        if let (true, Some(program)) = (unit.is_build_script(), below.first()) {
            run.retain(|path| {
                !program.baked.code.contains(path) || !path.starts_with(&unit.package)
            });
        }
        for path in run {
            if let Some(folder) = self.named_path(&path, inputs)? {
                unit.path_map = std::mem::take(&mut unit.path_map).with_baked(&folder);
            }
        }
        Ok(())
    }

    fn crates(&mut self, unit: &Unit, args: &RustcArgs, below: &[Provenance], inputs: &mut Inputs) {
        let named: Vec<Utf8PathBuf> = args
            .externs()
            .filter_map(|(_, path)| Some(normalised(&unit.cwd.join(path?))))
            .collect();
        for provenance in below {
            // A crate of unknown making may have been compiled with this unit's former output
            // beside it.
            let is_input = |output: &&Output| {
                is_wanted(output, provenance, unit.links(), &named) && !is_own(&output.host, args)
            };
            for output in provenance.outputs.iter().filter(is_input) {
                inputs.add(provenance, output, false);
            }
            // With common paths, no source of another crate is seen where that crate had it.
            inputs
                .roots
                .extend(provenance.macros.clone().filter(|package| !unit.path_map.moves(package)));
        }
    }

    /// Nobody knows what an artifact of unknown making needs, so it gets all crates beside it,
    /// except those that this very unit wrote before.
    fn all_crates_nearby(
        &mut self,
        unit: &Unit,
        args: &RustcArgs,
        inputs: &mut Inputs,
    ) -> Result<()> {
        for dir in args.crate_folders(&unit.cwd) {
            let Ok(entries) = dir.read_dir_utf8() else { continue };
            for entry in entries {
                let path = entry.with_context(|| format!("failed to read `{dir}`"))?.into_path();
                if matches!(path.extension(), Some("rlib" | "rmeta" | "so")) && !is_own(&path, args)
                {
                    let (key, _) = self.key_of(&path)?;
                    push_new(&mut inputs.crates, key);
                }
            }
        }
        Ok(())
    }

    /// Adds a file or folder of the target folder where the host has it.
    fn artifact(&mut self, path: &Utf8Path, inputs: &mut Inputs) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let (key, _) = self.key_of(path)?;
        let provenance = self.records.get(&key).context("a recipe just found is gone")?.clone();
        inputs.add(&provenance, &output_at(&provenance, path), false);
        Ok(())
    }

    /// Whether a build script may run with common paths: its program holds no path of the host, or
    /// there is a canonical one.
    pub fn is_at_home_anywhere(&mut self, program: &Utf8Path) -> Result<bool> {
        let (key, is_known) = self.key_of(program)?;
        let common = self.records.get(&key).and_then(|provenance| provenance.common.as_deref());
        Ok(is_known && common.is_none_or(|common| canonical_program::is_saved(self.cache, common)))
    }

    /// Adds the program of a build script: with common paths, the canonical one.
    fn program(&mut self, path: &Utf8Path, unit: &Unit, inputs: &mut Inputs) -> Result<()> {
        let (key, _) = self.key_of(path)?;
        let common =
            self.records.get(&key).filter(|_| unit.path_map.are_common()).and_then(|provenance| {
                canonical_program::provenance(
                    self.cache,
                    provenance.common.as_deref()?,
                    output_at(provenance, path),
                )
            });
        match common {
            Some(provenance) => inputs.add(&provenance, &provenance.outputs[0], false),
            None => self.artifact(path, inputs)?,
        }
        Ok(())
    }

    /// The key of an artifact, and whether its making is known; one of unknown making is copied.
    fn key_of(&mut self, path: &Utf8Path) -> Result<(Key, bool)> {
        let path = shim::compiled(path)?;
        if let Some(provenance) = self.records.of_path(&path) {
            let known = matches!(provenance.origin, Origin::Step);
            return Ok((provenance.key.clone(), known));
        }
        let provenance = Provenance { baked: baked::of_file(&path)?, ..self.copy(&path)? };
        let key = provenance.key.clone();
        self.records.save(provenance)?;
        Ok((key, false))
    }

    /// The files of the unit's own package, and those outside of it that the unit reads.
    fn package(&mut self, unit: &Unit, inputs: &mut Inputs) -> Result<()> {
        let is_writable = unit.is_build_script();
        let mut holes = vec![normalised(&unit.path_map.real_path(unit.out_dir()))];
        let target =
            |input: &Input| normalised(&unit.path_map.real_path(Utf8Path::new(&input.target)));
        // Of these, not all is given.
        let (configs, paths): (Vec<_>, Vec<_>) =
            unit.paths.iter().cloned().partition(|path| version_control::is_config(path));
        for path in configs {
            let provenance = self.copy_file(&path)?;
            inputs.add(&provenance, &provenance.outputs[0], false);
        }
        holes.extend(inputs.inputs.iter().map(target));
        let mut roots = std::mem::take(&mut inputs.roots);
        roots.extend(paths);
        roots.push(unit.package.clone());
        roots.extend(input_outside(unit));
        let wanted = roots.clone();
        for root in outermost(roots) {
            if root.is_dir() {
                let sources = self.reader.sources(&root, unit, &wanted)?;
                inputs.add_sources(&sources, &holes, is_writable)?;
                if unit.package.starts_with(&root)
                    && !unit.path_map.moves(&unit.package)
                    && unit.serves_units()
                    && sources.have_macros(self.cache)?
                {
                    inputs.macros = Some(unit.package.clone());
                }
            } else {
                let provenance = self.copy_file(&root)?;
                inputs.add(&provenance, &provenance.outputs[0], is_writable);
                // What a dependency says of its sources names them as it saw them.
                let host = Utf8PathBuf::from(unit.path_map.common(root.as_str()));
                inputs.add(
                    &provenance,
                    &Output { host, ..provenance.outputs[0].clone() },
                    is_writable,
                );
            }
        }
        Ok(())
    }
}

impl Inputs {
    fn add_sources(
        &mut self,
        sources: &Sources,
        holes: &[Utf8PathBuf],
        is_writable: bool,
    ) -> Result<()> {
        for input in sources.inputs(holes, is_writable)? {
            self.places.insert(normalised(Utf8Path::new(&input.target)));
            self.inputs.push(input);
        }
        let parts = sources.parts.iter();
        self.contexts.extend(parts.map(|part| {
            let context = Context { folder: part.context.clone(), is_heavy: part.is_heavy };
            (part.name.clone(), context)
        }));
        Ok(())
    }

    /// Adds an output where the host has it, unless something is there already.
    fn add(&mut self, provenance: &Provenance, output: &Output, is_writable: bool) {
        if !self.places.insert(normalised(&output.host)) {
            return;
        }
        let key = provenance.key.clone();
        let from = match &provenance.origin {
            Origin::Step => Source::Outcome(key),
            Origin::Copy { context } => {
                let context = Context { folder: context.clone(), is_heavy: false };
                self.contexts.insert(key.clone(), context);
                Source::Pack(key)
            }
        };
        let (target, path) = (output.host.to_string(), output.source.clone());
        self.inputs.push(Input { target, from, path, is_writable });
    }
}

/// The output that the host has at `path`, or a link to it: if by another name, the first.
fn output_at(provenance: &Provenance, path: &Utf8Path) -> Output {
    let output = provenance
        .outputs
        .iter()
        .find(|output| output.host == path)
        .unwrap_or(&provenance.outputs[0]);
    Output { host: path.to_owned(), source: output.source.clone() }
}

/// Whether a compile with these arguments writes a crate under this file's name.
fn is_own(path: &Utf8Path, args: &RustcArgs) -> bool {
    let name = args.value(Flag::CrateName).unwrap_or_default();
    let own = format!("{name}{}", args.codegen("extra-filename").unwrap_or_default());
    path.file_stem().is_some_and(|stem| stem.strip_prefix("lib") == Some(&own) || stem == own)
}

/// Whether a unit reads this file of a crate below it: one that links wants object code, one that
/// does not is content with metadata, as cargo's pipelining shows; what `--extern` names is always
/// wanted.
fn is_wanted(output: &Output, provenance: &Provenance, links: bool, named: &[Utf8PathBuf]) -> bool {
    let has = |extension| {
        provenance.outputs.iter().any(|output| output.host.extension() == Some(extension))
    };
    let is_named = || named.contains(&normalised(&output.host));
    match output.host.extension() {
        Some("rmeta") => !links || !has("rlib") || is_named(),
        Some("rlib") => links || !has("rmeta") || is_named(),
        Some("so" | "dylib" | "dll") => true,
        _ => false,
    }
}

/// The folder of a crate's root file that lies outside its package.
fn input_outside(unit: &Unit) -> Option<Utf8PathBuf> {
    let Work::Compile { args, .. } = &unit.work else { return None };
    let input = normalised(&unit.cwd.join(args.inputs().next()?));
    let is_generated = unit
        .env
        .get("OUT_DIR")
        .is_some_and(|out_dir| input.starts_with(normalised(Utf8Path::new(out_dir))));
    let dir = input.parent()?.to_owned();
    (!Given::of(unit).has(&input) && !is_generated && dir.is_dir()).then_some(dir)
}

/// The paths that lie below none of the others, each once.
fn outermost(mut paths: Vec<Utf8PathBuf>) -> Vec<Utf8PathBuf> {
    paths.sort();
    paths.dedup_by(|path, kept| path.starts_with(kept));
    paths
}

fn push_new(keys: &mut Vec<Key>, key: Key) {
    if !keys.contains(&key) {
        keys.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_all_below_it() {
        let paths = ["/w/a/x", "/w/ab", "/w/a", "/w/a"].map(Utf8PathBuf::from).to_vec();
        assert_eq!(outermost(paths), ["/w/a", "/w/ab"]);
    }

    #[test]
    fn a_unit_knows_its_own_files() {
        let args = |line: &str| RustcArgs::parse(line.split(' ').map(str::to_owned).collect());
        let hashed = args("--crate-name lib_a -C extra-filename=-1");
        assert!(is_own(Utf8Path::new("/d/liblib_a-1.rmeta"), &hashed));
        assert!(!is_own(Utf8Path::new("/d/liblib_a-2.rmeta"), &hashed));
        assert!(is_own(Utf8Path::new("/d/libx.so"), &args("--crate-name x")));
    }

    #[test]
    fn metadata_serves_a_program_that_links_nothing_of_it() {
        let outputs = vec![Output { host: "/d/liba.rmeta".into(), source: String::new() }];
        let provenance = Provenance::of_copy("k".into(), "/c".into(), outputs);
        assert!(is_wanted(&provenance.outputs[0], &provenance, true, &[]));
    }

    #[test]
    fn linking_wants_object_code_and_checking_metadata() {
        let output = |name: &str| Output { host: name.into(), source: String::new() };
        let outputs = vec![output("/d/liba.rmeta"), output("/d/liba.rlib"), output("/d/a.d")];
        let provenance = Provenance::of_copy("k".into(), "/c".into(), outputs);
        let wanted = |links, named: &[Utf8PathBuf]| -> Vec<_> {
            provenance
                .outputs
                .iter()
                .filter(|output| is_wanted(output, &provenance, links, named))
                .map(|o| o.host.as_str())
                .collect()
        };
        assert_eq!(wanted(false, &[]), ["/d/liba.rmeta"]);
        assert_eq!(wanted(true, &[]), ["/d/liba.rlib"]);
        assert_eq!(wanted(true, &["/d/liba.rmeta".into()]), ["/d/liba.rmeta", "/d/liba.rlib"]);
    }
}
