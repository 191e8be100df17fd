//! The worker: runs the tasks of a batch inside of a container, each held to what it was given, and
//! leaves their outcomes.
//!
//! The image's own compiler builds it, so it needs nothing but the standard library.
//!
//! - `protocol`, `touched`, `lines`, `pack`: what client and worker agree on. The client is built
//!   from these files, too.
//! - `batch`: all tasks, from what the client gave to what it gets; `batch/task`: one of them.
//! - `schedule`: which of them runs next; `tokens`: how many processes run at once.
//! - `view`: what is where, `files`: how it gets there; `rules`: what of that a task may touch.
//! - `process`: one task's process; `observe`: what it touches; `preload`, a library that programs
//!   load: what it asks for.
//! - `outcome`: what it left, `written`: in folders that are not its own.
//! - `store`: what the engine stores of that, and what of it is damaged.
//! - `export`: what the client gets.
//! - `bytes`: compression, check sums and search; other processes' memory, and what they tell.
//! - `report`: errors, and what the client is told beside outcomes; `sys`: the kernel.

mod batch;
#[cfg(test)]
mod bytes;
mod export;
mod files;
#[allow(dead_code, reason = "a client reads other lines")]
mod lines;
mod observe;
mod outcome;
#[allow(dead_code, reason = "a client writes packs")]
mod pack;
mod process;
#[allow(dead_code, reason = "a client writes batches")]
mod protocol;
mod report;
mod rules;
mod schedule;
mod store;
mod sys;
mod tokens;
#[allow(dead_code, reason = "a client reads what a task touched")]
mod touched;
mod view;
mod written;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[cfg(not(test))]
extern crate bytes;

use batch::Folders;

fn main() -> ExitCode {
    let root = Path::new(protocol::WORKER);
    let folder = |name: &str| -> PathBuf { root.join(name) };
    let result = batch::run(&Folders {
        bin: folder("bin"),
        given: folder("given"),
        store: folder("store"),
        slots: folder("slots"),
        outcomes: folder("outcome"),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(127)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    /// A folder for one test.
    pub struct Scratch {
        root: PathBuf,
    }

    impl Scratch {
        pub fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("worker-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self { root }
        }

        pub fn path(&self, name: &str) -> PathBuf {
            self.root.join(name)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
