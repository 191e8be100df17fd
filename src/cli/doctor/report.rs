//! What was found, a line each.

use std::process::ExitCode;

use anyhow::{Error, Result};

#[derive(Default)]
pub struct Report {
    is_something_wrong: bool,
}

impl Report {
    /// Says what was found of a part, or why it is of no use.
    pub fn of<T>(&mut self, part: &str, found: Result<(T, String)>) -> Option<T> {
        match found {
            Ok((value, text)) => {
                self.fine(part, &text);
                Some(value)
            }
            Err(error) => {
                self.wrong(part, &error);
                None
            }
        }
    }

    pub fn fine(&self, part: &str, text: &str) {
        println!("ok     {part}: {text}");
    }

    /// Of what works, but could be better.
    pub fn note(&self, part: &str, text: &str) {
        println!("note   {part}: {text}");
    }

    pub fn wrong(&mut self, part: &str, error: &Error) {
        self.is_something_wrong = true;
        println!("WRONG  {part}: {error:#}");
    }

    pub fn status(&self) -> ExitCode {
        match self.is_something_wrong {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}
