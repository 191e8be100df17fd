//! How many processes run at once: the jobserver of a batch, which its tasks share with the threads
//! of their compilers.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
};

use crate::{
    report::{Explain, Result},
    sys,
};

/// As many tokens as processes may run at once. A running task has one, and a thread of a compiler
/// takes another one from the pipe.
pub struct Tokens {
    pub reading: OwnedFd,
    pub writing: OwnedFd,
    pub count: usize,
}

impl Tokens {
    pub fn new(count: usize) -> Result<Self> {
        let (reading, writing) = sys::pipe(true).explain(|| "failed to make a pipe".to_owned())?;
        let tokens = Self { reading, writing, count };
        tokens.give(count);
        Ok(tokens)
    }

    /// Puts tokens back.
    pub fn give(&self, count: usize) {
        // The pipe holds far more than there are processors.
        if let Ok(fd) = self.writing.try_clone() {
            let _ = File::from(fd).write_all(&vec![b'+'; count]);
        }
    }

    /// Takes a token; returns whether there was one.
    pub fn acquire(&self) -> bool {
        let mut token = [0];
        self.reading
            .try_clone()
            .is_ok_and(|fd| File::from(fd).read(&mut token).is_ok_and(|count| count == 1))
    }

    /// Puts all tokens back, at a time when no process can have one: whoever was killed took some
    /// along.
    pub fn reset(&self) {
        while self.acquire() {}
        self.give(self.count);
    }
}
