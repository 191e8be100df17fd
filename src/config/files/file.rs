//! One file of settings: what its text says, and in which lines.

use std::collections::BTreeMap;

use anyhow::{Error, Result, anyhow, bail};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    config::table::{Kind, has_keys_below, keys_like, of_key},
    util::{quote, spelling},
};

/// A value that a file has for a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The setting's variable.
    pub name: String,
    /// As the variable has it.
    pub value: String,
    pub line: usize,
}

/// Settings that hold together where they are asked for by a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The profile whose settings hold where this one has none, and in which line it is named.
    pub inherits: Option<(String, usize)>,
    pub entries: Vec<Entry>,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct File {
    pub entries: Vec<Entry>,
    pub profiles: BTreeMap<String, Profile>,
    /// Files below this one, in their order, and in which line each is named.
    pub includes: Vec<(String, usize)>,
}

pub(super) const PROFILE: &str = "profile";
pub(super) const INHERITS: &str = "inherits";
pub(super) const INCLUDE: &str = "include";
/// So many letters are wrong at most where a name was meant.
const FAR: usize = 3;

/// Reads a file's text; an error begins with the line that it is about.
pub fn parse(text: &str) -> Result<File> {
    let lines = Lines(text);
    let table = DeTable::parse(text).map_err(|error| {
        let line = lines.of(error.span().map_or(0, |span| span.start));
        anyhow!("{line}: not TOML: {}", error.message())
    })?;
    lines.file(table.get_ref())
}

/// Reads a table that is a part of a file's text, such as one of a manifest.
pub fn parse_table(text: &str, table: &DeTable<'_>) -> Result<File> {
    Lines(text).file(table)
}

/// A table that lies in others, such as one of a manifest; `None` if it is not there.
pub fn table_at<'t, 'd>(
    text: &str,
    table: &'t DeTable<'d>,
    path: &[&str],
) -> Result<Option<&'t DeTable<'d>>> {
    let mut inner = table;
    for (at, name) in path.iter().enumerate() {
        let Some((key, value)) = inner.get_key_value(*name) else { return Ok(None) };
        inner = match value.get_ref() {
            DeValue::Table(table) => table,
            // Cargo says what is wrong with all above.
            _ if at + 1 < path.len() => return Ok(None),
            _ => bail!("{}: `{name}` is no table", Lines(text).of(key.span().start)),
        };
    }
    Ok(Some(inner))
}

/// A text, of which parts are known by their places.
pub(super) struct Lines<'t>(pub &'t str);

