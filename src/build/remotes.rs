//! What a build asks of remotes: a process of ours beside it asks them, and fills the store.

use std::{
    io::{BufRead, BufReader, PipeWriter, Write},
    thread,
};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::{
    config::{
        env::{self, Env},
        remotes::RemoteSettings,
        settings::Config,
    },
    step::key::Key,
    util::process::{self, Cmd},
};

/// The program that asks remotes, which is beside this one.
pub const PROGRAM: &str = "rustcbuildx-cache";

/// The first line that the process gets.
#[derive(Serialize, Deserialize)]
pub struct Start {
    /// The cache folder.
    pub cache: Utf8PathBuf,
    pub remotes: Vec<RemoteSettings>,
    pub store_size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// What was remembered, where units were built whose discovered inputs have these names.
    Records { names: Vec<String> },
    /// Outcomes, for the store.
    Fetch { keys: Vec<Key> },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// All records are there.
    Records,
    /// The store has an outcome now, or no remote has it.
    Fetched { key: Key, is_stored: bool },
    /// A remote cannot be used.
    Fails { remote: String, why: String },
}

/// Remotes that are asked by another process.
pub struct Remotes {
    to: PipeWriter,
}

impl Remotes {
    /// Starts the process, if there are any remotes. `on_answer` gets what it answers, and `None`
    /// once it answers no more.
    pub fn start(
        env: &Env,
        config: &Config,
        on_answer: impl Fn(Option<Answer>) + Send + 'static,
    ) -> Result<Option<Self>> {
        if config.remotes.is_empty() || config.store_size == 0 {
            return Ok(None);
        }
        let program = env::current_exe()?.with_file_name(PROGRAM);
        let (to, from) = process::start_to_talk(&Cmd::new(program, ["serve"]))?;
        let mut remotes = Self { to };
        let start = Start {
            cache: env.cache_dir()?,
            remotes: config.remotes.clone(),
            store_size: config.store_size,
        };
        remotes.say(&start)?;
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(answer) => on_answer(Some(answer)),
                    Err(error) => log::warn!("failed to understand `{line}`: {error}"),
                }
            }
            on_answer(None);
        });
        Ok(Some(remotes))
    }

    pub fn ask(&mut self, request: &Request) -> Result<()> {
        self.say(request)
    }

    fn say(&mut self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        self.to.write_all(line.as_bytes()).context("failed to ask remotes: their process ended")
    }
}

/// Why a push that nobody waited for failed, to be told in the next build.
pub mod failures {
    use crate::{config::remotes::RemoteSettings, util::digest::digest};

    /// Where that is in the cache folder.
    pub fn name_of(remote: &RemoteSettings) -> String {
        format!("push-failures/{}", digest([remote.url.as_str()]))
    }
}
