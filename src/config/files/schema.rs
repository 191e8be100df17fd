//! A JSON schema of files of settings, for editors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::config::{
    files::file::{INCLUDE, INHERITS, PROFILE},
    table::{Kind, NAME, Var, of_files},
};

/// Source of the words: JSON Schema, draft 7, which editors of TOML read.
pub fn schema() -> Value {
    let mut profile = settings();
    profile.insert(INHERITS.to_owned(), json!({ "type": "string" }));
    let mut all = settings();
    all.insert(INCLUDE.to_owned(), texts());
    let profiles = json!({ "type": "object", "additionalProperties": object(profile) });
    all.insert(PROFILE.to_owned(), profiles);
    let mut schema = object(all);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "Settings of rustcbuildx".into();
    schema
}

/// What is in tables, by their names.
type Tables = BTreeMap<String, Map<String, Value>>;

fn settings() -> Map<String, Value> {
    let mut settings = Map::new();
    let (mut tables, mut named) = (Tables::new(), Tables::new());
    for var in of_files() {
        match var.key().split_once('.') {
            Some((table, key)) if key.starts_with(NAME) => {
                let key = key.trim_start_matches(NAME).trim_start_matches('.');
                named.entry(table.to_owned()).or_default().insert(key.to_owned(), described(var));
            }
            Some((table, key)) => {
                tables.entry(table.to_owned()).or_default().insert(key.to_owned(), described(var));
            }
            None => {
                settings.insert(var.key(), described(var));
            }
        }
    }
    let any_name = |keys| json!({ "type": "object", "additionalProperties": object(keys) });
    settings.extend(named.into_iter().map(|(name, keys)| (name, any_name(keys))));
    settings.extend(tables.into_iter().map(|(name, keys)| (name, object(keys))));
    settings
}

fn described(var: &Var) -> Value {
    let (mut described, default) = match var.kind {
        Kind::Switch => {
            (json!({ "type": "boolean" }), var.default.map(|default| (default == "1").into()))
        }
        Kind::List => (texts(), None),
        Kind::Pairs => {
            let text = json!({ "type": "string" });
            (json!({ "type": "object", "additionalProperties": text }), None)
        }
        Kind::Text | Kind::Path | Kind::TextOrPath | Kind::Variable => {
            (json!({ "type": "string" }), var.default.map(Value::from))
        }
    };
    described["description"] = var.doc.into();
    if let Some(default) = default {
        described["default"] = default;
    }
    described
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_a_file_may_have() {
        let schema = schema();
        let settings = &schema["properties"];
        for var in of_files() {
            let expected = match var.kind {
                Kind::Switch => "boolean",
                Kind::List => "array",
                Kind::Pairs => "object",
                Kind::Text | Kind::Path | Kind::TextOrPath | Kind::Variable => "string",
            };
            let of_profiles = &settings["profile"]["additionalProperties"]["properties"];
            for settings in [settings, of_profiles] {
                let described = match var.key().split_once('.') {
                    Some((table, key)) if key.starts_with(NAME) => {
                        let below = &settings[table]["additionalProperties"]["properties"];
                        &below[key.trim_start_matches(NAME).trim_start_matches('.')]
                    }
                    Some((table, key)) => &settings[table]["properties"][key],
                    None => &settings[var.key()],
                };
                assert_eq!(described["type"], expected, "{}", var.key());
            }
        }
        assert_eq!(settings["strict"]["default"], false);
        assert_eq!(settings["store-size"]["default"], "20GB");
        assert_eq!(settings["include"]["type"], "array");
        assert!(settings["profile-name"].is_null() && settings["inherits"].is_null());
    }
}
