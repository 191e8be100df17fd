//! The help texts of both programs.

use std::{fmt::Write, process::ExitCode};

use clap::{Command, error::ErrorKind};

use crate::config::table::VARS;

/// Wider lines are hard to read, narrower ones hold no text beside a name.
const WIDTHS: std::ops::RangeInclusive<usize> = 72..=100;
const LEFT: &str = "  ";

/// How many columns a text for the terminal may take.
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { *WIDTHS.end() } else { columns.clamp(*WIDTHS.start(), *WIDTHS.end()) }
}

/// All settings, in lines of so many columns.
pub fn settings(width: usize) -> String {
    let rows = VARS.iter().map(|var| {
        let default =
            var.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        (var.name, format!("{}{default}", var.doc))
    });
    format!(
        "Settings, as variables; files have them, too (docs/settings.md):\n{}",
        table(&rows.collect::<Vec<_>>(), width)
    )
}

/// Tells what is wrong with a command line, or the help that it asks for; returns the status to end
/// with.
pub fn refuse(error: &clap::Error) -> ExitCode {
    // A terminal that went away is no reason to fail.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

/// The help of `cargo green`.
pub fn green(width: usize) -> Command {
    let about = "Builds with cargo, which calls BuildKit for what it compiles: the same files as \
                 ever, compiled in containers without a network, and in few calls, also where the \
                 engine is far away";
    let planned = PLANNED.join(", ");
    let commands =
        table(&[(&planned, PLANNED_DO.to_owned()), ("any other", OTHERS_DO.to_owned())], width);
    let examples = table(&EXAMPLES.map(|(words, does)| (words, does.to_owned())), width);
    let more = format!(
        "Commands of cargo's:\n{commands}\nExamples:\n{examples}\n{}\n{}",
        settings(width),
        wrapped(
            "`rustcbuildx env` shows the settings in force, `rustcbuildx pull` fetches the image.",
            width
        )
        .join("\n")
    );
    Command::new("cargo-green")
        .version(env!("CARGO_PKG_VERSION"))
        .about(wrapped(about, width).join("\n"))
        .override_usage("cargo green COMMAND [CARGO'S ARGUMENTS]…")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .after_help(more)
}

/// The commands of cargo's that `cargo green` plans.
pub const PLANNED: &[&str] =
    &["build", "check", "clippy", "test", "run", "bench", "doc", "install", "rustc"];
const PLANNED_DO: &str = "all units that are missing are planned and built together; \
                           `cargo green build --help` is cargo's own help";
const OTHERS_DO: &str =
    "cargo runs it with RUSTC_WRAPPER=rustcbuildx: what of these it starts in turn is planned";
const EXAMPLES: [(&str, &str); 5] = [
    ("cargo green build --release", "what `cargo build --release` makes"),
    (
        "cargo green test -- --nocapture",
        "tests are compiled in containers, and run on this machine",
    ),
    ("cargo green install ripgrep", "libraries stay in the engine, programs come here"),
    ("DOCKER_HOST=ssh://user@host cargo green build", "compiles there"),
    ("RUSTCBUILDX_RUNNER=none cargo green build", "plain cargo"),
];

/// Names and texts beside each other, or below each other where a name is too long for that.
fn table(rows: &[(&str, String)], width: usize) -> String {
    let fits = |name: &&str| name.chars().count() <= width / 3;
    let column = rows
        .iter()
        .map(|(name, _)| *name)
        .filter(fits)
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let column = column + 2 * LEFT.len();
    let mut text = String::new();
    for (name, does) in rows {
        let lines = wrapped(does, width.saturating_sub(column));
        let mut lines = lines.iter();
        let mut beside = format!("{LEFT}{name}");
        if fits(name) {
            beside = format!("{beside:column$}{}", lines.next().map_or("", String::as_str));
        }
        writeln!(text, "{}", beside.trim_end()).expect(TAKES_ALL);
        for line in lines {
            writeln!(text, "{:column$}{line}", "").expect(TAKES_ALL);
        }
    }
    text
}

const TAKES_ALL: &str = "a String takes all";

/// A text in lines of so many columns; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_beside_names_and_end_in_time() {
        let rows = [
            ("A", "one two three four five six".to_owned()),
            ("A_LONG_NAME_INDEED", "two words".to_owned()),
        ];
        let expected =
            "  A  one two three\n     four five six\n  A_LONG_NAME_INDEED\n     two words\n";
        assert_eq!(table(&rows, 18), expected);
        assert_eq!(wrapped("a bbbb c", 3), ["a", "bbbb", "c"]);
    }

    #[test]
    fn no_line_is_too_long_and_no_name_runs_into_its_text() {
        for width in [72, 80, 100] {
            let text = settings(width);
            for line in text.lines().chain(green(width).render_help().to_string().lines()) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            for var in VARS {
                let row =
                    text.lines().find(|line| line.split_whitespace().next() == Some(var.name));
                assert!(row.is_some(), "{} is in no row of its own:\n{text}", var.name);
            }
        }
    }
}
