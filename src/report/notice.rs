//! Tells the user something once in a build, however many processes of this program the build has.
//!
//! A build is identified by the cargo process that started this one, directly or through others.
//! Cargo stores what a compiler writes to standard error and prints it again in each later build,
//! and it hides what a build script writes. So a notice is written to cargo's own standard error
//! where that certainly does no harm. Elsewhere, a compile writes it to its own standard error, and
//! a build script's run defers it to the next compile of the same build: a package's library is
//! compiled after its script.

use std::{
    fs::{self, OpenOptions},
    io::{IsTerminal, Write},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
};

use anyhow::Error;

use crate::{
    config::{
        env::{Env, NOTICES, RECORDER},
        settings::{Config, taken_from_sandbox},
    },
    util::{
        ancestors::{self, Process},
        digest::digest,
        state_dir::Cache,
    },
};

/// Says `text` unless it, or another text of the same `kind`, was said in this build before.
pub fn say(env: &Env, kind: &str, text: &str) {
    Notices::of(env).say(kind, text);
}

/// Tells the user, once in a build, what a workspace's settings take from the sandbox.
pub fn say_less_safe(env: &Env, config: &Config) {
    if let Some(text) = taken_from_sandbox(env, config) {
        say(env, LESS_SAFE, &text);
    }
}

/// The same, for the process that becomes cargo.
pub fn say_less_safe_first(env: &Env, config: &Config) {
    if let Some(text) = taken_from_sandbox(env, config) {
        say_for(env, None, LESS_SAFE, &text);
    }
}

/// Tells the user of a failure that makes the build slower but does not change its result. Where
/// the build, or its planner, has a name, others print it: [`say_at_end`], [`say_for_planner`].
pub fn say_slow(env: &Env, kind: &str, why: &Error) {
    let why = format!("{why:#}");
    let why = why.lines().next().unwrap_or_default();
    let text = format!("{kind}, since {why}");
    let notices = Notices::of(env);
    match notices.has_end {
        true => notices.leave(END, kind, &text),
        false => notices.say(kind, &slower(&text, "")),
    }
}

/// Whoever says more, in the log, may have no standard error that anyone sees.
fn slower(why: &str, also: &str) -> String {
    format!("slower than it could be: {why} (hint: RUSTCBUILDX_LOG=warn{also} says more)")
}

/// Tells the user, in the place of the planner of this name, what made the build slow. A planner in
/// the background has no standard error.
pub fn say_for_planner(env: &Env, name: &str) {
    let planner = Notices { build: name.to_owned(), ..Notices::of(env) };
    for (kind, text) in planner.claim(END) {
        Notices::of(env).say(&kind, &slower(&text, " with RUSTCBUILDX_LOG_PATH"));
    }
}

/// Like [`say`], for the process that becomes cargo or, if it gives the build a name, starts cargo.
pub fn say_for(env: &Env, name: Option<&str>, kind: &str, text: &str) {
    let own = || Process::own().map(|own| own.identity()).unwrap_or_default();
    let build = name.map_or_else(own, str::to_owned);
    Notices { build, cargo: None, is_hidden: false, ..Notices::of(env) }.say(kind, text);
}

/// Prints the notices that runs of build scripts deferred to the next compile.
pub fn say_deferred(env: &Env) {
    // Most builds have no such folder.
    if env.cache_dir().is_ok_and(|dir| dir.join(DEFERRED).exists()) {
        let notices = Notices::of(env);
        if !notices.is_dry_run {
            notices.say_deferred(NEXT);
        }
    }
}

/// At the end of a build that has a name: prints its deferred notices, and in one line what made it
/// slow.
pub fn say_at_end(env: &Env, name: &str) {
    let notices =
        Notices { build: name.to_owned(), cargo: None, is_hidden: false, ..Notices::of(env) };
    notices.say_deferred(NEXT);
    let slow: Vec<String> = notices.claim(END).into_iter().map(|(_, text)| text).collect();
    if !slow.is_empty() {
        to_stderr(&slower(&slow.join("; "), ""));
    }
}

fn to_stderr(text: &str) {
    // Nobody may listen any more.
    let _ = writeln!(std::io::stderr(), "rustcbuildx: {text}");
}

/// The kind of [`say_less_safe`].
const LESS_SAFE: &str = "less safe";
/// By whom a deferred notice is printed.
const NEXT: &str = "next";
const END: &str = "end";
/// The folders of the notices that were printed and of those that are still to be printed. Both are
/// in the cache folder.
const ISSUED: &str = "notices";
const DEFERRED: &str = "notices-left";

/// The notices of one build, for one of its processes.
struct Notices {
    /// Without it, each process prints its own notices.
    cache: Option<Cache>,
    /// A name that no other build has.
    build: String,
    /// The process that the user started.
    cargo: Option<u32>,
    /// Whether nobody sees this process's standard error unless it fails.
    is_hidden: bool,
    /// Whether others print at the end what made the build slow.
    has_end: bool,
    /// Nobody sees the output of a dry run, and the command itself will print the same.
    is_dry_run: bool,
}

impl Notices {
    fn of(env: &Env) -> Self {
        let cargo = ancestors::users_cargo();
        let name = env.get(NOTICES);
        let parent = || Process::own().and_then(|own| Process::of(own.parent));
        let build = match name {
            Some(name) => name.to_owned(),
            None => {
                let starter = cargo.clone().or_else(parent);
                starter.map(|starter| starter.identity()).unwrap_or_default()
            }
        };
        Self {
            cache: env.cache_dir().and_then(Cache::open).ok(),
            build,
            cargo: cargo.map(|cargo| cargo.id),
            // Cargo sets the second for compiles only (cargo docs, "Environment variables Cargo
            // sets for crates").
            is_hidden: env.get("OUT_DIR").is_some() && env.get("CARGO_CRATE_NAME").is_none(),
            has_end: name.is_some(),
            is_dry_run: env.get(RECORDER).is_some(),
        }
    }

