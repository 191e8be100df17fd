//! `cargo green --config KEY=VALUE` with a key that is a setting's: above all that is set
//! elsewhere. All other keys are cargo's.

use anyhow::{Context, Result, bail};

use crate::{
    config::{
        files::file::{self, Entry},
        table::{keys_like, of_key},
    },
    util::spelling,
};

const CONFIG: &str = "--config";
/// So many letters are wrong at most where a setting's key was meant: more make it cargo's.
const FAR: usize = 2;

/// Takes the settings out of cargo's words, as variables with their values. `own` is how many of
/// the words are cargo's own.
pub fn split_off(words: &mut Vec<String>, own: usize) -> Result<Vec<(String, String)>> {
    let mut overrides = Vec::new();
    let (mut at, mut own) = (0, own);
    while at < own {
        let (given, count) = match words[at].strip_prefix(CONFIG) {
            Some("") if at + 1 < own => (words[at + 1].clone(), 2),
            Some(rest) if rest.starts_with('=') => (rest[1..].to_owned(), 1),
            _ => {
                at += 1;
                continue;
            }
        };
        let Some(entry) = setting(&given)? else {
            at += count;
            continue;
        };
        overrides.push((entry.name, entry.value));
        words.drain(at..at + count);
        own -= count;
    }
    Ok(overrides)
}

/// What `KEY=VALUE` sets; `None` if it is for cargo.
fn setting(given: &str) -> Result<Option<Entry>> {
    let Some((key, value)) = given.split_once('=') else { return Ok(None) };
    let key = key.trim();
    if of_key(key).is_none() {
        return match spelling::nearest(key, keys_like(key), FAR) {
            Some(nearest) => bail!(
                "failed to read `{CONFIG} {given}`: no setting is called `{key}` (hint: is \
                 `{nearest}` meant?)"
            ),
            None => Ok(None),
        };
    }
    let parsed = file::parse(&format!("{key} = {value}"));
    let file = parsed.with_context(|| {
        format!(
            "failed to read `{CONFIG} {given}` (hint: a text is between quotation marks, which \
                 a shell leaves between others: '{key}=\"…\"')"
        )
    })?;
    Ok(file.entries.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(words: &str) -> Result<(String, Vec<(String, String)>)> {
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let own = words.iter().position(|word| word == "--").unwrap_or(words.len());
        let overrides = split_off(&mut words, own)?;
        Ok((words.join(" "), overrides))
    }

    #[test]
    fn only_settings_are_parted() {
        let given = "--config strict=true build --config=store-size=\"1GB\" --config \
                     profile.dev.debug=0 --config x.toml -- --config leave=true";
        let (left, overrides) = parted(given).unwrap();
        assert_eq!(
            left,
            "build --config profile.dev.debug=0 --config x.toml -- --config leave=true"
        );
        let expected = [("RUSTCBUILDX_STRICT", "1"), ("RUSTCBUILDX_STORE_SIZE", "1GB")];
        assert_eq!(overrides, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parted("build --config").unwrap().0, "build --config");
    }

    #[test]
    fn mistakes_are_told() {
        let case = |words: &str, expected: &str| {
            let error = format!("{:#}", parted(words).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        case("--config strit=true", "no setting is called `strit` (hint: is `strict` meant?)");
        case("--config remote.team.mod=\"read\"", "(hint: is `remote.team.mode` meant?)");
        case("--config strict=1", "`--config strict=1`");
        case("--config strict=1", "is not a switch (hint: true or false)");
        case("--config store-size=1GB", "between quotation marks");
    }
}
