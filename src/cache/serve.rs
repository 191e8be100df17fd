//! `rustcbuildx-cache serve`: asks remotes in the place of a build. Requests come on standard
//! input, and answers go to standard output, a line each ([`crate::build::remotes`]).

use std::{
    collections::HashSet,
    io::{self, BufRead, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Error, Result};

use crate::{
    build::remotes::{Answer, Request, Start},
    config::remotes::RemoteSettings,
    remote::pull::Puller,
    util::state_dir::Cache,
};

/// Ends when nobody asks any more, whatever it is at.
pub fn run() -> Result<ExitCode> {
    let mut lines = io::stdin().lock().lines();
    let first = lines.next().context("nobody asks")??;
    let Start { cache, remotes, store_size } =
        serde_json::from_str(&first).context("only rustcbuildx asks this program to serve")?;
    let cache = Cache::open(cache)?;
    let failed = Mutex::new(HashSet::new());
    let say = |answer: Answer| {
        let mut to = io::stdout().lock();
        // Whoever no longer listens wants no answer.
        let _ = writeln!(to, "{}", serde_json::to_string(&answer).unwrap_or_default());
        let _ = to.flush();
    };
    let fail = |settings: &RemoteSettings, error: Error| {
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        log::warn!("{}: {error:#}", settings.name);
        if failed.insert(settings.name.clone()) {
            say(Answer::Fails { remote: settings.name.clone(), why: format!("{error:#}") });
        }
    };
    let puller = Puller::open(&remotes, &cache, store_size, fail);
    thread::scope(|scope| {
        for line in lines {
            let request = serde_json::from_str(&line?).context("a request is not understood")?;
            match request {
                Request::Records { names } => {
                    puller.fetch_records(&names, &fail);
                    say(Answer::Records);
                }
                Request::Fetch { keys } => {
                    let (puller, say, fail) = (&puller, &say, &fail);
                    scope.spawn(move || {
                        let each = |key: &str, is_stored| {
                            say(Answer::Fetched { key: key.to_owned(), is_stored });
                        };
                        puller.fetch(keys, &each, fail);
                    });
                }
            }
        }
        std::process::exit(0)
    })
}
