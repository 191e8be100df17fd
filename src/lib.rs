//! rustcbuildx runs rustc calls, and build scripts, in BuildKit: `RUSTC_WRAPPER=rustcbuildx cargo build`.
//!
//! # The way of a call
//!
//! ```text
//! cargo ── rustc argv + env ──▶ role ▶ compile ▶ unit::Invocation
//!                                         │ Passthrough, Local: exec the local rustc
//!                                         ▼ Compile(Unit)
//!   session: inputs (sources, recipes) ▶ stage ▶ recipe ▶ store: a hit, else
//!                                      plan ▶ engine ▶ runner ▶ artifacts ▶ store
//!                                         │ learned: it read more than declared ⇒ again
//!                                         ▼
//!   artifacts put in place under target/, recipe remembered, stdout, stderr and status replayed
//! ```
//!
//! A build script compiles like any program, but what cargo finds in its place is a [`target::shim`]: a copy of this
//! program with the real one behind it. When cargo starts it, it calls the wrapper, and [`wrapper::build_script`]
//! sends the run the same way; without the wrapper it starts the real program. Which programs are ours, or compilers that a
//! container has, too, is told by what they are, not by their names ([`wrapper::identity`]). What leaves the sandbox is said, once in a
//! build ([`report::notice`]).
//!
//! `cargo green` ([`green`]) lets cargo run, with a [`planning::barrier`] at which the units wait that the store lacks. The first one
//! tells where it belongs and asks for a plan: cargo runs once more in a [`planning::dry_run`], where the wrapper only writes
//! units down ([`planning::recorder`]) and build scripts say placeholders ([`planning::directives`]). What can be told of each unit when is
//! in [`planning::schedule`]; what is missing is taken from what the engine keeps or built in batches ([`build::together`]) and stored, and
//! the gate opens.
//!
//! # Decisions
//!
//! - **Members keep the host's paths, dependencies have common ones** ([`unit::path_map`]). What needs no rewriting is not
//!   rewritten: a member's argv, diagnostics, dep-info, debug information and bytes are plain cargo's. What others
//!   can share is the same everywhere, unless its output uses the path ([`build::embedded_paths`]). A build script's program that does is made
//!   twice: with common paths for containers, with the host's for this machine ([`inputs::canonical_program`]).
//! - **A dependency is mounted from what the engine kept of its making** ([`engine::kept`]): nothing already known to the
//!   engine is sent again, and a call costs the same however much is below its unit. What the store has and the engine
//!   has not is given to it first, for it to keep; a few files, and those of unknown making (plain cargo's, say), are sent
//!   with the call. Only in a plan is a dependency mounted from the stage that makes it. What is kept of crates is mounted
//!   whole and linked into its place ([`step::stage::take_kept`]): with a mount for each file, the engine spent 25 to 100 ms of CPU more
//!   on a unit. Who speaks of where a link leads is built again with mounts.
//! - **A stage's outcome is a folder, not a scratch stage of its own.** File mounts out of that folder cost
//!   the engine 0.07 s a unit, a `COPY` into a scratch stage 0.23 s; only what is sent back is copied. The folder
//!   is not right below the root: BuildKit would walk the whole root to digest it, 0.14 s a unit.
//! - **A step's process is named after its key** ([`store::provenance::Step::called`]): BuildKit's own cache key says of a cache mount
//!   neither its id nor what is in it, so the same words for another kept crate would be the same step to it.
//! - **A plan's units wait for a slot in their containers** ([`config::jobs`]): BuildKit starts all that is ready at once, and
//!   the number of slots must not be part of a step, or another number would be another step. Their compilers have a jobserver each,
//!   for cargo's is out of reach: with few tokens as long as other units are there to use the processors.
//! - **The step succeeds whatever rustc says**, so that diagnostics, status and files come back whole. The
//!   number in [`step::layout::BUILD_ID`] tells a step that ran from one the engine remembered, and a remembered
//!   failure is run again.
//! - **Only what nobody else can look for is left in the engine** ([`target::left`]): a target folder that stays holds what plain
//!   cargo would have put there, for plain cargo, rustdoc and editors to use. Who asks for more gets a build folder apart.
//! - **A recipe's key is the key of its outcome** ([`store::local`]): it digests the step, the sources and, through
//!   their keys, all steps below, so the same key means the same outcome.
//! - **Sources are copied before they are sent** ([`inputs::sources`]), and a copy is called by the digest of its own bytes: whatever is edited
//!   meanwhile, a key never stands for other bytes than those that were used. To look a unit up, nothing is copied, and only files that
//!   changed are read. A file or folder that is heavy is given to the engine once, as stored outcomes are, so that an edit beside
//!   it sends what is small.
//! - **Code finds what is baked into it** ([`unit::baked_paths`]): a build script may be linked with a crate that looks for files in its own
//!   package, as may a macro. Such a run or compile is shown that package at the very path which the code has, so its outcome is
//!   shared with those alone who have it at the same path.
//! - **What a unit reads beyond cargo's word is learned from its answer** ([`inputs::discovered`]). Only version control is never sent: a
//!   build script that asks about it is run here ([`inputs::version_control`]).
//!
//! # Absences
//!
//! `rustc::args`, `rustc::crate_type`, `rustc::emit`, `unit::outputs`, `unit::work`, `rustc::dep_info`, `step::dockerfile`, `planning::directives`, `step::stage`, `step::plan`, `util::quote`, `wrapper::role`,
//! `planning::schedule` and `rustc::tool` touch neither files nor processes. `step::dockerfile` knows no rustc, `rustc::args` and `unit::work` no containers, `step::stage` no
//! engine, `store::archive` no Dockerfile. Only `config::env` reads the environment, only `util::process` starts processes and
//! a runtime, only `engine` knows docker from podman. `tests/tidy.rs` holds them to it.

// One call by cargo.
pub mod wrapper;
// The commands of `rustcbuildx`, and `cargo green`.
pub mod cli;
pub mod green;
// Units through the engine.
pub mod build;
// A whole cargo command, before it runs.
pub mod planning;
// What a unit reads.
pub mod inputs;
// Files under `target/`.
pub mod target;
// What a person is told.
pub mod report;
// Outcomes on this machine.
pub mod store;
// docker and podman.
pub mod engine;
// A unit as a step of a container.
pub mod step;
// What a unit is.
pub mod unit;
// rustc's own words.
pub mod rustc;
// Folders as they were at one moment.
pub mod snapshot;
// What the user asks for.
pub mod config;
// What no room owns.
pub mod util;
