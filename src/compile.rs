//! A call of the wrapper for a compiler: from cargo's words to cargo's answer.

use std::{ffi::OsString, fs, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    argv::{self, Flag, RustcArgs},
    config::Config,
    delivery,
    env::Env,
    left, logging,
    places::target_root,
    quote,
    recording::Recording,
    runner,
    session::Session,
    unit::{self, Invocation, Tool},
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
    let unit = match unit::invocation(tool, parsed(&texts[count..])?, env.current_dir()?, &env) {
        Invocation::Passthrough => return local(words),
        Invocation::Compile(unit) => Ok(*unit),
        Invocation::Local(reason) => Err(reason),
    };
    let config = Config::load(&env)?;
    if config.is_local() {
        return local(words);
    }
    logging::start(&config.log)?;
    match unit {
        Ok(unit) => {
            log::debug!("{}: {}", unit.name(), quote::words(&texts));
            if let Some(recording) = Recording::current(&env)? {
                return recording.add(&unit, &env);
            }
            let session = Session::open(&env, &config, rustc(&texts[..count]))?;
            let built = session.build(unit.clone())?;
            delivery::deliver(built, &unit, session.recipes(&unit))
        }
        Err(reason) if config.strict => {
            bail!("failed to compile in a container: {reason} (hint: RUSTCBUILDX_STRICT=0 compiles locally)")
        }
        Err(reason) => {
            eprintln!("rustcbuildx: compiled locally: {reason}");
            let args = parsed(&texts[count..])?;
            let folders = args.crate_folders(&env.current_dir()?);
            let target = folders.iter().find_map(|folder| target_root(folder, args.value(Flag::Target)));
            if let Some(target) = target.filter(|target| left::may_be_in(target, &env)) {
                Session::open(&env, &config, rustc(&texts[..count]))?.fetch(target, &folders, |_| true)?;
            }
            local(words)
        }
    }
}

fn parsed(words: &[String]) -> Result<RustcArgs> {
    let words = argv::expand_files(words.to_vec(), |path| fs::read_to_string(path));
    Ok(RustcArgs::parse(words.context("failed to read an @file of arguments")?))
}

/// The compiler among the words before its arguments; `clippy-driver` may stand alone.
fn rustc(words: &[String]) -> &str {
    words.iter().map(String::as_str).find(|word| word.ends_with("rustc")).unwrap_or("rustc")
}

/// Becomes the local compiler.
fn local(mut words: Vec<OsString>) -> Result<ExitCode> {
    let args = words.split_off(1);
    match runner::exec(&words[0], args)? {}
}
