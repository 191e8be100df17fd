//! How far a planned build is, on standard error: a bar like cargo's on a terminal, lines now and
//! then elsewhere.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{engine::client::Event, step::key::Key};

/// Between two lines where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

pub struct Progress {
    bar: ProgressBar,
    is_quiet: bool,
    /// The units to build, by their keys.
    names: HashMap<Key, String>,
    done: BTreeSet<Key>,
    cached: usize,
    at_work: BTreeSet<Key>,
    last: Instant,
}

impl Progress {
    pub fn new(is_quiet: bool) -> Self {
        let bar = if is_quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style =
            ProgressStyle::with_template("{prefix:>12.cyan.bold} [{bar:25}] {pos}/{len}{msg}");
        bar.set_style(style.expect("a valid template").progress_chars("=> "));
        bar.set_prefix("Building");
        let (names, done, at_work) = Default::default();
        Self { bar, is_quiet, names, done, cached: 0, at_work, last: Instant::now() }
    }

    /// More units to wait for.
    pub fn expect(&mut self, names: impl IntoIterator<Item = (Key, String)>) {
        self.names.extend(names);
        self.bar.set_length(self.names.len() as u64);
        // For the bar to be there before the first task is done.
        self.bar.tick();
    }

    pub fn add(&mut self, event: Event) {
        match event {
            Event::Started { key }
                if self.names.contains_key(&key) && !self.done.contains(&key) =>
            {
                self.at_work.insert(key);
            }
            Event::Ended { key, is_stored } if self.names.contains_key(&key) => {
                self.at_work.remove(&key);
                if self.done.insert(key) && is_stored {
                    self.cached += 1;
                }
            }
            _ => return,
        }
        self.show();
    }

    fn show(&mut self) {
        self.bar.set_position(self.done.len() as u64);
        self.bar.set_message(self.message());
        if self.bar.is_hidden() && !self.is_quiet && self.last.elapsed() >= INTERVAL {
            self.last = Instant::now();
            eprintln!(
                "{:>12} {}/{}{}",
                "Building",
                self.done.len(),
                self.names.len(),
                self.message()
            );
        }
    }

    fn message(&self) -> String {
        let cached =
            if self.cached > 0 { format!(" ({} cached)", self.cached) } else { String::new() };
        let at_work: Vec<&str> = self.at_work.iter().map(|key| self.names[key].as_str()).collect();
        let more = if at_work.len() > 4 { ", …" } else { "" };
        let at_work = at_work[..at_work.len().min(4)].join(", ");
        format!("{cached}{}{at_work}{more}", if at_work.is_empty() { "" } else { ": " })
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_counted_once() {
        let names = [("u1", "a"), ("u2", "b")].map(|(key, name)| (key.to_owned(), name.to_owned()));
        let mut progress = Progress::new(true);
        progress.expect(names);
        let done = |key: &str, is_stored| Event::Ended { key: key.to_owned(), is_stored };
        progress.add(Event::Started { key: "u1".to_owned() });
        assert_eq!(progress.message(), ": a");
        for event in [done("u1", false), done("u1", false), done("u9", false), done("u2", true)] {
            progress.add(event);
        }
        assert_eq!((progress.done.len(), progress.message().as_str()), (2, " (1 cached)"));
    }
}
