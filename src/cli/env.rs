//! `rustcbuildx env [VAR…]`: the settings in force.

use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::{
    config::{
        env::Env,
        files::schema::schema,
        secrets::is_secret,
        settings::Config,
        table::var,
        values::{self, Origin, setting},
    },
    report::misspelt,
    util::quote,
};

/// Prints every setting with its origin and meaning, or the values of those asked for, one a line;
/// as JSON, one object of all that are asked for.
///
/// Fails on a name that is no setting, or a value that means nothing.
pub fn run<'a>(
    env: &Env,
    names: impl Iterator<Item = &'a String>,
    is_json: bool,
) -> Result<ExitCode> {
    let mut asked_for = vec![];
    for name in names {
        if var(name).is_none() {
            bail!("failed to show `{name}`: no such setting (hint: `rustcbuildx env` lists them)");
        }
        asked_for.push(name.clone());
    }
    let all = if asked_for.is_empty() { values::names(env) } else { asked_for.clone() };
    if is_json {
        let settings: Map<String, Value> =
            all.iter().map(|name| (name.clone(), described(env, name))).collect();
        println!("{:#}", Value::Object(settings));
    } else if asked_for.is_empty() {
        all.iter().for_each(|name| println!("{}", line(env, name)));
    } else {
        all.iter().for_each(|name| println!("{}", without_secret(env, name).0.unwrap_or_default()));
    }
    misspelt::complain(env);
    Config::load(env)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what editors know files of settings by.
pub fn print_schema() -> Result<ExitCode> {
    println!("{:#}", schema());
    Ok(ExitCode::SUCCESS)
}

/// A setting as a shell takes it, with what it is for.
fn line(env: &Env, name: &str) -> String {
    let (value, origin) = without_secret(env, name);
    let origin = match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(located) => located.for_people(),
        Origin::Environment => "environment".to_owned(),
    };
    let value = quote::word(value.unwrap_or_default());
    format!("{name}={value}  # {origin}: {}", doc(name))
}

fn doc(name: &str) -> &'static str {
    var(name).map_or("", |var| var.doc)
}

/// A setting, without its value if that is a secret.
fn without_secret<'a>(env: &'a Env, name: &str) -> (Option<&'a str>, Origin<'a>) {
    let (value, origin) = setting(env, name);
    (value.map(|value| if is_secret(name) { "(a secret)" } else { value }), origin)
}

fn described(env: &Env, name: &str) -> Value {
    let (value, origin) = without_secret(env, name);
    let (origin, at) = match origin {
        Origin::Default => ("default", &[][..]),
        Origin::File(located) => ("file", &located.at[..]),
        Origin::Environment => ("environment", &[][..]),
    };
    json!({ "value": value, "origin": origin, "at": at, "doc": doc(name) })
}
