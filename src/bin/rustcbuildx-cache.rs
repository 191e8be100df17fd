//! `rustcbuildx cache`, which asks and fills remotes.

use std::process::ExitCode;

use rustcbuildx::{cache, config::env};

fn main() -> ExitCode {
    cache::run(env::arguments()).unwrap_or_else(|error| {
        eprintln!("rustcbuildx: error: {error:#}");
        ExitCode::FAILURE
    })
}
