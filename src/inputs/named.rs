//! Files and folders that a unit's options and variables name, and clippy's configuration.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use super::{Finder, Inputs};
use crate::{
    inputs::sources::Given,
    rustc::args::{Flag, RustcArgs},
    unit::{baked_paths::absolute_paths, work::Unit},
    util::path::normalised,
};

impl Finder<'_> {
    /// Folders of `-L` that a build script filled, or that lie in another package or somewhere
    /// else; files that go to a linker or a code generator: scripts, objects, profiles, a target's
    /// description.
    pub(super) fn named_by_options(
        &mut self,
        unit: &Unit,
        args: &RustcArgs,
        inputs: &mut Inputs,
    ) -> Result<()> {
        for (kind, dir) in
            args.library_paths().filter(|(kind, _)| !matches!(*kind, "dependency" | "crate"))
        {
            let dir = normalised(&unit.cwd.join(dir));
            let is_known = self.named_path(&dir, inputs)?.is_some();
            if !is_known && dir.is_dir() && !is_of_system(&dir) {
                log::debug!("the {kind} folder `{dir}` is sent as it is");
                inputs.roots.push(dir);
            }
        }
        for value in [Flag::Codegen, Flag::Target, Flag::Unstable]
            .into_iter()
            .flat_map(|flag| args.values(flag))
        {
            for path in paths_in(value).map(|path| unit.cwd.join(path)) {
                if path.is_file() && !is_of_system(&path) {
                    inputs.roots.push(normalised(&path));
                }
            }
        }
        Ok(())
    }

    /// Programs and libraries that the unit has for artifact dependencies.
    pub(super) fn artifact_dependencies(&mut self, unit: &Unit, inputs: &mut Inputs) -> Result<()> {
        unit.artifacts().try_for_each(|path| self.artifact(path, inputs))
    }

    /// Paths in the variables of a build script: how `links` packages tell where their files are.
    pub(super) fn named_by_variables(&mut self, unit: &Unit, inputs: &mut Inputs) -> Result<()> {
        for (_, value) in unit.env.iter().filter(|(name, _)| name.starts_with("DEP_")) {
            for path in absolute_paths(value) {
                self.named_path(&normalised(path), inputs)?;
            }
        }
        Ok(())
    }

    /// A path that somebody else made: the output of a build script, or a file of another package.
    /// Returns the folder of that, if it is one of these. In a plan, what is in an output folder is
    /// not there.
    pub(super) fn named_path(
        &mut self,
        path: &Utf8Path,
        inputs: &mut Inputs,
    ) -> Result<Option<Utf8PathBuf>> {
        if !path.is_absolute() {
            return Ok(None);
        }
        for dir in path.ancestors() {
            if dir.file_name() == Some("out")
                && (self.records.of_path(dir).is_some() || is_out_dir(dir))
            {
                return self.artifact(dir, inputs).map(|()| Some(dir.to_owned()));
            }
            if path.exists() && dir.join("Cargo.toml").exists() {
                inputs.roots.push(dir.to_owned());
                return Ok(Some(dir.to_owned()));
            }
        }
        Ok(None)
    }

    /// What clippy reads beside the sources: `clippy.toml` of the package or a folder above it, and
    /// the manifest of the folder it is started in, which it names in the dep-info.
    pub(super) fn clippy_config(&self, unit: &Unit, inputs: &mut Inputs) -> Result<()> {
        let start =
            unit.env.get("CLIPPY_CONF_DIR").map_or(unit.package.clone(), |dir| unit.cwd.join(dir));
        let names = ["clippy.toml", ".clippy.toml"];
        let found = start
            .ancestors()
            .flat_map(|dir| names.map(|name| dir.join(name)))
            .find(|path| path.is_file());
        let manifest = Some(unit.cwd.join("Cargo.toml")).filter(|path| path.is_file());
        let given = Given::of(unit);
        for path in found.into_iter().chain(manifest).filter(|path| !given.has(path)) {
            let provenance = self.copy_file(&path)?;
            inputs.add(&provenance, &provenance.outputs[0], false);
        }
        Ok(())
    }
}

/// What in an option's value may be a path, as in `link-arg=-Wl,--version-script=/w/a.map`.
fn paths_in(value: &str) -> impl Iterator<Item = &str> {
    let whole = value.split([',', '=']);
    let words = value
        .split([',', '=', ' '])
        .map(|word| word.trim_start_matches("-T").trim_start_matches('@'));
    whole.chain(words).filter(|word| word.contains(['/', '.']))
}

/// Whether a path belongs to the operating system: the image has its own.
fn is_of_system(path: &Utf8Path) -> bool {
    let folders = [
        "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys",
        "/usr",
    ];
    folders.iter().any(|folder| path.starts_with(folder))
}

/// Whether cargo laid this folder out as a build script's `OUT_DIR`.
fn is_out_dir(dir: &Utf8Path) -> bool {
    dir.parent().is_some_and(|parent| {
        ["output", "root-output"].iter().any(|name| parent.join(name).exists())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_files() {
        let paths =
            |value| paths_in(value).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        assert!(paths("link-arg=-Wl,--version-script=/a b/x.map").contains("/a b/x.map"));
        assert!(
            paths("link-args=-T/w/x.ld @/w/y")
                .is_superset(&["/w/x.ld", "/w/y"].map(str::to_owned).into())
        );
        assert!(paths("opt-level=3").is_empty());
        assert!(
            is_of_system(Utf8Path::new("/usr/lib/x.o"))
                && !is_of_system(Utf8Path::new("/usrlocal/x.o"))
        );
    }
}
