//! One writer after the other, in a place that can only read and replace a whole text.
//!
//! Source: Fischer's algorithm, in Lamport, "A fast mutual exclusion algorithm", 1987. Whoever
//! finds the turn free writes their name there, waits until nobody else can still be about to, and
//! goes on if it is still their name. Who takes longer than that to write does not trust what they
//! found.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use ring::rand::{SecureRandom, SystemRandom};

use crate::util::digest::hex;

/// A text that is read and replaced as a whole.
pub trait Turn {
    fn read(&self) -> Result<Option<String>>;
    fn write(&self, text: &str) -> Result<()>;
}

/// Longer than that, it takes nobody to read and then write who may go on.
const SETTLE: Duration = Duration::from_millis(1500);
/// Who has a turn that long is dead.
const DEAD: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait for a turn at most.
const PATIENCE: Duration = Duration::from_secs(300);

const FREE: &str = "free";

/// Does some work while nobody else does theirs. The work has to be done soon.
pub fn in_turn<T>(turn: &dyn Turn, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    let mut seen: Option<(String, Instant)> = None;
    loop {
        if began.elapsed() > PATIENCE {
            bail!("others write to it all the time (hint: push again later)");
        }
        let asked = Instant::now();
        let found = turn.read()?.filter(|text| text != FREE);
        if let Some(other) = found {
            let since = match &seen {
                Some((same, since)) if *same == other => *since,
                _ => seen.insert((other, Instant::now())).1,
            };
            if since.elapsed() < DEAD {
                thread::sleep(INTERVAL);
                continue;
            }
        }
        let own = new_name()?;
        turn.write(&own)?;
        if asked.elapsed() > SETTLE {
            // Somebody may be at work who found it free as well.
            seen = None;
            continue;
        }
        thread::sleep(SETTLE);
        if turn.read()?.as_deref() != Some(&own) {
            continue;
        }
        let done = work();
        turn.write(FREE)?;
        return done;
    }
}

/// One that nobody else has.
fn new_name() -> Result<String> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow!("the system has no random numbers"))?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// A place that is slow to answer, each time another while.
    #[derive(Default)]
    struct Slow {
        text: Mutex<Option<String>>,
        count: AtomicUsize,
    }

    impl Slow {
        fn wait(&self) {
            let count = self.count.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis((count * 37 % 100) as u64));
        }
    }

    impl Turn for Slow {
        fn read(&self) -> Result<Option<String>> {
            self.wait();
            let text = self.text.lock().unwrap().clone();
            self.wait();
            Ok(text)
        }

        fn write(&self, text: &str) -> Result<()> {
            self.wait();
            *self.text.lock().unwrap() = Some(text.to_owned());
            self.wait();
            Ok(())
        }
    }

    #[test]
    fn one_works_after_the_other() {
        let (turn, at_work) = (Slow::default(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let work = || {
                        assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0);
                        thread::sleep(Duration::from_millis(50));
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        Ok(())
                    };
                    in_turn(&turn, work).unwrap();
                });
            }
        });
        assert_eq!(turn.text.lock().unwrap().as_deref(), Some(FREE));
    }
}