impl Lines<'_> {
    pub fn of(&self, place: usize) -> usize {
        let before = &self.0.as_bytes()[..place.min(self.0.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn file(&self, table: &DeTable<'_>) -> Result<File> {
        let mut file = File::default();
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                (PROFILE, DeValue::Table(profiles)) => {
                    for (name, profile) in profiles {
                        let profile = self.profile(name, profile)?;
                        file.profiles.insert(name.get_ref().to_string(), profile);
                    }
                }
                (PROFILE, _) => {
                    let line = self.of(value.span().start);
                    bail!("{line}: `{PROFILE}` is no table (hint: [{PROFILE}.NAME])");
                }
                (INCLUDE, _) => {
                    let line = self.of(value.span().start);
                    let paths = strings(value.get_ref()).ok_or_else(|| {
                        anyhow!(
                            "{line}: `{INCLUDE}` is not a list of files (hint: [\"team.toml\"])"
                        )
                    })?;
                    file.includes.extend(paths.into_iter().map(|path| (path, line)));
                }
                _ => self.add("", key, value, &[PROFILE, INCLUDE], &mut file.entries)?,
            }
        }
        Ok(file)
    }

    fn profile(&self, name: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<Profile> {
        let DeValue::Table(table) = value.get_ref() else {
            let line = self.of(value.span().start);
            return Err(anyhow!("{line}: the profile `{}` is no table", name.get_ref()));
        };
        let mut profile = Profile::default();
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                (INHERITS, DeValue::String(other)) => {
                    profile.inherits = Some((other.to_string(), self.of(key.span().start)));
                }
                (INHERITS, _) => {
                    let line = self.of(value.span().start);
                    bail!("{line}: `{INHERITS}` is not a profile's name (hint: \"base\")");
                }
                _ => self.add("", key, value, &[INHERITS], &mut profile.entries)?,
            }
        }
        Ok(profile)
    }

    /// Adds what a key below others sets, or all below it.
    fn add(
        &self,
        above: &str,
        key: &Key<'_>,
        value: &Spanned<DeValue<'_>>,
        also: &[&str],
        entries: &mut Vec<Entry>,
    ) -> Result<()> {
        let name = format!("{above}{}", key.get_ref());
        let line = self.of(key.span().start);
        let Some((var, variable)) = of_key(&name) else {
            if let DeValue::Table(table) = value.get_ref()
                && has_keys_below(&name)
            {
                let below = format!("{name}.");
                let mut keys = table.iter();
                return keys
                    .try_for_each(|(key, value)| self.add(&below, key, value, &[], entries));
            }
            return Err(anyhow!(
                "{line}: no setting is called `{name}` (hint: {})",
                hint(&name, also)
            ));
        };
        let value =
            text(var.kind, value.get_ref()).ok_or_else(|| mistake(line, &name, var.kind))?;
        entries.push(Entry { name: variable, value, line });
        Ok(())
    }
}

/// What to say of a value of another kind.
pub(super) fn mistake(line: usize, name: &str, kind: Kind) -> Error {
    let (is, hint) = match kind {
        Kind::Switch => ("a switch", "true or false"),
        Kind::Text | Kind::Path | Kind::TextOrPath => ("a text", "between quotation marks"),
        Kind::List => ("a list of texts", "[\"one\", \"two\"]"),
        Kind::Pairs => ("a table of texts", "{ NAME = \"value\" }"),
        Kind::Variable => ("in files", "set its variable"),
    };
    anyhow!("{line}: the value of `{name}` is not {is} (hint: {hint})")
}

pub(super) type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

fn hint(name: &str, also: &[&str]) -> String {
    let keys = keys_like(name).chain(also.iter().map(ToString::to_string));
    match spelling::nearest(name, keys, FAR) {
        Some(nearest) => format!("is `{nearest}` meant?"),
        None => "`rustcbuildx env` shows all settings".to_owned(),
    }
}

/// A value as its variable has it; `None` if it is of another kind.
pub(super) fn text(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match (kind, value) {
        (Kind::Switch, DeValue::Boolean(is_on)) => Some(u8::from(*is_on).to_string()),
        (Kind::Text | Kind::Path | Kind::TextOrPath, DeValue::String(text)) => {
            Some(text.to_string())
        }
        (Kind::Pairs, DeValue::Table(table)) => {
            let word = |(name, value): (&Key<'_>, &Spanned<DeValue<'_>>)| match value.get_ref() {
                DeValue::String(value) => Some(format!("{}={value}", name.get_ref())),
                _ => None,
            };
            let pairs: Option<Vec<String>> = table.iter().map(word).collect();
            Some(quote::words(&pairs?))
        }
        (Kind::List, _) => {
            let items = strings(value)?;
            // They separate items.
            let is_whole = |item: &String| !item.contains([',', ' ']);
            items.iter().all(is_whole).then(|| items.join(","))
        }
        _ => None,
    }
}

fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    let DeValue::Array(items) = value else { return None };
    let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    items.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::{NAME, of_files};

    fn entry(name: &str, value: &str, line: usize) -> Entry {
        Entry { name: name.to_owned(), value: value.to_owned(), line }
    }

    #[test]
    fn values_become_those_of_variables() {
        let text = "store-size = \"5GB\"\nstrict = true\nenabled = false\n\n\
                    set-envs = [\"A\", \"p:B\"]\n\"runner\" = 'podman'\n";
        let mut entries = parse(text).unwrap().entries;
        entries.sort_by_key(|entry| entry.line);
        let expected = [
            entry("RUSTCBUILDX_STORE_SIZE", "5GB", 1),
            entry("RUSTCBUILDX_STRICT", "1", 2),
            entry("RUSTCBUILDX", "0", 3),
            entry("RUSTCBUILDX_SET_ENVS", "A,p:B", 5),
            entry("RUSTCBUILDX_RUNNER", "podman", 6),
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn profiles_and_includes_are_no_settings() {
        let text = "include = [\"team.toml\"]\n[profile.ci]\ninherits = \"base\"\nstrict = true\n";
        let file = parse(text).unwrap();
        assert_eq!(file.includes, [("team.toml".to_owned(), 1)]);
        assert!(file.entries.is_empty());
        let profile = &file.profiles["ci"];
        assert_eq!(profile.inherits, Some(("base".to_owned(), 3)));
        assert_eq!(profile.entries, [entry("RUSTCBUILDX_STRICT", "1", 4)]);
    }

    #[test]
    fn every_setting_can_be_in_a_file() {
        for var in of_files() {
            let value = match var.kind {
                Kind::Switch => "true",
                Kind::Text | Kind::Path | Kind::TextOrPath => "\"x\"",
                Kind::List => "[\"x\"]",
                Kind::Pairs => "{ A = \"x\" }",
                Kind::Variable => unreachable!(),
            };
            let (key, variable) = (var.key().replace(NAME, "x-1"), var.name.replace(NAME, "X_1"));
            for text in [format!("{key} = {value}"), format!("[profile.p]\n{key} = {value}")] {
                let file = parse(&text).unwrap();
                let profiles = file.profiles.values().flat_map(|profile| &profile.entries);
                let names: Vec<_> =
                    file.entries.iter().chain(profiles).map(|entry| &entry.name).collect();
                assert_eq!(names, [&variable]);
            }
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let case = |text: &str, expected: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        case("\n= 1", "2: not TOML: ");
        case("a = [1\n\nb = 2", "3: not TOML: ");
        case("strict = true\nstrict = true", "2: not TOML: ");
        case(
            "\nstor-size = \"1GB\"",
            "2: no setting is called `stor-size` (hint: is `store-size` meant?)",
        );
        case("profile = 1", "1: `profile` is no table (hint: [profile.NAME])");
        case("[profile.a]\ninherits = 1", "2: `inherits` is not a profile's name (hint: \"base\")");
        case("inclde = []", "1: no setting is called `inclde` (hint: is `include` meant?)");
        case(
            "[image]\nat = []",
            "2: no setting is called `image.at` (hint: is `image.apt` meant?)",
        );
        case(
            "[remote.team]\nmod = \"read\"",
            "2: no setting is called `remote.team.mod` (hint: is `remote.team.mode` meant?)",
        );
        case("remote.My_Team.url = \"x\"", "1: no setting is called `remote.My_Team.url`");
        case("[image]\nenv = { A = 1 }", "2: the value of `image.env` is not a table of texts");
        case(
            "[other-table]\nx = 1",
            "1: no setting is called `other-table` (hint: `rustcbuildx env` shows all",
        );
        case("\nstrict = 1", "2: the value of `strict` is not a switch (hint: true or false)");
        case("store-size = 5", "1: the value of `store-size` is not a text (hint: between");
        case("set-envs = \"A\"", "1: the value of `set-envs` is not a list of texts");
        case("set-envs = [\"A B\"]", "1: the value of `set-envs` is not a list of texts");
        case("\n\ninclude = \"x\"", "3: `include` is not a list of files");
        case("[profile]\nci = 1", "2: the profile `ci` is no table");
        case(
            "[profile.ci]\ninherit = \"x\"",
            "2: no setting is called `inherit` (hint: is `inherits`",
        );
        case("[profile.ci]\nstrict = \"x\"", "2: the value of `strict` is not a switch");
    }
}
