//! The commands of `rustcbuildx cache`, one file each. They are a program of their own, which
//! `rustcbuildx` becomes: what remotes need is not in the wrapper.

mod keygen;
mod local;
mod push;
mod remote;
mod remotes;
mod serve;
mod words;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Arg, ArgAction, Command};

use crate::{
    build::remotes::PROGRAM,
    config::{
        env::Env,
        files::{location::Location, resolved::with_files},
        help,
        settings::Config,
    },
    util::{logging, state_dir::Cache},
};

/// Runs `rustcbuildx-cache COMMAND …`; a wrong command line ends with status 2.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let words = std::iter::once(PROGRAM.into()).chain(args);
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return Ok(help::refuse(&error)),
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
    logging::start(&config.log)?;
    let cache = Cache::open(env.cache_dir()?)?;
    let (name, matches) = matches.subcommand().expect("clap asks for one of the commands");
    let word = |name: &str| {
        let word = matches.try_get_one::<String>(name).ok().flatten();
        word.map(String::as_str)
    };
    let own = |name: &str| word(name).unwrap_or_default();
    let is = |name: &str| matches.try_get_one::<bool>(name).ok().flatten() == Some(&true);
    match name {
        "stats" => local::stats(&cache, &config, is("json")),
        "list" => local::list(&cache, &config, word("NAME"), is("json")),
        "show" => local::show(&cache, &config, own("KEY"), is("json")),
        "rm" => local::remove(&cache, &config, own("NAME")),
        "gc" => {
            let (size, age) = (word("max-size"), word("max-age"));
            local::collect(&cache, &config, size, age, is("dry-run"))
        }
        "push" => match matches.get_one("after") {
            Some(process) => push::run_after(&env, &cache, &config, *process),
            None => push::run(&env, &cache, &config, word("REMOTE")),
        },
        "pull" => remotes::pull(&cache, &config, word("REMOTE")),
        "copy" => remotes::copy(&cache, &config, own("FROM"), own("TO")),
        "compact" => {
            let (size, age) = (word("max-size"), word("max-age"));
            remotes::compact(&env, &cache, &config, word("REMOTE"), size, age)
        }
        "verify" => remotes::verify(&cache, &config, word("REMOTE")),
        "export" => remotes::export(&cache, &config, own("FILE")),
        _ => remotes::import(&cache, &config, own("FILE")),
    }
}

/// The command line, for the help and man pages of `rustcbuildx`, too.
pub fn command() -> Command {
    let remote = || Arg::new("REMOTE").help("The remote's name [default: the only one]");
    let name = || Arg::new("NAME").help("A package, a unit or a key");
    let file = || Arg::new("FILE").required(true).help("The file");
    let json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).help("For programs: as JSON");
    let size = |help| Arg::new("max-size").long("max-size").value_name("SIZE").help(help);
    let age = || {
        Arg::new("max-age")
            .long("max-age")
            .value_name("AGE")
            .help("Remove what is older, such as 30d or 12h")
    };
    let writable =
        Arg::new("REMOTE").help("The remote's name [default: all with mode = \"read-write\"]");
    let after = Arg::new("after")
        .long("after")
        .hide(true)
        .value_parser(clap::value_parser!(u32))
        .help("Push once this process has ended, and say nothing");
    let dry_run = Arg::new("dry-run")
        .long("dry-run")
        .action(ArgAction::SetTrue)
        .help("Only tell what would be removed");
    let subcommand = |name: &'static str, about: &'static str| Command::new(name).about(about);
    Command::new("cache")
        .bin_name("rustcbuildx cache")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Share outcomes between machines, and look into what is stored")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            subcommand("stats", "Show how builds got their outcomes, and what is stored where")
                .arg(json()),
            subcommand("list", "List stored outcomes, those that were used last first")
                .args([name(), json()]),
            subcommand("show", "Show what is known of a stored outcome")
                .args([Arg::new("KEY").required(true).help("Its key"), json()]),
            subcommand("rm", "Remove stored outcomes").arg(name().required(true)),
            subcommand("gc", "Remove from this machine what is too old or too much").args([
                size("The most that is left [default: RUSTCBUILDX_STORE_SIZE]"),
                age(),
                dry_run,
            ]),
            subcommand("push", "Add to remotes what the local store has and they lack")
                .args([writable, after]),
            subcommand("pull", "Bring all that a remote has into the local store").arg(remote()),
            subcommand("copy", "Copy what a remote has to another one").args([
                Arg::new("FROM").required(true).help("The remote that has it"),
                Arg::new("TO").required(true).help("The remote that gets it"),
            ]),
            subcommand("compact", "Remove what is too old or too much, and join small packs")
                .args([remote(), size("The most that is left"), age()]),
            subcommand("verify", "Read all that a remote has, and check it").arg(remote()),
            subcommand("export", "Write all that is stored to a file").arg(file()),
            subcommand("import", "Bring what such a file has into the local store").arg(file()),
            subcommand("keygen", "Make a key to sign with, and its public key to trust"),
            subcommand("serve", "For rustcbuildx: ask remotes during a build").hide(true),
        ])
}
