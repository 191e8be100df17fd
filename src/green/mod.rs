//! `cargo green …`: any cargo command, its units built in a few calls of the engine.
//!
//! The command itself starts at once. Its first unit that the store lacks asks for a plan and waits
//! at the [barrier](crate::planning::barrier), as do all later ones, each until its outcome is
//! there. The [planner] is a process of its own. This process waits for cargo, tells the user what
//! made the build slow ([`notice`]), and ends as cargo did; the planner ends with it.
//!
//! With the wrapper alone, its first such unit starts the planner
//! ([`crate::planning::background`]).
//!
//! Only cargo knows what a command compiles. So the planner makes a dry run of the command, in
//! which the wrapper records all units ([`crate::planning::recorder`]). Those that the store lacks
//! are built together as soon as what decides them is known ([`crate::planning::schedule`]), and
//! are stored, so that the waiting units find them there. A unit that the plan does not contain is
//! built by itself, as it would be without `cargo green`.

pub mod planner;
mod progress;
mod remotes;

use std::{ffi::OsString, os::fd::OwnedFd, process::ExitCode};

use anyhow::{Result, bail};
use camino::Utf8PathBuf;

use crate::{
    build::build_id,
    config::{
        env::{self, BARRIER, Env, NOTICES},
        files::{location::Location, overrides, resolved::with_files},
        help,
        settings::Config,
    },
    green::planner::Planner,
    planning::{
        barrier::Barrier,
        dry_run::{BUILD_DIR, Cargo, DryRun, cargos_own, command},
    },
    report::{misspelt, notice},
    target::deferred,
    util::{logging, process},
};

/// Commands of which compilers alone read the libraries in cargo's build folder (`test` and `doc`
/// run rustdoc), and the one that removes it.
const LEAVING: &[&str] = &["bench", "build", "check", "clean", "clippy", "run", "rustc"];
/// The first argument of the planner, whose standard input is the barrier.
const PLANNER: &str = "--planner";

/// Serves `cargo-green green ARGUMENTS…`, as cargo starts it, or `cargo-green ARGUMENTS…`.
pub fn run(mut args: Vec<OsString>) -> Result<ExitCode> {
    let first = args.first().and_then(|first| first.to_str());
    let is_planner = first == Some(PLANNER);
    if is_planner || first == Some("green") {
        args.remove(0);
    }
    if let Some(answer) = answer(&args) {
        print!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut words: Option<Vec<String>> =
        args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    let mut overrides = vec![];
    if let Some(words) = &mut words {
        overrides = overrides::split_off(words, cargos_own(words).len())?;
        args = words.iter().map(OsString::from).collect();
    }
    let overrides: Vec<(&str, &str)> =
        overrides.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let env = Env::current().with_variables(&overrides);
    let location = env.current_dir().ok();
    let location =
        location.map(|folder| Location::of_command(&folder, words.as_deref().unwrap_or_default()));
    let env = with_files(env, location.as_ref())?;
    let config = Config::load(&env)?;
    if config.is_local() && !is_planner {
        notice::say_less_safe_first(&env, &config);
    }
    let cargo = env.get("CARGO").unwrap_or("cargo").to_owned();
    if config.is_local() {
        match process::exec_with(cargo.as_ref(), args, &overrides)? {}
    }
    logging::start(&config.log)?;
    let wrapper = wrapper()?;
    // Where no outcome is kept, a plan is of no use.
    let plannable = words.as_ref().filter(|_| config.store_size > 0);
    let dry_run = plannable.and_then(|words| DryRun::of(words));
    let build_folder = words.as_ref().and_then(|words| build_folder(words, &env, &config));
    let mut variables = vec![("RUSTC_WRAPPER", wrapper.as_str())];
    variables.extend(build_folder.as_ref().map(|folder| (BUILD_DIR, folder.as_str())));
    variables.extend(&overrides);
    let (Some(words), Some(dry_run)) = (&words, &dry_run) else {
        misspelt::complain_for(&env, None);
        match process::exec_with(cargo.as_ref(), args, &variables)? {}
    };
    if is_planner {
        let planner = Planner {
            env: &env,
            config: &config,
            cargo: Cargo { program: &cargo, wrapper: Some(&wrapper), environment: None },
            words,
            dry_run,
            is_quiet: is_quiet(words),
            process: process::parent(),
        };
        planner.serve(0)?;
        return Ok(ExitCode::SUCCESS);
    }
    let name = build_id();
    let barrier = Barrier::new(&name)?;
    misspelt::complain_for(&env, Some(&name));
    let planner = [PLANNER.into()].into_iter().chain(args.iter().cloned());
    let build = (NOTICES, name.as_str());
    let with_build: Vec<_> = overrides.iter().copied().chain([build]).collect();
    process::start_dependent(
        env::current_exe()?.as_ref(),
        planner,
        &with_build,
        OwnedFd::from(barrier),
    )?;
    variables.extend([(BARRIER, name.as_str()), build]);
    let status = process::run_in_place(cargo.as_ref(), args, &variables)?;
    notice::say_at_end(&env, &name);
    Ok(process::end_as(status))
}

fn is_quiet(words: &[String]) -> bool {
    cargos_own(words).iter().any(|word| ["-q", "--quiet"].contains(&word.as_str()))
}

/// The answer to a question about this program. About its own commands, cargo answers.
fn answer(args: &[OsString]) -> Option<String> {
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
    let mut help = help::green(help::width());
    match words[..] {
        [] | ["help" | "--help" | "-h"] => Some(help.render_help().to_string()),
        ["--version" | "-V"] => Some(help.render_version()),
        _ => None,
    }
}

/// The build folder for a command, if it is one of the cache's.
fn build_folder(words: &[String], env: &Env, config: &Config) -> Option<Utf8PathBuf> {
    let leaves = config.leave && command(words).is_some_and(|command| LEAVING.contains(&command));
    let has_own = env.get(BUILD_DIR).is_some_and(|folder| !folder.is_empty());
    if leaves && !has_own { deferred::build_folder(env) } else { None }
}

/// This package's other program.
fn wrapper() -> Result<Utf8PathBuf> {
    let own = env::current_exe()?;
    let beside = own.with_file_name("rustcbuildx");
    match beside.exists() {
        true => Ok(beside),
        false => bail!(
            "failed to find `{beside}`, which cargo is to call (hint: `cargo install` puts both \
             programs into one folder; they need these names)"
        ),
    }
}
