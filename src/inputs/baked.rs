//! Which paths an artifact has baked in. For a unit of ours its dep-info tells; for an artifact
//! that somebody else made, the paths that its dep-info names are looked for in its bytes.

use std::{
    collections::BTreeSet,
    fs::{self, File},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    rustc::dep_info,
    target::shim::Shim,
    unit::{
        baked_paths::{Baked, absolute_paths},
        target_dir,
        work::Unit,
    },
};

/// The variables that a unit looked up, by its dep-info, and that name something of its package or
/// of what cargo made or downloaded, where the unit sees it as its user does. A path that is the
/// same on every machine leads nowhere: what uses one is compiled again
/// ([`crate::build::embedded_paths`]).
pub fn variables(unit: &Unit, dep_info: &str, cargo_home: &Utf8Path) -> BTreeSet<String> {
    let (package, target) = (unit.package.clone(), target_dir::target_folder(unit));
    let downloaded = target_dir::downloaded(cargo_home);
    let folders: Vec<Utf8PathBuf> = [package].into_iter().chain(target).chain(downloaded).collect();
    let is_known = |path: &Utf8Path| {
        folders.iter().any(|folder| path.starts_with(folder)) && !unit.path_map.moves(path)
    };
    let names = dep_info::variables(dep_info).into_iter();
    names
        .filter(|name| unit.env.get(name).is_some_and(|value| absolute_paths(value).any(is_known)))
        .collect()
}

/// What a file of unknown making has baked in.
pub fn of_file(path: &Utf8Path) -> Result<Baked> {
    match Shim::open(path)? {
        Some(mut shim) => of_unknown(path, shim.program()?),
        None if path.is_file() => {
            let file = File::open(path).with_context(|| format!("failed to read `{path}`"))?;
            of_unknown(path, file)
        }
        None => Ok(Baked::default()),
    }
}

/// What the artifact at `path`, made by somebody else, has baked in: those of the paths that
/// dep-info beside it tells of which are in its bytes.
fn of_unknown(path: &Utf8Path, mut bytes: impl std::io::Read) -> Result<Baked> {
    let mut candidates = BTreeSet::new();
    for file in dep_infos_beside(path) {
        let text = fs::read_to_string(&file).with_context(|| format!("failed to read `{file}`"))?;
        let values = dep_info::values(&text);
        candidates
            .extend(values.iter().flat_map(|value| absolute_paths(value)).map(Utf8Path::to_owned));
    }
    candidates.retain(|path| path.exists() && path.parent().is_some());
    if candidates.is_empty() {
        return Ok(Baked::default());
    }
    let mut all = Vec::new();
    bytes.read_to_end(&mut all).with_context(|| format!("failed to read `{path}`"))?;
    candidates.retain(|path| memchr::memmem::find(&all, path.as_str().as_bytes()).is_some());
    let macros = if path.extension() == Some("so") { candidates.clone() } else { BTreeSet::new() };
    Ok(Baked { code: candidates, macros })
}

/// The dep-info of a crate. Of what is linked, also those of the crates that it may be linked of.
fn dep_infos_beside(path: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Some((folder, stem)) = path.parent().zip(path.file_stem()) else { return vec![] };
    if matches!(path.extension(), Some("rlib" | "rmeta")) {
        let own = folder.join(stem.strip_prefix("lib").unwrap_or(stem)).with_extension("d");
        return if own.is_file() { vec![own] } else { vec![] };
    }
    let crates = folder.ancestors().nth(2).map(|around| around.join("deps"));
    let entries = [folder.to_owned()]
        .into_iter()
        .chain(crates)
        .filter_map(|folder| folder.read_dir_utf8().ok());
    let files = entries.flatten().flatten().map(camino::Utf8DirEntry::into_path);
    files.filter(|file| file.extension() == Some("d") && file.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rustc::{args::RustcArgs, tool::Tool},
        unit::work::Work,
    };

    #[test]
    fn a_variable_that_names_the_package_is_baked_in() {
        let args = RustcArgs::parse(vec![]);
        let work = Work::Compile { tool: Tool::Rustc, args, out_dir: "/t".into() };
        let mut unit = Unit::new(work, "/w".into(), "/w/p".into());
        let values = [
            ("DIR", "/w/p"),
            ("LIST", "-L/x -I/home/registry/src/r/c/include"),
            ("HOME", "/home"),
            ("N", "1"),
        ];
        unit.env.extend(values.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let text = "a.d: b\n\n# env-dep:DIR=/elsewhere\n# env-dep:LIST=x\n# env-dep:HOME=/home\n# \
                    env-dep:N=1\n# env-dep:UNSET\n";
        let names = variables(&unit, text, Utf8Path::new("/home"));
        assert_eq!(names, ["DIR", "LIST"].map(str::to_owned).into());
        let mut baked = Baked::default();
        baked.add(&unit, &BTreeSet::from(["DIR".to_owned(), "GONE".to_owned()]));
        assert_eq!((baked.code, baked.macros), (BTreeSet::from(["/w/p".into()]), BTreeSet::new()));
    }

    #[test]
    fn what_others_made_is_known_by_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let deps = root.join("debug/deps");
        for folder in ["debug/deps", "debug/build/p-1", "package", "other"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for name in ["package", "other"] {
            fs::write(
                deps.join(format!("{name}-1.d")),
                format!("x: y\n\n# env-dep:A={root}/{name}\n# env-dep:B=/\n"),
            )
            .unwrap();
        }
        let of = |path: &Utf8Path, text: String| of_unknown(path, text.as_bytes()).unwrap();
        let package = BTreeSet::from([root.join("package")]);
        for (file, is_linked) in
            [("deps/libpackage-1.rlib", false), ("deps/libm-1.so", true), ("build/p-1/b", false)]
        {
            let baked = of(&root.join("debug").join(file), format!("x{root}/packagey"));
            assert_eq!(baked.code, package, "{file}");
            assert_eq!(baked.macros.is_empty(), !is_linked, "{file}");
        }
        assert_eq!(of(&deps.join("libother-1.rlib"), format!("{root}/package")), Baked::default());
        assert_eq!(of(&deps.join("libnone-1.rlib"), String::new()), Baked::default());
    }
}
