//! What a package of the workspace sets for itself, in `[package.metadata.green]`: each key adds to
//! a list of packages, or of things with a package's name before them.

use anyhow::{Result, anyhow};
use toml::de::DeTable;

use crate::{
    config::{
        files::file::{Entry, Lines, mistake, text},
        table::{Kind, MEMBER_KEYS},
    },
    util::spelling,
};

/// Reads the table of a package, a part of a manifest's text; an error begins with the line that it
/// is about.
pub fn parse(manifest: &str, table: &DeTable<'_>, package: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let (key, line) = (key.get_ref(), Lines(manifest).of(key.span().start));
        let Some(known) = MEMBER_KEYS.iter().find(|known| known.key == key.as_ref()) else {
            let keys = MEMBER_KEYS.iter().map(|known| known.key);
            let hint = match spelling::nearest(key, keys.clone(), 3) {
                Some(nearest) => format!("is `{nearest}` meant?"),
                None => format!(
                    "a package has {}; all others are of [workspace.metadata.green]",
                    keys.collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(anyhow!(
                "{line}: no setting of a package is called `{key}` (hint: {hint})"
            ));
        };
        let value = text(known.kind, value.get_ref());
        let value = value.ok_or_else(|| mistake(line, key, known.kind))?;
        let value = match (known.kind, value.as_str()) {
            (Kind::Switch, "1") => package.to_owned(),
            (Kind::List, items) if !items.is_empty() => {
                let items = items.split(',').map(|item| format!("{package}:{item}"));
                items.collect::<Vec<_>>().join(",")
            }
            _ => continue,
        };
        entries.push(Entry { name: known.name.to_owned(), value, line });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<String>> {
        let table = DeTable::parse(text).unwrap();
        let entries = parse(text, table.get_ref(), "p")?;
        let shown = |Entry { name, value, line }: &Entry| format!("{name}={value} {line}");
        let mut shown: Vec<String> = entries.iter().map(shown).collect();
        shown.sort();
        Ok(shown)
    }

    #[test]
    fn a_package_is_added_to_lists() {
        let text = "set-envs = [\"A\", \"B\"]\nlocal-script = true\nallow-writes = true\n";
        let expected = [
            "RUSTCBUILDX_ALLOW_WRITES=p 3",
            "RUSTCBUILDX_LOCAL_SCRIPTS=p 2",
            "RUSTCBUILDX_SET_ENVS=p:A,p:B 1",
        ];
        assert_eq!(parsed(text).unwrap(), expected);
        assert!(parsed("set-envs = []\nlocal-script = false\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_concern_of_a_package_is_refused() {
        let case = |text: &str, expected: &str| {
            let error = parsed(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        case(
            "\nlocal-scripts = true",
            "2: no setting of a package is called `local-scripts` (hint: is `local-script` meant?)",
        );
        case(
            "runner = \"none\"",
            "1: no setting of a package is called `runner` (hint: a package has ",
        );
        case("local-script = 1", "1: the value of `local-script` is not a switch");
        case("set-envs = \"A\"", "1: the value of `set-envs` is not a list");
    }
}