    fn say(&self, kind: &str, text: &str) {
        if self.is_dry_run || !self.is_first(kind) {
            return;
        }
        if self
            .cargo
            .is_some_and(|cargo| write_for(cargo, &format!("rustcbuildx: {text}\n")).is_some())
        {
            return;
        }
        if self.is_hidden {
            self.leave(NEXT, kind, text);
        }
        to_stderr(text);
    }

    /// Whether this process is the first of the build with a notice of this kind.
    fn is_first(&self, kind: &str) -> bool {
        let Some(cache) = &self.cache else { return true };
        let name = format!("{ISSUED}/{}", digest([self.build.as_str(), kind]));
        // Rather twice than never.
        cache.claim(&name).unwrap_or(true)
    }

    /// Defers a notice to `whom`.
    fn leave(&self, whom: &str, kind: &str, text: &str) {
        let Some(cache) = self.cache.as_ref().filter(|_| !self.is_dry_run) else { return };
        let name = format!("{DEFERRED}/{}{}", self.prefix(whom), digest([kind]));
        cache.write(&name, &(kind, text)).unwrap_or_else(|error| log::warn!("{error:#}"));
    }

    fn prefix(&self, whom: &str) -> String {
        format!("{whom}-{}-", digest([&self.build]))
    }

    fn say_deferred(&self, whom: &str) {
        self.claim(whom).iter().for_each(|(_, text)| to_stderr(text));
    }

    /// The notices that were deferred to `whom`, each with its kind. Whoever takes one prints it,
    /// and nobody else finds it.
    fn claim(&self, whom: &str) -> Vec<(String, String)> {
        let Some(cache) = &self.cache else { return vec![] };
        let Ok(entries) = cache.path(DEFERRED).read_dir_utf8() else { return vec![] };
        let names = entries.flatten().map(|entry| entry.file_name().to_owned());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with(&self.prefix(whom))).collect();
        names.sort();
        let take = |name: String| {
            let name = format!("{DEFERRED}/{name}");
            let text = cache.read(&name)?;
            fs::remove_file(cache.path(&name)).ok().map(|()| text)
        };
        names.into_iter().filter_map(take).collect()
    }
}

/// Writes a line to the standard error of a process, if what it writes itself goes on behind that:
/// to a terminal, a pipe, or a file that is appended to.
fn write_for(process: u32, line: &str) -> Option<()> {
    let flags = fs::read_to_string(format!("/proc/{process}/fdinfo/2")).ok()?;
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
    let flags = u32::from_str_radix(flags, 8).ok()?;
    let path = format!("/proc/{process}/fd/2");
    let kind = fs::metadata(&path).ok()?.file_type();
    let appends = flags & rustix::fs::OFlags::APPEND.bits() != 0;
    if !(kind.is_fifo() || kind.is_char_device() || kind.is_file() && appends) {
        return None;
    }
    // A pipe that nobody reads any more would have this process wait.
    let options = rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK;
    let mut file = OpenOptions::new()
        .append(true)
        .custom_flags(options.bits().cast_signed())
        .open(path)
        .ok()?;
    // In the place of cargo's bar, which cargo draws again.
    let begin = if file.is_terminal() { "\r\x1b[K" } else { "" };
    file.write_all(format!("{begin}{line}").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn notices(dir: &tempfile::TempDir, build: &str, is_hidden: bool) -> Notices {
        let root = Utf8PathBuf::from_path_buf(dir.path().join("c")).unwrap();
        let cache = Cache::open(root).ok();
        Notices {
            cache,
            build: build.to_owned(),
            cargo: None,
            is_hidden,
            has_end: false,
            is_dry_run: false,
        }
    }

    #[test]
    fn one_process_of_a_build_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            ("a", "x", true),
            ("a", "x", false),
            ("a", "y", true),
            ("b", "x", true),
            ("b", "x", false),
        ];
        for (build, kind, expected) in cases {
            assert_eq!(notices(&dir, build, false).is_first(kind), expected, "{build} {kind}");
        }
    }

    #[test]
    fn what_is_hidden_is_left_to_a_compile_of_the_same_build() {
        let dir = tempfile::tempdir().unwrap();
        let [script, compile, other] = [("a", true), ("a", false), ("b", false)]
            .map(|(build, is_hidden)| notices(&dir, build, is_hidden));
        script.say("x", "text");
        script.say("x", "text");
        script.leave(END, "slow", "later");
        assert!(other.claim(NEXT).is_empty() && other.claim(END).is_empty());
        let pair = |kind: &str, text: &str| (kind.to_owned(), text.to_owned());
        assert_eq!(compile.claim(NEXT), [pair("x", "text")]);
        assert!(compile.claim(NEXT).is_empty());
        assert_eq!(compile.claim(END), [pair("slow", "later")]);
    }

    #[test]
    fn a_file_that_would_be_overwritten_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        for (appends, expected) in [(true, "behind\n"), (false, "")] {
            let path = dir.path().join(format!("{appends}"));
            let file = OpenOptions::new()
                .create_new(true)
                .append(appends)
                .write(true)
                .open(&path)
                .unwrap();
            let mut sleeper =
                std::process::Command::new("sleep").arg("60").stderr(file).spawn().unwrap();
            write_for(sleeper.id(), "behind\n");
            sleeper.kill().unwrap();
            sleeper.wait().unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), expected);
        }
    }
}
