//! argv → role → exit status; the only place that prints a final error.

use std::process::ExitCode;

use rustcbuildx::{
    cli,
    config::env,
    green::planner,
    target::shim::Shim,
    wrapper::{build_script, compile, identity, role::Role},
};

fn main() -> ExitCode {
    match run() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("rustcbuildx: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    if env::arguments() == [identity::QUESTION] {
        println!("{}", identity::ANSWER);
        return Ok(ExitCode::SUCCESS);
    }
    let own = env::current_exe()?;
    if let Some(shim) = Shim::open(&own)? {
        return build_script::start(shim, &env::called_as()?, env::arguments());
    }
    match Role::of(env::arguments()) {
        Role::Compiler(words) => compile::run(words),
        Role::BuildScript(program) => build_script::run(&program),
        Role::Planner(process) => planner::run_in_background(&process),
        Role::Command(args) => cli::run(args),
    }
}
