//! A call of the wrapper for a compiler: from cargo's words to cargo's answer.

use std::{ffi::OsString, fs, process::ExitCode};

use anyhow::{Context, Result};

use crate::{
    argv::{self, RustcArgs},
    artifacts,
    config::Config,
    env::{self, Env},
    logging, runner,
    session::Session,
    shim,
    unit::{self, Invocation, Tool, Unit},
};

/// Serves `rustcbuildx rustc …`; gives the status to end with, as a shell has it.
///
/// Questions become the local compiler before any setting is read.
pub fn run(words: Vec<OsString>) -> Result<ExitCode> {
    let Some(texts) = words.iter().map(|word| word.to_str().map(str::to_owned)).collect::<Option<Vec<_>>>() else {
        return local(words);
    };
    let Some((tool, count)) = Tool::of(&texts) else {
        return local(words);
    };
    let env = Env::current();
    let args = argv::expand_files(texts[count..].to_vec(), |path| fs::read_to_string(path));
    let args = RustcArgs::parse(args.context("failed to read an @file of arguments")?);
    let unit = match unit::invocation(tool, args, env::current_dir()?, &env) {
        Invocation::Passthrough => return local(words),
        Invocation::Compile(unit) => Ok(unit),
        Invocation::Local(reason) => Err(reason),
    };
    let config = Config::load(&env)?;
    if config.is_local() {
        return local(words);
    }
    logging::start(&config.log)?;
    match unit {
        Ok(unit) => build(unit, &env, &config, &texts, &texts[count - 1]),
        Err(reason) => {
            eprintln!("rustcbuildx: compiled locally: {reason}");
            local(words)
        }
    }
}

fn build(unit: Unit, env: &Env, config: &Config, words: &[String], rustc: &str) -> Result<ExitCode> {
    log::debug!("{}: {}", unit.name(), crate::quote::words(words));
    let session = Session::open(env, config, if rustc.ends_with("rustc") { rustc } else { "rustc" })?;
    let mut built = session.build(unit.clone())?;
    let status = built.outcome.status;
    // A killed compiler's files are not to be trusted; a failed one's are what rustc leaves locally.
    if status < 128 {
        let names = built.files.names()?;
        if unit.makes_build_script() && status == 0 {
            wrap_build_script(&unit, &built.files.root, &names)?;
        }
        if status != 0 {
            built.files.drop_objects()?;
        }
        built.files.place_files(unit.out_dir())?;
        if status == 0 {
            session.remember(&mut built, &unit, &names)?;
        }
    }
    artifacts::replay(&built.outcome)?;
    Ok(runner::end_like(status))
}

fn wrap_build_script(unit: &Unit, folder: &camino::Utf8Path, names: &[String]) -> Result<()> {
    let own = env::current_exe()?;
    // The program is the one file without an extension.
    for name in names.iter().filter(|name| !name.contains('.')) {
        shim::wrap(&folder.join(name), &unit.out_dir().join(name), &own)?;
    }
    Ok(())
}

/// Becomes the local compiler.
fn local(mut words: Vec<OsString>) -> Result<ExitCode> {
    let args = words.split_off(1);
    match runner::exec(&words[0], args)? {}
}
