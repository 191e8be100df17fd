//! What a shell and `man` know of both programs, made from their help.

use std::{fs, io::Write, process::ExitCode};

use anyhow::{Context, Error, Result};
use camino::Utf8Path;
use clap::Command;
use clap_complete::{Generator, Shell};

use crate::config::help;

/// How wide the lines of a page are: `man` breaks none in tables.
const WIDTH: usize = 78;

/// Prints what completes the words of both programs, `own` among them, in a shell.
pub fn complete(shell: &str, own: Command) -> Result<ExitCode> {
    let shell: Shell = shell.parse().map_err(Error::msg)?;
    let mut text = Vec::new();
    for command in [own, with_planned(help::green(WIDTH))] {
        let name = command.get_name().to_owned();
        let mut command = command.bin_name(name);
        command.build();
        shell.generate(&command, &mut text);
    }
    std::io::stdout().write_all(&text).context("failed to print")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes pages of both programs to a folder, which is made.
pub fn man(folder: &Utf8Path, own: Command) -> Result<ExitCode> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make the folder `{folder}`"))?;
    for command in [own.after_help(help::settings(WIDTH)), help::green(WIDTH)] {
        clap_mangen::generate_to(command, folder)
            .with_context(|| format!("failed to write pages to `{folder}`"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands of cargo's that are planned, each of which goes on with cargo's own words.
fn with_planned(green: Command) -> Command {
    help::PLANNED.iter().fold(green, |green, name| green.subcommand(Command::new(*name)))
}
