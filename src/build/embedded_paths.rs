//! Whether an output embeds a path that only its unit's container had. Such a path leads nowhere
//! when the output runs, so its unit is compiled again with the user's own path.
//!
//! Debug information does not count, nor does the name of a C source file, which an assertion
//! prints: nobody opens those files when the program runs.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use camino::Utf8Path;
use memchr::memmem::Finder;
use object::{Object, ObjectSection, read::archive::ArchiveFile};
use walkdir::WalkDir;

/// Those of `sentinels`, each the beginning of such a path, that files below `root` contain.
pub fn find(root: &Utf8Path, sentinels: &[String]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    if sentinels.is_empty() || !root.exists() {
        return Ok(found);
    }
    let mut finders: Vec<(&String, Finder)> =
        sentinels.iter().map(|sentinel| (sentinel, Finder::new(sentinel.as_bytes()))).collect();
    for entry in WalkDir::new(root).sort_by_file_name() {
        if finders.is_empty() {
            break;
        }
        let entry = entry.with_context(|| format!("failed to read `{root}`"))?;
        let path = Utf8Path::from_path(entry.path()).context("an artifact's name is not UTF-8")?;
        let is_dep_info = path.extension() == Some("d");
        let (bytes, holds): (_, fn(&[u8], &Finder) -> bool) = match entry.file_type() {
            kind if kind.is_symlink() => (
                fs::read_link(path).map(|target| target.into_os_string().into_encoded_bytes()),
                holds_plainly,
            ),
            kind if kind.is_file() && !is_dep_info => (fs::read(path), holds),
            _ => continue,
        };
        let bytes = bytes.with_context(|| format!("failed to read `{path}`"))?;
        for (sentinel, _) in finders.extract_if(.., |(_, finder)| holds(&bytes, finder)) {
            log::info!("`{path}` holds `{sentinel}`");
            found.insert(sentinel.clone());
        }
    }
    Ok(found)
}

/// Looks into archives and object files part by part; a damaged one counts as plain bytes.
fn holds(bytes: &[u8], sentinel: &Finder) -> bool {
    if !holds_plainly(bytes, sentinel) {
        return false;
    }
    if let Ok(archive) = ArchiveFile::parse(bytes) {
        return archive.members().any(|member| {
            let data = member.and_then(|member| member.data(bytes));
            data.map_or(true, |data| holds(data, sentinel))
        });
    }
    match object::File::parse(bytes) {
        Ok(file) => file.sections().any(|section| {
            let is_debug = section.name().is_ok_and(|name| name.contains("debug_"));
            !is_debug && section.data().map_or(true, |data| holds_plainly(data, sentinel))
        }),
        Err(_) => true,
    }
}

fn holds_plainly(bytes: &[u8], sentinel: &Finder) -> bool {
    sentinel.find_iter(bytes).any(|at| !names_c_source(&bytes[at..]))
}

fn names_c_source(text: &[u8]) -> bool {
    let end = text
        .iter()
        .position(|byte| byte.is_ascii_control() || b"\"' ".contains(byte))
        .unwrap_or(text.len());
    let extension = text[..end].rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    [&b"c"[..], b"cc", b"cpp", b"cxx", b"h", b"hh", b"hpp", b"S", b"s", b"asm", b"inc"]
        .contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(name: &str, bytes: &[u8]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        fs::write(root.join(name), bytes).unwrap();
        let [sentinel, other] = ["/cargo-target/./", "/cargo-home/./"].map(str::to_owned);
        let found = find(root, &[sentinel.clone(), other]).unwrap();
        assert!(found.iter().all(|found| *found == sentinel));
        !found.is_empty()
    }

    #[test]
    fn a_path_in_use_is_a_leak() {
        assert!(embedded("gen.rs", b"const X: &str = \"/cargo-target/./out/data\";"));
        assert!(embedded("a", b"/cargo-target/./out"));
        assert!(!embedded("gen.rs", b"/cargo-target/out"));
        assert!(!embedded("a.d", b"a.o: /cargo-target/./out/data"));
        assert!(!embedded("a", b"assertion failed at \"/cargo-target/./out/x.c\""));
        assert!(!embedded("a", b"/cargo-target/./out/x.c\0"));
    }

    #[test]
    fn debug_information_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (source, object) = (dir.path().join("x.rs"), dir.path().join("x.o"));
        let compile = |text: &str| {
            fs::write(&source, text).unwrap();
            let mut rustc = std::process::Command::new("rustc");
            rustc.args(["--crate-type=lib", "-g", "--emit=obj", "-o"]).args([&object, &source]);
            rustc.arg(format!("--remap-path-prefix={}=/cargo-target/./d", dir.path().display()));
            assert!(rustc.status().unwrap().success());
            fs::read(&object).unwrap()
        };
        let sentinel = Finder::new("/cargo-target/./");
        let described = compile("#[inline(never)] pub fn f() -> u32 { 1 }");
        assert!(holds_plainly(&described, &sentinel) && !holds(&described, &sentinel));
        assert!(holds(&compile("#[used] static X: &str = \"/cargo-target/./e\";"), &sentinel));
    }
}
