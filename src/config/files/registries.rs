//! Where packages come from, as a lock file of cargo's tells it.

use std::{collections::BTreeMap, fs::File};

use camino::Utf8Path;
use sha2::{Digest, Sha256};
use toml::de::{DeTable, DeValue};

use crate::util::digest::hex;

/// The packages of a lock file that come from registries, by name and version: which registry each
/// is from, and the check sum of its archive. What is in there from two registries is left out.
#[derive(Default)]
pub struct Registries {
    packages: BTreeMap<(String, String), Option<[String; 2]>>,
}

impl Registries {
    /// Reads the text of a lock file. What cannot be read is from no registry.
    pub fn parse(text: &str) -> Self {
        let mut registries = Self::default();
        let Ok(table) = DeTable::parse(text) else { return registries };
        let Some(DeValue::Array(packages)) = table.get_ref().get("package").map(|it| it.get_ref())
        else {
            return registries;
        };
        for package in packages.iter().filter_map(|package| package.get_ref().as_table()) {
            let field = |name: &str| package.get(name)?.get_ref().as_str().map(str::to_owned);
            let (Some(name), Some(version)) = (field("name"), field("version")) else { continue };
            let found = field("source").zip(field("checksum")).map(<[String; 2]>::from);
            let is_registry = |source: &str| source.contains("registry+") || is_sparse(source);
            let found = found.filter(|[source, _]| is_registry(source));
            registries.packages.entry((name, version)).and_modify(|it| *it = None).or_insert(found);
        }
        registries
    }

    /// The registry that cargo downloaded a package from which it unpacked to `folder`, below
    /// `registry/src` of its home folder. The archive beside that has to be the very one that the
    /// lock file names.
    ///
    /// Source: "Cargo Home" in cargo's documentation.
    pub fn of(&self, name: &str, version: &str, folder: &Utf8Path) -> Option<&str> {
        let key = (name.to_owned(), version.to_owned());
        let [registry, checksum] = self.packages.get(&key)?.as_ref()?;
        let (from, own) = (folder.parent()?, folder.file_name()?);
        let archives = from.parent()?.with_file_name("cache").join(from.file_name()?);
        let mut archive = File::open(archives.join(format!("{own}.crate"))).ok()?;
        let mut hasher = Sha256::new();
        std::io::copy(&mut archive, &mut hasher).ok()?;
        (hex(&hasher.finalize()) == *checksum).then_some(registry.as_str())
    }
}

fn is_sparse(source: &str) -> bool {
    source.starts_with("sparse+")
}

/// The registry that everybody can read: the one that this program's own dependencies come from.
pub fn is_public(registry: &str) -> bool {
    const OWN: &str = include_str!("../../../Cargo.lock");
    OWN.lines().any(|line| line.strip_prefix("source = ") == Some(&format!("\"{registry}\"")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_the_lock_file_names_is_of_a_registry() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap().join("registry");
        let folder = home.join("src/r-1/a-1.0.0");
        for path in [&folder, &home.join("cache/r-1")] {
            fs::create_dir_all(path).unwrap();
        }
        let archive = home.join("cache/r-1/a-1.0.0.crate");
        let checksum = hex(&Sha256::digest("archive"));
        let package = |source: &str| {
            format!(
                "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{source}\"\nchecksum = \
                 \"{checksum}\"\n"
            )
        };
        let lock = package("registry+x");
        let of = |lock: &str| Registries::parse(lock).of("a", "1.0.0", &folder).map(str::to_owned);
        assert_eq!(of(&lock), None, "there is no archive");
        fs::write(&archive, "archive").unwrap();
        assert_eq!(of(&lock).as_deref(), Some("registry+x"));
        assert_eq!(of(&package("sparse+x")).as_deref(), Some("sparse+x"));
        assert_eq!(of(&package("git+x")), None);
        assert_eq!(of(&format!("{lock}{}", package("registry+y"))), None, "it may be either");
        assert_eq!(of("[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n"), None, "it is a member");
        assert_eq!(of("not TOML"), None);
        fs::write(&archive, "another").unwrap();
        assert_eq!(of(&lock), None);
    }

    #[test]
    fn a_private_registry_is_not_public() {
        let own = Registries::parse(include_str!("../../../Cargo.lock"));
        let (_, found) = own.packages.iter().find(|((name, _), _)| name == "anyhow").unwrap();
        let [registry, _] = found.as_ref().unwrap();
        assert!(is_public(registry));
        for other in ["", "registry+", "sparse+https://registry.example/index/"] {
            assert!(!is_public(other), "{other}");
        }
    }
}
