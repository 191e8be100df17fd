//! The settings of files, for one location: found once, and remembered until a file changes.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::{
    config::{
        env::Env,
        files::{
            cargo::{self, LINKERS},
            file,
            layers::Layers,
            located::{At, Located},
            location::{Location, Workspace},
            lock::{self, LOCK, LOCKED},
            member,
        },
        remotes,
        table::{Kind, is_path, var},
    },
    snapshot::{
        digests::{is_settled, now},
        scan::Stamp,
    },
    util::{digest::digest, state_dir::Cache},
};

/// For all users of a machine.
const SYSTEM: &str = "/etc/rustcbuildx/config.toml";
/// In the user's folder of configuration.
const USER: &str = "rustcbuildx/config.toml";
/// In a workspace.
const WORKSPACE: &str = ".config/rustcbuildx.toml";
/// Where manifests have them, below `metadata`.
const TABLE: &str = "green";
/// The variable that names a profile.
const PROFILE: &str = "RUSTCBUILDX_PROFILE";
/// The profile that holds where [`IN_CI`] is set.
const CI: &str = "ci";
const IN_CI: &str = "CI";

/// What was found, and what of it was looked at.
#[derive(Serialize, Deserialize)]
struct Record {
    paths: Vec<Utf8PathBuf>,
    stamps: String,
    settings: BTreeMap<String, Located>,
}

/// The environment with the settings of files, of which those hold that no variable sets.
pub fn with_files(env: Env, location: Option<&Location>) -> Result<Env> {
    let env = with_settings(env, location)?;
    let domain = remotes::domain(&env)?;
    Ok(env.with_domain(domain))
}

fn with_settings(env: Env, location: Option<&Location>) -> Result<Env> {
    let cache = env.cache_dir().and_then(Cache::open).ok();
    let name = name_of(&env, location);
    let record = cache.as_ref().and_then(|cache| cache.read::<Record>(&name));
    if let Some(record) = record.filter(|record| stamps(&record.paths).0 == record.stamps) {
        return Ok(env.with_files(record.settings, record.paths));
    }
    let began = now();
    let (paths, settings) = found(&env, location, Utf8Path::new(SYSTEM))?;
    let (stamps, latest) = stamps(&paths);
    // What is put in a file's place may have been written long ago.
    if let (Some(cache), true) = (cache, is_settled(latest, began)) {
        let record = Record { paths: paths.clone(), stamps, settings: settings.clone() };
        // Whoever comes next finds the same, but more slowly.
        let written = cache.write(&name, &record);
        written.unwrap_or_else(|error| log::warn!("{error:#}"));
    }
    Ok(env.with_files(settings, paths))
}

/// Where a record is: what else than files decides is in its name.
fn name_of(env: &Env, location: Option<&Location>) -> String {
    let variable = |name: &str| env.get(name).unwrap_or_default().to_owned();
    let folder = |path: Result<Utf8PathBuf>| path.map_or(String::new(), Utf8PathBuf::into_string);
    let (user, cargo) = (folder(env.config_dir()), folder(env.cargo_home()));
    let location = location.map(|location| location.identity().join("\0")).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let (profile, in_ci) = (variable(PROFILE), variable(IN_CI));
    format!("settings/{}", digest([version, profile, in_ci, user, cargo, location]))
}

