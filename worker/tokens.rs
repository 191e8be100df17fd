//! How many processes run at once: the jobserver of a batch, which its tasks share with the threads
//! of their compilers, and the processors of the machine, which all calls share.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
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

/// The processors of the machine: each task of each call holds the lock of one while it runs.
pub struct Processors {
    pub folder: PathBuf,
    pub count: usize,
}

impl Processors {
    /// The lock of a processor that no other task has, if there is one. It is released when the
    /// file is closed, even by a kill.
    pub fn acquire(&self) -> Option<File> {
        (0..self.count).find_map(|number| {
            let path = self.folder.join(number.to_string());
            let file = File::options().create(true).append(true).open(path).ok()?;
            sys::try_lock(file.as_fd()).then_some(file)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn a_processor_has_one_task() {
        let scratch = Scratch::new("a_processor_has_one_task");
        let calls = [(); 2].map(|()| Processors { folder: scratch.path(""), count: 2 });
        let first = calls[0].acquire();
        let second = calls[1].acquire();
        assert!(first.is_some() && second.is_some());
        assert!(calls[0].acquire().is_none());
        drop(second);
        assert!(calls[0].acquire().is_some());
    }

    #[test]
    fn tokens_come_back() {
        let tokens = Tokens::new(2).unwrap();
        assert!(tokens.acquire() && tokens.acquire() && !tokens.acquire());
        tokens.reset();
        assert!(tokens.acquire() && tokens.acquire() && !tokens.acquire());
    }
}
