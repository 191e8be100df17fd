//! Docker or podman: what is asked of an engine, and how. No other room knows which of them it is.

pub mod cache;
pub mod client;
mod docker;
mod hint;
pub mod images;
pub mod installed;
mod local;
mod on_top;
mod podman;
mod probe;
pub mod result;
mod tunnel;
pub mod worker;

use std::io::Read;

use anyhow::Result;
use camino::Utf8Path;

use crate::{engine::client::Event, step::plan::Plan, util::state_dir::Cache};

/// Takes the result of a call, a tar file ([`result::each_file`]), while it comes.
pub type Receive<'a> = &'a mut (dyn FnMut(&mut dyn Read) -> Result<()> + Send);

/// What carries out calls.
pub trait Engine: Send + Sync {
    fn name(&self) -> &'static str;

    /// The variables that say where it is, as `NAME=value` and blanks.
    fn address(&self) -> &str;

    /// How many processes it can run at once.
    fn processors(&self) -> usize;

    /// Whether its command opens a new connection for each request to a remote machine.
    fn connects_often(&self) -> bool;

    /// The variable that makes its command use a tunnel, which is opened if need be. `None` if
    /// there is no tunnel. Fails if it cannot be opened; the command then finds its own way.
    fn route(&self, cache: &Cache) -> Result<Option<(String, String)>>;

    /// The name that an image has for good: with its digest in its registry or, if only the engine
    /// has it, one that the engine gives it.
    fn pinned(&self, image: &str) -> Result<String>;

    /// Makes an image by a Dockerfile, which may name a folder as a context, and whose steps may
    /// have the machine's network. Returns the name that it has for good. `temp` is a folder for
    /// files.
    fn make(
        &self,
        dockerfile: &str,
        context: Option<(&str, &Utf8Path)>,
        has_host_network: bool,
        temp: &Utf8Path,
    ) -> Result<String>;

    /// Builds a plan, whose secrets are among the variables `env` or those of this process.
    /// `purpose` says what for, in an error. Whatever comes of the call, `receive` has ended when
    /// it is over.
    fn build(
        &self,
        plan: &Plan,
        env: Vec<(String, String)>,
        purpose: &str,
        on_event: &mut dyn FnMut(Event),
        receive: Receive<'_>,
    ) -> Result<()>;
}
