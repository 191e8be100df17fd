//! A compile that cargo asks for: from cargo's command line to the answer that cargo gets.

use std::{ffi::OsString, fs, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use camino::Utf8Path;

use crate::{
    build::Session,
    config::{
        env::Env,
        files::{location::Location, resolved::with_files},
        settings::Config,
    },
    planning::{dry_run::LOCAL, recorder::Recorder},
    report::{misspelt, notice},
    rustc::{
        args::{self, Flag, RustcArgs},
        tool::Tool,
        toolchain::Version,
    },
    target::deferred,
    unit::{
        invocation::{self, Invocation},
        published_paths,
        target_dir::target_root,
        variables,
        work::{Unit, Work},
    },
    util::{logging, process, quote, state_dir::Cache},
    wrapper::identity,
};

/// Serves `rustcbuildx rustc …`; returns the status to end with, as a shell has it.
///
/// Questions become the local compiler before any setting is read.
pub fn run(words: Vec<OsString>) -> Result<ExitCode> {
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (programs, args) = texts.split_at(Tool::programs(&texts));
    let env = Env::current();
    let invocation = invocation::invocation(Tool::Rustc, parsed(args)?, env.current_dir()?, &env);
    if matches!(invocation, Invocation::Passthrough) {
        return local(words);
    }
    let env = with_files(env, Location::of_cargo().as_ref())?;
    let config = Config::load(&env)?;
    notice::say_less_safe(&env, &config);
    if config.is_local() {
        return local(words);
    }
    logging::start(&config.log)?;
    if let [wrapper, _, ..] = programs
        && Tool::named(file_name(wrapper)).is_none()
        && identity::is_rustcbuildx(wrapper, &env)
    {
        // The user's own wrapper is this program, too: that one serves.
        return local(words);
    }
    notice::say_deferred(&env);
    misspelt::complain_once(&env);
    let is_text = words.iter().all(|word| word.to_str().is_some());
    match unit_of(invocation, programs, is_text, &env) {
        Ok(unit) => {
            log::debug!("{}: {}", unit.name(), quote::words(&texts));
            if let Some(recorder) = Recorder::current(&env)? {
                return recorder.add(&unit, &env);
            }
            let session = Session::open(&env, &config, compiler(programs))?;
            let built = session.build(unit.clone())?;
            built.install(&unit, session.records(&unit))
        }
        Err(reason) => {
            leave_container(&reason, &env, &config)?;
            fetch_deferred(programs, args, &env, &config)?;
            let also = published_options(programs, args, &env, &config)?;
            local(words.into_iter().chain(also.into_iter().map(OsString::from)).collect())
        }
    }
}

/// Tells the user that the local compiler takes over, or fails where that must not be.
fn leave_container(reason: &str, env: &Env, config: &Config) -> Result<()> {
    if config.strict {
        bail!(
            "failed to compile in a container: {reason} (hint: RUSTCBUILDX_STRICT=0 compiles \
             locally)"
        );
    }
    if Recorder::current(env)?.is_some() {
        // Its dependencies are empty files.
        bail!("{LOCAL}: {reason}");
    }
    let also =
        "a build script that is compiled so also runs on this machine, outside of any sandbox";
    notice::say(env, reason, &format!("compiled locally: {reason}; {also}"));
    Ok(())
}

/// The options for the local compiler by which sources have the names that they have in containers.
fn published_options(
    programs: &[String],
    args: &[String],
    env: &Env,
    config: &Config,
) -> Result<Vec<String>> {
    let Some(package) = env.get("CARGO_MANIFEST_DIR").filter(|_| config.published_paths) else {
        return Ok(vec![]);
    };
    let (args, cwd) = (parsed(args)?, env.current_dir()?);
    let out_dir = cwd.join(args.value(Flag::OutDir).unwrap_or_default());
    let target = target_root(&out_dir, args.value(Flag::Target));
    let version = Version::of(compiler(programs), env, &Cache::open(env.cache_dir()?)?)?;
    let work = Work::Compile { tool: Tool::Rustc, args, out_dir };
    let unit = Unit { env: variables::of_compile(env), ..Unit::new(work, cwd, package.into()) };
    let release = version.field("release").unwrap_or_default();
    Ok(published_paths::options(&unit, target.as_deref(), str::to_owned, release))
}

/// Fetches the deferred artifacts that the local compiler is going to read.
fn fetch_deferred(programs: &[String], args: &[String], env: &Env, config: &Config) -> Result<()> {
    let args = parsed(args)?;
    let folders = args.crate_folders(&env.current_dir()?);
    let target = folders.iter().find_map(|folder| target_root(folder, args.value(Flag::Target)));
    match target.filter(|target| deferred::may_be_in(target, env)) {
        Some(target) => {
            Session::open(env, config, compiler(programs))?.fetch(target, &folders, |_| true)
        }
        None => Ok(()),
    }
}

/// What is to be compiled by these programs, or why only they can do it.
fn unit_of(
    invocation: Invocation,
    programs: &[String],
    is_text: bool,
    env: &Env,
) -> Result<Unit, String> {
    let mut unit = match invocation {
        Invocation::Compile(unit) => *unit,
        Invocation::Local(reason) => return Err(reason),
        Invocation::Passthrough => return Err("it is a question".to_owned()),
    };
    if !is_text {
        return Err("an argument is not UTF-8".to_owned());
    }
    if let Work::Compile { tool, .. } = &mut unit.work {
        *tool = tool_of(programs, env)?;
    }
    Ok(unit)
}

/// The compiler that these programs come to, which a container has, too.
fn tool_of(programs: &[String], env: &Env) -> Result<Tool, String> {
    let known =
        |program: &String| Tool::named(file_name(program)).or_else(|| identity::tool(program, env));
    match programs {
        [program] => known(program)
            .ok_or(format!("`{program}` (RUSTC) is not rustc itself, and no container has it")),
        // Clippy's driver looks at the name, too.
        [driver, rustc] if file_name(rustc) == "rustc" && known(driver) == Some(Tool::Clippy) => {
            Ok(Tool::Clippy)
        }
        [wrapper, ..] => Err(format!(
            "`{wrapper}` (RUSTC_WORKSPACE_WRAPPER) is a program of this machine, and no container \
             has it"
        )),
        [] => Err("no compiler is named".to_owned()),
    }
}

fn file_name(program: &str) -> &str {
    Utf8Path::new(program).file_name().unwrap_or(program)
}

fn parsed(words: &[String]) -> Result<RustcArgs> {
    let words = args::expand_files(words.to_vec(), |path| fs::read_to_string(path));
    Ok(RustcArgs::parse(words.context("failed to read an @file of arguments")?))
}

/// The compiler among the words before its arguments: wrappers come before it.
fn compiler(programs: &[String]) -> &str {
    programs.last().map_or("rustc", String::as_str)
}

/// Becomes the local compiler.
fn local(mut words: Vec<OsString>) -> Result<ExitCode> {
    let args = words.split_off(1);
    let Err(error) = process::exec(&words[0], args);
    match Tool::named(&words[0].to_string_lossy()) {
        Some(_) => Err(error),
        // A person may have meant a command.
        None => Err(anyhow!("{error:#} (hint: `rustcbuildx --help` shows the commands)")),
    }
}
