//! The lock file of a workspace: what the names of images stand for, whatever their tags do.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use toml::de::{DeTable, DeValue};

use crate::config::files::file::Lines;

/// Where it is in a workspace.
pub const LOCK: &str = ".config/rustcbuildx.lock";
/// By this name, the settings of files have its text.
pub const LOCKED: &str = "images.locked";

const TABLE: &str = "images";
const HEAD: &str = "# What the names of images stand for. `rustcbuildx pull --lock` writes this.\n";

/// The digests of images by their names; an error begins with the line that it is about.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let lines = Lines(text);
    let line = |place: usize| lines.of(place);
    let table = DeTable::parse(text).map_err(|error| {
        anyhow!(
            "{}: not TOML: {}",
            line(error.span().map_or(0, |span| span.start)),
            error.message()
        )
    })?;
    let mut images = BTreeMap::new();
    for (key, value) in table.get_ref() {
        let at = line(key.span().start);
        let DeValue::Table(table) = value.get_ref() else { bail!("{at}: {HINT}") };
        if key.get_ref() != TABLE {
            bail!("{at}: {HINT}");
        }
        for (name, digest) in table {
            let at = line(name.span().start);
            let digest = digest.get_ref().as_str().filter(|digest| is_digest(digest));
            let Some(digest) = digest else { bail!("{at}: {HINT}") };
            images.insert(name.get_ref().to_string(), digest.to_owned());
        }
    }
    Ok(images)
}

const HINT: &str =
    "not what `rustcbuildx pull --lock` writes (hint: remove the file, and let it write another)";

/// The file's text.
pub fn encode(images: &BTreeMap<String, String>) -> String {
    let lines = images.iter().map(|(name, digest)| format!("\"{name}\" = \"{digest}\"\n"));
    format!("{HEAD}[{TABLE}]\n{}", lines.collect::<String>())
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let images: BTreeMap<String, String> = ["localhost:5000/rust:1-slim", "b"]
            .map(|name| (name.to_owned(), digest.clone()))
            .into();
        assert_eq!(parse(&encode(&images)).unwrap(), images);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_it_did_not_write_is_told_with_its_line() {
        for (text, line) in [
            ("[images]\n\"a\" = \"sha256:0\"", "2: not what"),
            ("[images]\na = 1", "2: not what"),
            ("\n[other]\n", "2: not what"),
            ("version = 1", "1: not what"),
            ("[images", "1: not TOML"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(line), "{error}");
        }
    }
}
