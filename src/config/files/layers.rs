//! The files of settings, from the lowest to the highest, and what they set together.

use std::{collections::BTreeMap, fs, io};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::{
        files::{
            file::{self, Entry, File},
            located::{At, Located},
        },
        table::{Kind, is_path, var},
    },
    util::spelling,
};

/// Files of settings, each above those before it. What a file includes is right below it.
#[derive(Debug, Default)]
pub struct Layers {
    files: Vec<(Utf8PathBuf, File)>,
    /// What packages of the workspace add to lists, for themselves.
    members: Vec<(Utf8PathBuf, Vec<Entry>)>,
    /// All that was looked for, there or not.
    pub looked_at: Vec<Utf8PathBuf>,
}

impl Layers {
    /// Adds a file, if it is there, and what it includes.
    pub fn add(&mut self, path: &Utf8Path) -> Result<()> {
        let Some(text) = self.text_of(path)? else { return Ok(()) };
        let file = file::parse(&text).with_context(|| format!("failed to read `{path}`"))?;
        self.add_parsed(path, file, &mut vec![path.to_owned()])
    }

    /// The text of a file that decides something; `None` if it is not there.
    pub fn text_of(&mut self, path: &Utf8Path) -> Result<Option<String>> {
        self.looked_at.push(path.to_owned());
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read `{path}`")),
        }
    }

    /// Adds what was read from a file, and what it includes. `above` are it and those that include
    /// it.
    pub fn add_parsed(
        &mut self,
        path: &Utf8Path,
        file: File,
        above: &mut Vec<Utf8PathBuf>,
    ) -> Result<()> {
        let folder = path.parent().unwrap_or(path);
        for (included, line) in &file.includes {
            let included = folder.join(included);
            let failed = || format!("failed to read `{included}`, which `{path}`:{line} includes");
            self.looked_at.push(included.clone());
            let text = fs::read_to_string(&included).with_context(failed)?;
            let real = included.canonicalize_utf8().with_context(failed)?;
            if above.iter().any(|above| above.canonicalize_utf8().is_ok_and(|above| above == real))
            {
                bail!("failed to read `{path}`:{line}: `{included}` includes itself");
            }
            let file =
                file::parse(&text).with_context(|| format!("failed to read `{included}`"))?;
            above.push(included.clone());
            self.add_parsed(&included, file, above)?;
            above.pop();
        }
        self.files.push((path.to_owned(), file));
        Ok(())
    }

    /// Adds what a package of the workspace has for itself.
    pub fn add_member(&mut self, manifest: &Utf8Path, entries: Vec<Entry>) {
        self.members.push((manifest.to_owned(), entries));
    }

    pub fn has_profile(&self, name: &str) -> bool {
        self.files.iter().any(|(_, file)| file.profiles.contains_key(name))
    }

    /// What they set, by the settings' variables: the highest file decides, above all files the
    /// profile, and packages add to that.
    pub fn merged(&self, profile: Option<&str>) -> Result<BTreeMap<String, Located>> {
        let mut merged = BTreeMap::<String, Located>::new();
        let located = |path: &Utf8PathBuf, entry: &Entry| {
            let at = At { file: path.clone(), line: entry.line };
            (entry.name.clone(), Located { value: value_in(path, entry), at: vec![at] })
        };
        let mut add = |path: &Utf8PathBuf, entries: &[Entry]| {
            merged.extend(entries.iter().map(|entry| located(path, entry)));
        };
        self.files.iter().for_each(|(path, file)| add(path, &file.entries));
        for name in self.chain(profile)? {
            for (path, file) in &self.files {
                if let Some(profile) = file.profiles.get(&name) {
                    add(path, &profile.entries);
                }
            }
        }
        for (path, entries) in &self.members {
            for (name, items) in entries.iter().map(|entry| located(path, entry)) {
                merged.entry(name).and_modify(|all| all.extend(&items)).or_insert(items);
            }
        }
        Ok(merged)
    }

    /// The profile of this name, after those that it inherits from.
    fn chain(&self, profile: Option<&str>) -> Result<Vec<String>> {
        let mut chain: Vec<String> = Vec::new();
        let mut next = profile.map(|name| (name.to_owned(), String::new()));
        while let Some((name, asked_for)) = next {
            if chain.contains(&name) {
                bail!("failed to use the profile `{name}`: it inherits from itself{asked_for}");
            }
            if !self.has_profile(&name) {
                let known = self.files.iter().flat_map(|(_, file)| file.profiles.keys());
                let hint = match spelling::nearest(&name, known, name.len()) {
                    Some(nearest) => format!("is `{nearest}` meant?"),
                    None => format!("write [profile.{name}]"),
                };
                bail!(
                    "failed to use the profile `{name}`: no file of settings has \
                     it{asked_for} (hint: {hint})"
                );
            }
            let inherits = self.files.iter().rev().find_map(|(path, file)| {
                let (name, line) = file.profiles.get(&name)?.inherits.as_ref()?;
                Some((name.clone(), format!(", by `{path}`:{line}")))
            });
            chain.push(name);
            next = inherits;
        }
        chain.reverse();
        Ok(chain)
    }
}