/// All that was looked at, and the settings of files.
fn found(
    env: &Env,
    location: Option<&Location>,
    system: &Utf8Path,
) -> Result<(Vec<Utf8PathBuf>, BTreeMap<String, Located>)> {
    let (mut layers, mut locked) = (Layers::default(), None);
    layers.add(system)?;
    if let Ok(folder) = env.config_dir() {
        layers.add(&folder.join(USER))?;
    }
    if let Some(location) = location {
        layers.looked_at.extend(location.manifests());
        let cargo_home = env.cargo_home().ok();
        // What was downloaded configures nothing, wherever cargo runs.
        let is_own =
            |workspace: &Workspace| cargo_home.is_none_or(|home| !workspace.root.starts_with(home));
        if let Some(workspace) = location.workspace(env).filter(is_own) {
            add_workspace(&workspace, &mut layers)?;
            locked = read_lock(workspace.root.join(LOCK), &mut layers)?;
        }
    }
    let is_in_ci = env.get(IN_CI).is_some_and(|value| !["", "0", "false"].contains(&value));
    let profile = match env.get(PROFILE).filter(|name| !name.is_empty()) {
        Some(name) => Some(name),
        None => Some(CI).filter(|name| is_in_ci && layers.has_profile(name)),
    };
    let mut settings = layers.merged(profile)?;
    settings.extend(locked.map(|locked| (LOCKED.to_owned(), locked)));
    let files =
        location.map(|location| cargo::files(location.folder(), env.cargo_home().ok().as_deref()));
    for file in files.unwrap_or_default() {
        let linkers = fs::read_to_string(&file).ok().and_then(|text| cargo::linkers(&file, &text));
        if let Some(linkers) = linkers {
            let all = settings.entry(LINKERS.to_owned());
            all.and_modify(|all| all.extend(&linkers)).or_insert(linkers);
        }
        layers.looked_at.push(file);
    }
    let named = settings.iter().filter_map(|(name, located)| {
        let kind = var(name)?.kind;
        let is_named = kind == Kind::TextOrPath && is_path(&located.value);
        is_named.then(|| Utf8PathBuf::from(&located.value))
    });
    let mut paths = layers.looked_at;
    paths.extend(named);
    // A file of two names can be written to by both.
    let real: Vec<_> = paths.iter().filter_map(|path| path.canonicalize_utf8().ok()).collect();
    paths.extend(real);
    paths.sort();
    paths.dedup();
    Ok((paths, settings))
}

/// The text of a lock file, if there is one.
fn read_lock(path: Utf8PathBuf, layers: &mut Layers) -> Result<Option<Located>> {
    let Some(value) = layers.text_of(&path)? else { return Ok(None) };
    lock::parse(&value).with_context(|| format!("failed to read `{path}`"))?;
    Ok(Some(Located { value, at: vec![At { file: path, line: 1 }] }))
}

fn add_workspace(workspace: &Workspace, layers: &mut Layers) -> Result<()> {
    let own = workspace.root.join(WORKSPACE);
    let manifest = Manifest::read(workspace.root.join("Cargo.toml"));
    let in_manifest = manifest.settings("workspace", file::parse_table)?;
    match in_manifest {
        None => layers.add(&own)?,
        Some(_) if own.exists() => bail!(
            "failed to read `{own}`: `{}` has settings of the workspace, too, in \
             [workspace.metadata.green] (hint: keep one of them)",
            manifest.path
        ),
        Some(file) => {
            layers.add_parsed(&manifest.path, file, &mut vec![manifest.path.clone()])?;
        }
    }
    // Which packages are members is told by their manifests, and by the lock file, which names all.
    layers.looked_at.extend([manifest.path, own, workspace.root.join("Cargo.lock")]);
    for member in &workspace.members {
        let manifest = Manifest::read(member.manifest.clone());
        let entries =
            manifest.settings("package", |text, table| member::parse(text, table, &member.name))?;
        layers.add_member(&manifest.path, entries.unwrap_or_default());
        layers.looked_at.push(manifest.path);
    }
    Ok(())
}

/// A manifest's text. Of one that is not there or no TOML, cargo says what is wrong.
struct Manifest {
    path: Utf8PathBuf,
    text: String,
}

impl Manifest {
    fn read(path: Utf8PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self { path, text }
    }

