//! `rustcbuildx env [VAR…]`: the settings in force.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::{
    config::{
        env::{Env, VARS},
        settings::{Config, Origin, setting},
    },
    report::misspelt,
    util::quote,
};

/// Prints every setting with its origin and meaning, or the values of those asked for, one a line.
///
/// Fails on a name that is no setting, or a value that means nothing.
pub fn run<'a>(env: &Env, names: impl Iterator<Item = &'a String>) -> Result<ExitCode> {
    let names: Vec<&String> = names.collect();
    for name in &names {
        let Some(var) = VARS.iter().find(|var| var.name == **name) else {
            bail!("failed to show `{name}`: no such setting (hint: `rustcbuildx env` lists them)");
        };
        println!("{}", setting(env, var).0.unwrap_or_default());
    }
    if names.is_empty() {
        VARS.iter().for_each(|var| {
            let (value, origin) = setting(env, var);
            let origin = match origin {
                Origin::Default => "default",
                Origin::Environment => "environment",
            };
            println!(
                "{}={}  # {origin}: {}",
                var.name,
                quote::word(value.unwrap_or_default()),
                var.doc
            );
        });
    }
    misspelt::complain(env);
    Config::load(env)?;
    Ok(ExitCode::SUCCESS)
}
