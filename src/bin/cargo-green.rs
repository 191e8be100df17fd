//! `cargo green`, as cargo finds it.

use std::process::ExitCode;

use rustcbuildx::{config::env, green};

fn main() -> ExitCode {
    green::run(env::arguments()).unwrap_or_else(|error| {
        eprintln!("rustcbuildx: error: {error:#}");
        ExitCode::FAILURE
    })
}
