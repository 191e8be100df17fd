//! Records the units of a dry run. The wrapper compiles nothing there; it writes each unit down,
//! and writes empty files in place of its outputs, so that cargo goes on to the next unit. See
//! [`crate::green`].
//!
//! A dry run has a target folder of its own, which the units' path maps replace by the real one. No
//! build script runs in it: their directives are placeholders ([`crate::planning::directives`]).

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::env::{Env, RECORDER},
    planning::directives,
    rustc::{
        args::{Flag, RustcArgs},
        outputs,
    },
    target::shim,
    unit::{
        variables::NUM_JOBS,
        work::{Unit, Work},
    },
    util::{disk::OnDisk, state_dir::Cache},
};

/// What is written down, in a cache of its own.
pub struct Recorder {
    pub cache: Cache,
}

impl Recorder {
    /// That of the dry run that this process is part of, if it is.
    pub fn current(env: &Env) -> Result<Option<Self>> {
        env.get(RECORDER).map(|folder| Self::begin(folder.into())).transpose()
    }

    /// The one in a folder.
    pub fn begin(folder: Utf8PathBuf) -> Result<Self> {
        Ok(Self { cache: Cache::open(folder)? })
    }

    /// The target folder of the dry run.
    pub fn target(&self) -> Utf8PathBuf {
        self.cache.path("stand-in")
    }

    /// Writes a unit down and answers cargo as if its work were done.
    pub fn add(&self, unit: &Unit, env: &Env) -> Result<ExitCode> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.cache.write(&format!("units/{:032}-{}", now.as_nanos(), std::process::id()), unit)?;
        let said = match &unit.work {
            Work::Compile { args, out_dir, .. } => {
                let messages = write_empty_outputs(unit, args, out_dir)
                    .on_disk(out_dir, || format!("failed to write to `{out_dir}`"))?;
                std::io::stderr().write_all(messages.as_bytes())
            }
            Work::BuildScript { out_dir, .. } => {
                if let Some(jobs) = env.get(NUM_JOBS) {
                    self.cache.write("jobs", &jobs)?;
                }
                std::io::stdout().write_all(directives::words(out_dir).as_bytes())
            }
        };
        said.context("failed to answer cargo")?;
        Ok(ExitCode::SUCCESS)
    }

    /// How many processes cargo runs at once, if it told anyone.
    pub fn jobs(&self) -> Option<String> {
        self.cache.read("jobs")
    }

    /// All units, each after those that it is made from.
    pub fn units(&self) -> Result<Vec<Unit>> {
        let folder = self.cache.path("units");
        let Ok(entries) = folder.read_dir_utf8() else { return Ok(vec![]) };
        let mut names: Vec<String> = entries
            .map(|entry| Ok(entry?.file_name().to_owned()))
            .collect::<std::io::Result<_>>()?;
        names.sort();
        let read = |name: &String| self.cache.read(&format!("units/{name}"));
        names
            .iter()
            .map(|name| read(name).with_context(|| format!("failed to read `{folder}/{name}`")))
            .collect()
    }
}

/// Puts empty files in the place of a compile's outputs; returns the messages that cargo waits for.
fn write_empty_outputs(unit: &Unit, args: &RustcArgs, out_dir: &Utf8Path) -> Result<String> {
    fs::create_dir_all(out_dir)?;
    let mut messages = String::new();
    for (name, kind) in outputs::of(args) {
        let path = out_dir.join(&name);
        let input = args.inputs().next().unwrap_or_default();
        fs::write(
            &path,
            if kind == "dep-info" {
                format!("{path}: {input}\n\n{input}:\n")
            } else {
                String::new()
            },
        )?;
        if unit.makes_build_script() && path.extension().is_none() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            shim::wrap(&path, &path, script().as_bytes())?;
        }
        if args.values(Flag::Json).any(|kinds| kinds.split(',').any(|kind| kind == "artifacts")) {
            let message =
                serde_json::json!({"$message_type": "artifact", "artifact": path, "emit": kind});
            messages += &format!("{message}\n");
        }
    }
    Ok(messages)
}

/// What stands in for a build script: cargo starts it.
fn script() -> String {
    format!("#!/bin/sh\nexec \"$RUSTC_WRAPPER\" {} \"$0\"\n", shim::COMMAND)
}
