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
    let answer = answer(
        &name,
        cache,
        request,
        |name| pass_at(name, request),
        || {
            start(&cargo, &name, env, cache).unwrap_or_else(|error| {
                log::warn!("{error:#}");
                notice::say_slow(env, "each unit was built by itself", &error);
            });
        },
    );
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

/// What is said at the barrier, where a planner is started first if one is due.
fn answer(
    name: &str,
    cache: &Cache,
    request: &PlanRequest,
    ask: impl Fn(&str) -> Answer,
    start: impl FnOnce(),
) -> Answer {
    // Looked up before anybody is asked: a planner that begins in between is waited for.
    let had_planner = cache.path(&note(name)).exists();
    let answer = ask(name);
    if answer != Answer::Nobody || had_planner || !is_planner_due(name, cache, request) {
        return answer;
    }
    start();
    ask(name)
}

/// Whether a unit for whose cargo there was no planner is to have one started. Of those that may be
/// alone after an edit, the first is none.
fn is_planner_due(name: &str, cache: &Cache, request: &PlanRequest) -> bool {
    let is_first = || cache.claim(&format!("{}-edited", note(name))).unwrap_or(true);
    request.is_worth_a_plan && !(request.may_be_alone && is_first())
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn a_planner_that_another_unit_starts_meanwhile_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Utf8PathBuf::try_from(dir.path().to_owned()).unwrap()).unwrap();
        let (target, output) = ("/target".into(), "/target/debug/deps/liba.rlib".into());
        let request = PlanRequest { target, output, is_worth_a_plan: true, may_be_alone: false };
        let answers = RefCell::new(vec![Answer::Planned, Answer::Nobody]);
        let ask = |name: &str| {
            // Whoever starts a planner makes its barrier first, which nobody was at before.
            cache.claim(&note(name)).unwrap();
            answers.borrow_mut().pop().unwrap()
        };
        assert_eq!(answer("a", &cache, &request, ask, || ()), Answer::Planned);
        // It has ended.
        answers.borrow_mut().push(Answer::Nobody);
        assert_eq!(answer("a", &cache, &request, ask, || panic!("one more")), Answer::Nobody);
    }
}
