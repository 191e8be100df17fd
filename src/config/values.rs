//! How the value of a setting is found and read, whatever the setting.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::config::{
    env::Env,
    files::located::Located,
    table::{NAME, VARS, Var, in_variable, var},
};

/// Where a setting's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    Default,
    File(&'a Located),
    Environment,
}

/// A setting's value as text and where it came from; an empty variable counts as unset.
pub fn setting<'a>(env: &'a Env, name: &str) -> (Option<&'a str>, Origin<'a>) {
    let set = env.get(name).filter(|value| !value.is_empty());
    match (set, env.in_files(name)) {
        (Some(value), _) => (Some(value), Origin::Environment),
        (None, Some(located)) => (Some(&located.value), Origin::File(located)),
        (None, None) => (var(name).and_then(|var| var.default), Origin::Default),
    }
}

/// The variables of all settings, in the order of the table: where the user gives names, those
/// below each name that there is.
pub fn names(env: &Env) -> Vec<String> {
    let mut names = Vec::new();
    for var in VARS {
        match var.name.contains(NAME) {
            false => names.push(var.name.to_owned()),
            true => names.extend(own_names(env, var).iter().map(|own| in_variable(var, own))),
        }
    }
    names
}

/// The names that the user gives to the tables of a setting.
pub fn own_names(env: &Env, var: &Var) -> BTreeSet<String> {
    let table = |var: &Var| var.name.split(NAME).next().map(str::to_owned);
    let beside =
        VARS.iter().filter(|other| other.name.contains(NAME) && table(other) == table(var));
    let set = env.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
    let set: Vec<&str> = set.chain(env.names_in_files()).collect();
    beside.flat_map(|var| set.iter().filter_map(|name| var.own_name(name))).collect()
}

/// What files call the setting of a variable.
fn key_of(name: &str) -> String {
    let var = var(name).expect("every setting is in the table");
    var.key().replace(NAME, &var.own_name(name).unwrap_or_default())
}

/// A setting as its user wrote it, for an error about it.
pub fn written(env: &Env, name: &str) -> String {
    match setting(env, name) {
        (Some(value), Origin::File(located)) => {
            format!("`{}` in {}: `{value}`", key_of(name), located.for_people())
        }
        (value, _) => format!("{name}=`{}`", value.unwrap_or_default()),
    }
}

pub fn value<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    setting(env, name).0
}

pub fn switch(env: &Env, name: &str) -> Result<bool> {
    match value(env, name) {
        Some("1" | "true" | "on" | "yes") => Ok(true),
        Some("0" | "false" | "off" | "no") => Ok(false),
        _ => bail!("failed to read {}: not a switch (hint: 0 or 1)", written(env, name)),
    }
}

/// A number without a unit is mostly a slip: few bytes hold nothing. Only nothing at all needs no
/// unit.
pub fn size(env: &Env, name: &str) -> Result<u64> {
    let value = value(env, name).unwrap_or_default();
    if value.parse::<u64>().is_ok_and(|number| number > 0) {
        let meant = match value.len() {
            0..3 => format!("{value}GB"),
            3..6 => format!("{value}MB or {value}GB"),
            _ => format!("{value}B"),
        };
        bail!("failed to read {}: it has no unit (hint: is {meant} meant?)", written(env, name));
    }
    bytes(value).with_context(|| {
        let written = written(env, name);
        format!("failed to read {written}: not a size (hint: a number and KB, MB, GB or TB)")
    })
}

/// A size as people write it, such as `5GB`.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_uppercase().trim_end_matches('B') {
        "" => 1,
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The items of a list.
pub fn list<'a>(env: &'a Env, name: &str) -> impl Iterator<Item = &'a str> {
    value(env, name).unwrap_or_default().split([',', ' ']).filter(|item| !item.is_empty())
}
