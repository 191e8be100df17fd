//! What went wrong, in words.

use std::{fmt::Display, result};

pub type Result<T> = result::Result<T, String>;

pub trait Explain<T> {
    /// Says what failed, before why.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> Explain<T> for result::Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| format!("{}: {error}", what()))
    }
}
