//! A planner in the background, for a cargo that nobody started with one.
//!
//! The first unit that the store lacks makes the barrier of its cargo, and starts this program
//! again as the planner, which has the barrier as its standard input. Units that come later find
//! the barrier by its name, which follows from cargo's process. There is one planner for each cargo
//! in all its life: whoever comes after it goes on alone. It ends with cargo at the latest.

use anyhow::Result;

use crate::{
    config::env::{self, Env, NOTICES},
    planning::{
        barrier::{Answer, Barrier, PlanRequest, pass as pass_at},
        caller::Caller,
    },
    report::notice,
    util::{process, state_dir::Cache},
};

/// The first argument of the planner. The number of cargo's process follows.
pub const COMMAND: &str = "--plan-in-background";

/// Waits until a planner has carried out a plan for the cargo that called this process, and starts
/// the planner if there was none. Returns the planner's name and its answer; `None` where no
/// planner may be.
pub fn pass(env: &Env, cache: &Cache, request: &PlanRequest) -> Option<(String, Answer)> {
    // That is a planner, or below `cargo green`, which has had one.
    if env.get(NOTICES).is_some() {
        return None;
    }
    let cargo = Caller::find()?;
    let name = cargo.barrier();
    let mut answer = pass_at(&name, request);
    if answer == Answer::Nobody && is_planner_due(&name, cache, request) {
        start(&cargo, &name, env, cache).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            notice::say_slow(env, "each unit was built by itself", &error);
        });
        answer = pass_at(&name, request);
    }
    if answer == Answer::Planned {
        if !cargo.process.is_cargo_still() {
            // Nobody waits for the unit any more, nor reads an error.
            std::process::exit(1);
        }
        notice::say_for_planner(env, &name);
    }
    Some((name, answer))
}

/// A name for the command of cargo that this process serves, which its planner has, too; `None` if
/// there is no cargo.
pub fn command(env: &Env) -> Option<String> {
    env.get(NOTICES).map_or_else(|| Some(Caller::find()?.barrier()), |name| Some(name.to_owned()))
}

/// Whether a unit that finds nobody at the barrier is to have a planner started. Of those that
/// may be alone after an edit, the first is none.
fn is_planner_due(name: &str, cache: &Cache, request: &PlanRequest) -> bool {
    if !request.is_worth_a_plan || cache.path(&note(name)).exists() {
        return false;
    }
    !request.may_be_alone || !cache.claim(&format!("{}-edited", note(name))).unwrap_or(true)
}

/// Is there once a planner was started for the cargo of this barrier.
fn note(name: &str) -> String {
    format!("plans/{name}")
}

/// Starts a planner, unless somebody else has.
fn start(cargo: &Caller, name: &str, env: &Env, cache: &Cache) -> Result<()> {
    // If it exists, its maker starts the planner.
    let Ok(barrier) = Barrier::new(name) else { return Ok(()) };
    if !cache.claim(&note(name))? {
        return Ok(());
    }
    let mut environment = cargo.planners_environment(env);
    environment.push((NOTICES.into(), name.into()));
    process::start_detached(
        env::current_exe()?.as_ref(),
        [COMMAND.into(), cargo.process.id.to_string().into()],
        environment,
        &cargo.folder,
        barrier.into(),
    )
}
