//! The commands of `rustcbuildx cache`, one file each. They are a program of their own, which
//! `rustcbuildx` becomes: what remotes need is not in the wrapper.

mod keygen;
mod push;
mod serve;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Arg, Command, error::ErrorKind};

use crate::{
    build::remotes::PROGRAM,
    config::{
        env::Env,
        files::{location::Location, resolved::with_files},
        settings::Config,
    },
};

/// Runs `rustcbuildx-cache COMMAND …`; a wrong command line ends with status 2.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let words = std::iter::once(PROGRAM.into()).chain(args);
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            // A terminal that went away is no reason to fail.
            let _ = error.print();
            return Ok(match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            });
        }
    };
    match matches.subcommand() {
        Some(("keygen", _)) => return keygen::run(),
        Some(("serve", _)) => return serve::run(),
        _ => {}
    }
    let env = Env::current();
    let location = Location::here(&env);
    let env = with_files(env, location.as_ref())?;
    let config = Config::load(&env)?;
    match matches.subcommand() {
        Some(("push", matches)) => {
            let remote = matches.get_one::<String>("REMOTE").map(String::as_str);
            match matches.get_one("after") {
                Some(process) => push::run_after(&env, &config, *process),
                None => push::run(&env, &config, remote),
            }
        }
        _ => unreachable!("clap asks for one of the commands"),
    }
}

/// The command line, for the help and man pages of `rustcbuildx`, too.
pub fn command() -> Command {
    let remote = |help| Arg::new("REMOTE").help(help);
    Command::new("cache")
        .bin_name("rustcbuildx cache")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Share outcomes between machines, and look into what is stored")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("keygen").about("Make a key to sign with, and its public key to trust"),
        )
        .subcommand(
            Command::new("push")
                .about("Add to remotes what the local store has and they lack")
                .arg(remote("The remote's name [default: all with mode = \"read-write\"]"))
                .arg(
                    Arg::new("after")
                        .long("after")
                        .hide(true)
                        .value_parser(clap::value_parser!(u32))
                        .help("Push once this process has ended, and say nothing"),
                ),
        )
        .subcommand(
            Command::new("serve").hide(true).about("For rustcbuildx: ask remotes during a build"),
        )
}