    /// What is in `[OWNER.metadata.green]`, if that is there.
    fn settings<T>(
        &self,
        owner: &str,
        parse: impl FnOnce(&str, &DeTable<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        // Most have none, and to search is faster than to parse.
        let Some(table) =
            self.text.contains(TABLE).then(|| DeTable::parse(&self.text).ok()).flatten()
        else {
            return Ok(None);
        };
        let found = file::table_at(&self.text, table.get_ref(), &[owner, "metadata", TABLE]);
        let parsed =
            found.and_then(|table| table.map(|table| parse(&self.text, table)).transpose());
        parsed.with_context(|| format!("failed to read `{}`", self.path))
    }
}

/// What tells whether files changed, and when the last of them did.
fn stamps(paths: &[Utf8PathBuf]) -> (String, i64) {
    let mut latest = 0;
    let stamps = paths.iter().map(|path| match fs::metadata(path) {
        Ok(data) => {
            let stamp = Stamp::of(&data);
            latest = latest.max(stamp.latest());
            format!("{path}\0{stamp:?}")
        }
        Err(_) => format!("{path}\0nothing"),
    });
    (digest(stamps), latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::{NAME, Var, of_files};

    /// What cargo downloaded has no settings, so it matters where that is.
    #[test]
    fn a_record_is_of_one_cargo_home() {
        let name = |home: &str| name_of(&Env::with(&[("CARGO_HOME", home)]), None);
        assert_eq!(name("/a"), name("/a"));
        assert_ne!(name("/a"), name("/b"));
    }

    #[test]
    fn a_file_is_looked_at_by_each_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("real/team.toml"), "strict = true\n").unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let system = root.join("config.toml");
        fs::write(&system, "include = [\"link/team.toml\"]\n").unwrap();
        let env = Env::with(&[("XDG_CONFIG_HOME", root.join("none").as_str())]);
        let (paths, settings) = found(&env, None, &system).unwrap();
        assert_eq!(settings["RUSTCBUILDX_STRICT"].value, "1");
        for name in ["config.toml", "link/team.toml", "real/team.toml"] {
            assert_eq!(paths.iter().filter(|path| **path == root.join(name)).count(), 1, "{name}");
        }
    }

    /// Else a build would go on with whatever image a tag stands for by now.
    #[test]
    fn a_lock_file_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("lock");
        let read = || read_lock(path.clone(), &mut Layers::default());
        assert!(read().unwrap().is_none());
        fs::write(&path, b"[images]\n# \xff\n").unwrap();
        assert!(read().unwrap_err().to_string().starts_with("failed to read `"));
    }

    /// A line of TOML for each setting; `mark` is a part of those that are texts.
    fn all_settings(mark: &str) -> String {
        let line = |var: &Var| {
            let value = match var.kind {
                Kind::Switch => "true".to_owned(),
                Kind::List => format!("[\"{mark}\"]"),
                Kind::Pairs => format!("{{ MARK = \"{mark}\" }}"),
                Kind::Text | Kind::Path | Kind::TextOrPath => format!("\"{mark}\""),
                Kind::Variable => unreachable!("files have none"),
            };
            format!("{} = {value}\n", var.key().replace(NAME, "x"))
        };
        of_files().map(line).collect()
    }

    /// Each setting may stand in each file, and the highest that has it decides.
    #[test]
    fn every_key_comes_from_every_layer() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let (system, user) = (root.join("system.toml"), root.join("user/rustcbuildx/config.toml"));
        let (own, manifest) = (root.join("w/.config/rustcbuildx.toml"), root.join("w/Cargo.toml"));
        for file in [&system, &user, &own, &manifest, &root.join("w/src/lib.rs")] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let package = "[package]\nname = \"w\"\nversion = \"0.0.0\"\nedition = \"2021\"\n";
        fs::write(&manifest, package).unwrap();
        let env = Env::with(&[
            ("XDG_CONFIG_HOME", root.join("user").as_str()),
            ("CARGO_HOME", root.join("cargo").as_str()),
            ("HOME", root.as_str()),
        ]);
        let location = Location::of_command(&root.join("w"), &[]);
        let comes_from = |file: &Utf8Path| {
            let (_, settings) = found(&env, Some(&location), &system).unwrap();
            assert_eq!(settings.len(), of_files().count(), "{file}");
            for (name, located) in settings {
                assert_eq!(located.at[0].file, file, "{name}");
            }
        };
        for file in [&system, &user, &own] {
            fs::write(file, all_settings("x")).unwrap();
            comes_from(file);
        }
        fs::remove_file(&own).unwrap();
        comes_from(&user);
        let table = format!("{package}[workspace]\n[workspace.metadata.green]\n");
        fs::write(&manifest, table + &all_settings("x")).unwrap();
        comes_from(&manifest);
    }
}