/// A value of a file; one that is a path is found from the file's folder.
fn value_in(file: &Utf8Path, Entry { name, value, .. }: &Entry) -> String {
    let is_path = match var(name).map(|var| var.kind) {
        Some(Kind::Path) => true,
        Some(Kind::TextOrPath) => is_path(value),
        _ => false,
    };
    match file.parent() {
        Some(folder) if is_path && !value.is_empty() => folder.join(value).into_string(),
        _ => value.clone(),
    }
}

/// Whether there is nothing at a path.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                fs::write(folder.path(name), text).unwrap();
            }
            folder
        }

        fn path(&self, name: &str) -> Utf8PathBuf {
            Utf8Path::from_path(self.0.path()).unwrap().join(name)
        }

        fn layers(&self, names: &[&str]) -> Result<Layers> {
            let mut layers = Layers::default();
            names.iter().try_for_each(|name| layers.add(&self.path(name)))?;
            Ok(layers)
        }

        #[track_caller]
        fn fails(&self, names: &[&str], profile: Option<&str>, expected: &str) {
            let error = self.layers(names).and_then(|layers| layers.merged(profile)).unwrap_err();
            let error = format!("{error:#}").replace(self.path("").as_str(), "");
            assert_eq!(error, expected);
        }
    }

    fn values(layers: &Layers, profile: Option<&str>) -> Vec<String> {
        let merged = layers.merged(profile).unwrap();
        let shown = |(name, Located { value, at }): (&String, &Located)| {
            let name = name.trim_start_matches("RUSTCBUILDX_");
            let at = at.iter().map(|at| format!(" {}:{}", at.file.file_name().unwrap(), at.line));
            format!("{name}={value}{}", at.collect::<String>())
        };
        merged.iter().map(shown).collect()
    }

    #[test]
    fn the_highest_file_decides() {
        let folder = Folder::new(&[
            ("low", "strict = true\nrunner = \"docker\"\n"),
            ("high", "include = [\"team\"]\nrunner = \"podman\"\n"),
            ("team", "\nleave = true\nrunner = \"none\"\n"),
        ]);
        let layers = folder.layers(&["low", "none", "high"]).unwrap();
        let expected = ["LEAVE=1 team:2", "RUNNER=podman high:2", "STRICT=1 low:1"];
        assert_eq!(values(&layers, None), expected);
        let names: Vec<_> = layers.looked_at.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["low", "none", "high", "team"]);
    }

    #[test]
    fn a_profile_is_above_all_files() {
        let folder = Folder::new(&[
            (
                "low",
                "[profile.ci]\nstrict = true\n[profile.base]\nleave = true\nrunner = \"none\"\n",
            ),
            ("high", "strict = false\n[profile.ci]\ninherits = \"base\"\nrunner = \"podman\"\n"),
        ]);
        let layers = folder.layers(&["low", "high"]).unwrap();
        assert_eq!(values(&layers, None), ["STRICT=0 high:1"]);
        let expected = ["LEAVE=1 low:4", "RUNNER=podman high:4", "STRICT=1 low:2"];
        assert_eq!(values(&layers, Some("ci")), expected);
        assert_eq!(values(&layers, Some("base")).len(), 3);
    }

    #[test]
    fn files_are_found_from_the_one_that_names_them() {
        let text = "timings = \"t.json\"\nlog-path = \"/l\"\nimage.dockerfile = \"RUN x\"\n\
                    [profile.p]\nimage.dockerfile = \"Dockerfile\"\n";
        let folder = Folder::new(&[]);
        fs::create_dir(folder.path("a folder")).unwrap();
        fs::write(folder.path("a folder/high"), text).unwrap();
        let layers = folder.layers(&["a folder/high"]).unwrap();
        let folder = folder.path("a folder");
        let value = |profile, name: &str| layers.merged(profile).unwrap()[name].value.clone();
        assert_eq!(value(None, "RUSTCBUILDX_TIMINGS"), folder.join("t.json"));
        assert_eq!(value(None, "RUSTCBUILDX_LOG_PATH"), "/l");
        assert_eq!(value(None, "RUSTCBUILDX_IMAGE_DOCKERFILE"), "RUN x");
        let file = value(Some("p"), "RUSTCBUILDX_IMAGE_DOCKERFILE");
        assert!(file == folder.join("Dockerfile") && is_path(&file));
    }

    #[test]
    fn members_add_to_lists() {
        let folder = Folder::new(&[("high", "set-envs = [\"A\"]\nlocal-scripts = []\n")]);
        let mut layers = folder.layers(&["high"]).unwrap();
        for (manifest, name, value) in [
            ("m/one", "RUSTCBUILDX_SET_ENVS", "one:B"),
            ("m/two", "RUSTCBUILDX_SET_ENVS", "two:C,two:D"),
            ("m/two", "RUSTCBUILDX_LOCAL_SCRIPTS", "two"),
            ("m/two", "RUSTCBUILDX_ALLOW_WRITES", "two"),
        ] {
            let entry = Entry { name: name.to_owned(), value: value.to_owned(), line: 5 };
            layers.add_member(manifest.into(), vec![entry]);
        }
        let expected = [
            "ALLOW_WRITES=two two:5",
            "LOCAL_SCRIPTS=two high:2 two:5",
            "SET_ENVS=A,one:B,two:C,two:D high:1 one:5 two:5",
        ];
        assert_eq!(values(&layers, None), expected);
    }

    #[test]
    fn mistakes_are_told_with_their_file() {
        let folder = Folder::new(&[
            ("bad", "\nstrct = true\n"),
            ("includes-bad", "include = [\"bad\"]\n"),
            ("includes-none", "\ninclude = [\"none\"]\n"),
            ("itself", "include = [\"other\"]\n"),
            ("other", "include = [\"./itself\"]\n"),
            ("circle", "[profile.a]\ninherits = \"b\"\n[profile.b]\ninherits = \"a\"\n"),
            ("lost", "[profile.a]\ninherits = \"bb\"\n"),
        ]);
        let hint = "2: no setting is called `strct` (hint: is `strict` meant?)";
        folder.fails(&["bad"], None, &format!("failed to read `bad`: {hint}"));
        folder.fails(&["includes-bad"], None, &format!("failed to read `bad`: {hint}"));
        folder.fails(
            &["includes-none"],
            None,
            "failed to read `none`, which `includes-none`:2 includes: No such file or directory (os \
             error 2)",
        );
        folder.fails(&["itself"], None, "failed to read `other`:1: `./itself` includes itself");
        folder.fails(
            &["circle"],
            Some("a"),
            "failed to use the profile `a`: it inherits from itself, by `circle`:4",
        );
        folder.fails(
            &["lost"],
            Some("a"),
            "failed to use the profile `bb`: no file of settings has it, by `lost`:2 (hint: is `a` \
             meant?)",
        );
        folder.fails(
            &[],
            Some("ci"),
            "failed to use the profile `ci`: no file of settings has it (hint: write [profile.ci])",
        );
        fs::create_dir(folder.path("folder")).unwrap();
        folder.fails(&["folder"], None, "failed to read `folder`: Is a directory (os error 21)");
    }

    proptest! {
        /// Whatever files have, and in whatever order a file has it: the highest decides, a profile
        /// is above all, and what is inherited is below that.
        #[test]
        fn settings_come_from_where_they_are_highest(
            files in vec(vec((0..3usize, 0..3usize, 0..9u8), 0..9), 1..4),
            is_reversed in any::<bool>(),
        ) {
            const TABLES: [&str; 3] = ["", "[profile.base]\n", "[profile.ci]\n"];
            const KEYS: [&str; 3] = ["runner", "syntax", "log"];
            // By table and key: of two values in one file, the last drawn stands.
            let mut texts = Vec::new();
            let mut expected = BTreeMap::new();
            let drawn: Vec<BTreeMap<(usize, usize), u8>> = files
                .iter()
                .map(|file| file.iter().map(|(table, key, value)| ((*table, *key), *value)).collect())
                .collect();
            for file in &drawn {
                let mut text = String::new();
                for (number, table) in TABLES.iter().enumerate() {
                    let mut lines: Vec<String> = file
                        .iter()
                        .filter(|((at, _), _)| *at == number)
                        .map(|((_, key), value)| format!("{} = \"{value}\"\n", KEYS[*key]))
                        .collect();
                    if is_reversed {
                        lines.reverse();
                    }
                    let inherits = if number == 2 { "inherits = \"base\"\n" } else { "" };
                    text += &format!("{table}{inherits}{}", lines.concat());
                }
                texts.push(text);
            }
            for table in 0..TABLES.len() {
                for file in &drawn {
                    let of_table = file.iter().filter(|((at, _), _)| *at == table);
                    expected.extend(of_table.map(|((_, key), value)| (*key, value.to_string())));
                }
            }
            let names: Vec<String> = (0..texts.len()).map(|number| number.to_string()).collect();
            let named: Vec<(&str, &str)> =
                names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
            let folder = Folder::new(&named);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let merged = folder.layers(&names).unwrap().merged(Some("ci")).unwrap();
            let found: BTreeMap<usize, String> = KEYS
                .iter()
                .enumerate()
                .filter_map(|(number, key)| {
                    let name = format!("RUSTCBUILDX_{}", key.to_uppercase());
                    Some((number, merged.get(&name)?.value.clone()))
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
