//! A build script that cargo starts: its shim calls the wrapper, which runs the script in the
//! engine.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    build::Session,
    config::{
        env::Env,
        files::{location::Location, resolved::with_files},
        settings::Config,
    },
    planning::recorder::Recorder,
    report::notice,
    target::shim::{COMMAND, Shim},
    unit::{invocation, target_dir::target_root, work::Unit},
    util::{logging, process},
    wrapper::identity,
};

/// This program was started as a build script: under the wrapper, by whatever name, it calls that,
/// otherwise it becomes the real program.
pub fn start(shim: Shim, own: &Utf8Path, arguments: Vec<OsString>) -> Result<ExitCode> {
    let env = Env::current();
    // Source of the two: cargo docs, "Environment variables Cargo sets for build scripts".
    let wrapper = |name: &str| env.get(name).filter(|wrapper| !wrapper.is_empty());
    let mut wrappers = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].into_iter().filter_map(wrapper);
    if let Some(ours) = wrappers.find(|wrapper| identity::is_rustcbuildx(wrapper, &env)) {
        match process::exec(ours.as_ref(), [COMMAND.into(), own.as_str().into()])? {}
    }
    // Without one, plain cargo took over.
    if let Some(other) = wrapper("RUSTC_WRAPPER") {
        let other = other.to_owned();
        say_unserved(&other, &with_files(env, Location::of_cargo().as_ref())?)?;
    }
    match shim.exec(arguments)? {}
}

/// This build script was made for a sandbox, and nobody is there to run it in one.
fn say_unserved(wrapper: &str, env: &Env) -> Result<()> {
    let config = Config::load(env)?;
    if config.is_local() {
        return Ok(());
    }
    let reason = format!("RUSTC_WRAPPER is `{wrapper}`, which is not rustcbuildx");
    if config.strict {
        bail!(
            "failed to run a build script in a container: {reason} (hint: \
             RUSTC_WRAPPER=rustcbuildx, or RUSTCBUILDX_STRICT=0 runs it here)"
        );
    }
    notice::say(
        env,
        &reason,
        &format!("build scripts run on this machine, outside of any sandbox: {reason}"),
    );
    Ok(())
}

/// Serves `rustcbuildx --run-build-script PATH`.
pub fn run(program: &str) -> Result<ExitCode> {
    let program = Utf8PathBuf::from(program);
    let shim = Shim::open(&program)?.with_context(|| {
        format!("failed to run `{program}`: it is no build script of rustcbuildx")
    })?;
    let env = with_files(Env::current(), Location::of_cargo().as_ref())?;
    let config = Config::load(&env)?;
    let unit = || {
        let target = env
            .get("OUT_DIR")
            .and_then(|out_dir| target_root(Utf8Path::new(out_dir), env.get("TARGET")));
        let unit = invocation::build_script(program, env.current_dir()?, target.as_deref(), &env);
        unit.context(
            "failed to run a build script: OUT_DIR or CARGO_MANIFEST_DIR is not set \
             (hint: cargo sets them)",
        )
    };
    if let Some(recorder) = Recorder::current(&env)? {
        return recorder.add(&unit()?, &env);
    }
    if config.is_local() {
        match shim.exec(vec![])? {}
    }
    logging::start(&config.log)?;
    let unit = unit()?;
    let session = || Session::open(&env, &config, env.get("RUSTC").unwrap_or("rustc"));
    if config.has_local_script(env.get("CARGO_PKG_NAME").unwrap_or_default()) {
        return run_here(shim, &unit, session);
    }
    let session = session()?;
    let built = session.build(unit.clone())?;
    built.install(&unit, session.records(&unit))
}

/// Becomes the real program. If that stayed in the engine, it is fetched first.
fn run_here<'a>(
    mut shim: Shim,
    unit: &Unit,
    session: impl FnOnce() -> Result<Session<'a>>,
) -> Result<ExitCode> {
    if let Some(key) = shim.maker() {
        session()?.fetch_program(unit, &shim.compiled, &key)?;
        let brought = Shim::open(&shim.compiled)?;
        shim = brought.with_context(|| {
            format!("failed to run `{}`: it is gone (hint: `cargo clean`)", shim.compiled)
        })?;
    }
    match shim.exec(vec![])? {}
}
