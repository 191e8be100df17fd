//! Remotes beside a plan: they are asked for what it lacks, and get what it made.

use std::{
    fs::File,
    sync::mpsc::{self, Receiver},
    thread,
};

use anyhow::{Result, anyhow};

use crate::{
    build::{
        remotes::{Answer, PROGRAM, Remotes, Request, failures},
        together::Together,
    },
    config::{
        env::{Env, current_exe, environment_of},
        settings::Config,
    },
    report::notice,
    util::{process, state_dir::Cache},
};

/// What makes a build slower, for [`notice::say_slow`].
const NO_REMOTES: &str = "no remote is used";

/// Remotes, and what they answer.
pub(super) struct AskedRemotes {
    remotes: Remotes,
    answers: Receiver<Option<Answer>>,
}

impl AskedRemotes {
    /// Starts to ask remotes, if there are any. The build is right without them.
    pub fn start(env: &Env, config: &Config) -> Option<Self> {
        say_of_last_push(env, config);
        let (sender, answers) = mpsc::channel();
        let started = Remotes::start(env, config, move |answer| drop(sender.send(answer)));
        let remotes = started.unwrap_or_else(|error| {
            notice::say_slow(env, NO_REMOTES, &error);
            None
        })?;
        Some(Self { remotes, answers })
    }

    /// Waits for what remotes remember of the units, which decides their keys.
    pub fn bring_records(mut self, env: &Env, together: &mut Together<'_>) -> Option<Self> {
        let names = together.with_remotes();
        let asked = self.remotes.ask(&Request::Records { names });
        if let Err(error) = &asked {
            notice::say_slow(env, NO_REMOTES, error);
        }
        while asked.is_ok() {
            match self.answers.recv().ok().flatten() {
                Some(Answer::Records) => return Some(self),
                Some(answer) => say_of_remote(env, &answer),
                None => break,
            }
        }
        together.end_fetching();
        None
    }

    /// Hands on each answer from now on, as long as `each` wants more.
    pub fn hand_on(self, each: impl Fn(Option<Answer>) -> bool + Send + 'static) -> Remotes {
        let Self { remotes, answers } = self;
        thread::spawn(move || answers.into_iter().all(each));
        remotes
    }
}

pub(super) fn say_of_remote(env: &Env, answer: &Answer) {
    if let Answer::Fails { remote, why } = answer {
        notice::say_slow(env, &format!("the remote `{remote}` is not used"), &anyhow!("{why}"));
    }
}

fn say_of_last_push(env: &Env, config: &Config) {
    let Ok(cache) = env.cache_dir().and_then(Cache::open) else { return };
    for remote in config.remotes.iter().filter(|remote| remote.is_writable) {
        if let Some(why) = cache.read::<String>(&failures::name_of(remote)) {
            let kind = format!("the last build was not added to the remote `{}`", remote.name);
            notice::say_slow(env, &kind, &anyhow!("{why}"));
        }
    }
}

/// Has what is built added to remotes once the command of this process has ended, by another
/// process, which nobody waits for.
pub(super) fn push_after(env: &Env, config: &Config, process: u32) -> Result<()> {
    if !config.remotes.iter().any(|remote| remote.is_writable) {
        return Ok(());
    }
    process::start_detached(
        current_exe()?.with_file_name(PROGRAM).as_ref(),
        ["push".into(), "--after".into(), process.to_string().into()],
        environment_of(std::process::id()).unwrap_or_default(),
        env.current_dir()?.as_std_path(),
        File::open("/dev/null")?.into(),
    )
}
