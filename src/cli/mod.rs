//! The tool's own commands, one file each.

mod audit;
mod changes;
mod doctor;
mod env;
mod explain;
mod pages;
mod pull;
mod timings;
mod touched;
mod units;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use camino::Utf8Path;
use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, error::ErrorKind};

use crate::{
    build::remotes::PROGRAM,
    cache,
    config::{
        env::{self as environment, Env},
        files::{location::Location, resolved::with_files},
        help,
    },
    util::process,
};

/// The words that are commands and never a compiler's name.
pub const NAMES: &[&str] = &[
    "audit",
    "cache",
    "completions",
    "doctor",
    "env",
    "explain",
    "man",
    "pull",
    "timings",
    "help",
];

/// The shells that words are completed in.
const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// Runs `rustcbuildx COMMAND …`; a wrong command line ends with status 2 and says what is right.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    let cache_words: Vec<OsString> = args.iter().skip(1).cloned().collect();
    let words = std::iter::once("rustcbuildx".into()).chain(args);
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return Ok(refuse(&error)),
    };
    let word = |matches: &ArgMatches, name| {
        matches.get_one::<String>(name).map(String::as_str).unwrap_or_default().to_owned()
    };
    // These work whatever files of settings say.
    match matches.subcommand() {
        Some(("completions", matches)) => {
            return pages::complete(&word(matches, "SHELL"), command());
        }
        Some(("doctor", matches)) => {
            return doctor::run(matches.get_one::<String>("write").map(String::as_str));
        }
        Some(("man", matches)) => {
            return pages::man(Utf8Path::new(&word(matches, "FOLDER")), command());
        }
        _ => {}
    }
    if matches.subcommand_name() == Some("cache") {
        let program = environment::current_exe()?.with_file_name(PROGRAM);
        match process::exec(program.as_ref(), cache_words)? {}
    }
    let env = Env::current();
    let location = Location::here(&env);
    let env = with_files(env, location.as_ref())?;
    match matches.subcommand() {
        Some(("audit", matches)) => {
            let folder = matches.get_one::<String>("FOLDER").map(String::as_str);
            audit::run(&env, folder, matches.get_flag("json"))
        }
        Some(("env", matches)) => {
            let names = matches.get_many::<String>("VAR").unwrap_or_default();
            match matches.get_flag("schema") {
                true => env::print_schema(),
                false => env::run(&env, names, matches.get_flag("json")),
            }
        }
        Some(("explain", matches)) => {
            let file = |name| matches.get_one::<String>(name).map(String::as_str);
            let is_json = matches.get_flag("json");
            explain::run(&env, file("FILE").unwrap_or_default(), file("OTHER"), is_json)
        }
        Some(("pull", matches)) => pull::run(&env, matches.get_flag("lock")),
        Some(("timings", matches)) => {
            timings::run(matches.get_one::<String>("FILE").map_or("", String::as_str))
        }
        _ => unreachable!("clap asks for one of the commands"),
    }
}

fn refuse(error: &clap::Error) -> ExitCode {
    let status = help::refuse(error);
    if error.kind() == ErrorKind::InvalidSubcommand {
        eprintln!("\nAs RUSTC_WRAPPER, cargo calls it with a compiler: rustcbuildx rustc …");
    }
    status
}

fn json(help: &'static str) -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help(help)
}

fn command() -> Command {
    Command::new("rustcbuildx")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Compiles Rust through BuildKit: export RUSTC_WRAPPER=rustcbuildx, then use cargo \
             as ever",
        )
        .after_help(help::settings(help::width()))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("audit")
                .about(
                    "Show what the units of a target folder did beyond cargo's word: what they \
                     read, wrote, started, and tried to reach",
                )
                .arg(Arg::new("FOLDER").help("The target folder [default: target]"))
                .arg(json("For programs: the same as JSON")),
        )
        .subcommand(cache::command())
        .subcommand(
            Command::new("completions")
                .about("Print what completes the words of rustcbuildx and cargo-green in a shell")
                .arg(
                    Arg::new("SHELL")
                        .value_parser(PossibleValuesParser::new(SHELLS))
                        .required(true)
                        .help("The shell"),
                ),
        )
        .subcommand(
            Command::new("doctor")
                .about(
                    "Check engine, image, toolchain, settings, disk and clock, build a small \
                     package, and suggest settings",
                )
                .arg(
                    Arg::new("write")
                        .long("write")
                        .value_name("FILE")
                        .help("Write the suggested settings to a new file"),
                ),
        )
        .subcommand(
            Command::new("env")
                .about("Show the settings in force, as a shell takes them")
                .arg(Arg::new("VAR").help("Show the values of these only").num_args(0..))
                .arg(json("For programs: values and where they come from, as JSON"))
                .arg(
                    Arg::new("schema")
                        .long("schema")
                        .help("For editors: a JSON schema of files of settings")
                        .action(ArgAction::SetTrue)
                        .conflicts_with_all(["VAR", "json"]),
                ),
        )
        .subcommand(
            Command::new("explain")
                .about(
                    "Show what decided a file of a target folder, or why two such files are \
                     not the same",
                )
                .arg(
                    Arg::new("FILE")
                        .help("A library, program or other output of a unit")
                        .required(true),
                )
                .arg(Arg::new("OTHER").help("Another one: only what differs is shown"))
                .arg(json("For programs: all that its key digests, as JSON")),
        )
        .subcommand(
            Command::new("man")
                .about("Write man pages of rustcbuildx and cargo-green to a folder")
                .arg(
                    Arg::new("FOLDER").required(true).help("The folder, such as …/share/man/man1"),
                ),
        )
        .subcommand(
            Command::new("pull")
                .about("Pull the image in step with the local toolchain, and pin its digest")
                .arg(
                    Arg::new("lock")
                        .long("lock")
                        .help(
                            "Write the digest to .config/rustcbuildx.lock, for all who build the \
                             workspace",
                        )
                        .action(ArgAction::SetTrue),
                ),
        )
        .subcommand(
            Command::new("timings")
                .about("Make a page of what a build wrote to RUSTCBUILDX_TIMINGS, beside that file")
                .arg(
                    Arg::new("FILE").help("The file that RUSTCBUILDX_TIMINGS named").required(true),
                ),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::VARS;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        for name in NAMES.iter().filter(|name| **name != "help") {
            assert!(command().find_subcommand(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_help_and_the_docs_name_every_setting() {
        let table = include_str!("../../docs/settings.md");
        let help = command().render_help().to_string();
        for var in VARS {
            assert!(help.contains(var.name));
            let row = format!(
                "| `{}` | {} | {} |",
                var.name,
                var.default.map_or("".to_owned(), |default| format!("`{default}`")),
                var.doc
            );
            assert!(table.contains(&row), "docs/settings.md lacks the row\n{row}");
        }
    }
}
