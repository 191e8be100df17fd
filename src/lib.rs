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
//! A build script compiles like any program, but what cargo finds in its place is a [`shim`]: a copy of this
//! program with the real one behind it. When cargo starts it, it calls the wrapper, and [`build_script`]
//! sends the run the same way; without the wrapper it starts the real program. Which programs are ours, or compilers that a
//! container has, too, is told by what they are, not by their names ([`identity`]). What leaves the sandbox is said, once in a
//! build ([`notice`]).
//!
//! `cargo green` ([`green`]) lets cargo run, with a [`gate`] at which the units wait that the store lacks. The first one
//! tells where it belongs and asks for a plan: cargo runs once more in a [`rehearsal`], where the wrapper only writes
//! units down ([`recording`]) and build scripts say placeholders ([`placeholder`]). What can be told of each unit when is
//! in [`schedule`]; what is missing is taken from what the engine keeps or built in batches ([`session::together`]) and stored, and
//! the gate opens.
//!
//! # Decisions
//!
//! - **Members keep the host's paths, dependencies have common ones** ([`places`]). What needs no rewriting is not
//!   rewritten: a member's argv, diagnostics, dep-info, debug information and bytes are plain cargo's. What others
//!   can share is the same everywhere, unless its output uses the path ([`leak`]). A build script's program that does is made
//!   twice: with common paths for containers, with the host's for this machine ([`program`]).
//! - **A dependency is mounted from what the engine kept of its making** ([`kept`]): nothing already known to the
//!   engine is sent again, and a call costs the same however much is below its unit. What the store has and the engine
//!   has not is given to it first, for it to keep; a few files, and those of unknown making (plain cargo's, say), are sent
//!   with the call. Only in a plan is a dependency mounted from the stage that makes it. What is kept of crates is mounted
//!   whole and linked into its place ([`stage::take_kept`]): with a mount for each file, the engine spent 25 to 100 ms of CPU more
//!   on a unit. Who speaks of where a link leads is built again with mounts.
//! - **A stage's outcome is a folder, not a scratch stage of its own.** File mounts out of that folder cost
//!   the engine 0.07 s a unit, a `COPY` into a scratch stage 0.23 s; only what is sent back is copied. The folder
//!   is not right below the root: BuildKit would walk the whole root to digest it, 0.14 s a unit.
//! - **A step's process is named after its key** ([`recipe::Step::called`]): BuildKit's own cache key says of a cache mount
//!   neither its id nor what is in it, so the same words for another kept crate would be the same step to it.
//! - **A plan's units wait for a slot in their containers** ([`jobs`]): BuildKit starts all that is ready at once, and
//!   the number of slots must not be part of a step, or another number would be another step. Their compilers have a jobserver each,
//!   for cargo's is out of reach: with few tokens as long as other units are there to use the processors.
//! - **The step succeeds whatever rustc says**, so that diagnostics, status and files come back whole. The
//!   number in [`stage::NONCE`] tells a step that ran from one the engine remembered, and a remembered
//!   failure is run again.
//! - **Only what nobody else can look for is left in the engine** ([`left`]): a target folder that stays holds what plain
//!   cargo would have put there, for plain cargo, rustdoc and editors to use. Who asks for more gets a build folder apart.
//! - **A recipe's key is the key of its outcome** ([`store`]): it digests the step, the sources and, through
//!   their keys, all steps below, so the same key means the same outcome.
//! - **Sources are copied before they are sent** ([`sources`]), and a copy is called by the digest of its own bytes: whatever is edited
//!   meanwhile, a key never stands for other bytes than those that were used. To look a unit up, nothing is copied, and only files that
//!   changed are read. A file or folder that is heavy is given to the engine once, as stored outcomes are, so that an edit beside
//!   it sends what is small.
//! - **Code finds what is baked into it** ([`baked`]): a build script may be linked with a crate that looks for files in its own
//!   package, as may a macro. Such a run or compile is shown that package at the very path which the code has, so its outcome is
//!   shared with those alone who have it at the same path.
//! - **What a unit reads beyond cargo's word is learned from its answer** ([`learned`]). Only version control is never sent: a
//!   build script that asks about it is run here ([`repository`]).
//!
//! # Absences
//!
//! `argv`, `crate_type`, `emit`, `output_names`, `unit`, `dep_info`, `dockerfile`, `placeholder`, `stage`, `plan`, `quote`, `role`,
//! `schedule` and `tool` touch neither files nor processes. `dockerfile` knows no rustc, `argv` and `unit` no containers, `stage` no
//! engine, `artifacts` no Dockerfile. Only `env` reads the environment, only `runner` starts processes and
//! a runtime, only `engine` knows docker from podman. `tests/tidy.rs` holds them to it.

// What the world says.
pub mod config;
pub mod env;
pub mod jobs;
pub mod logging;
pub mod misspelt;
pub mod notice;
pub mod role;
// Words and units: pure.
pub mod argv;
pub mod crate_type;
pub mod dep_info;
pub mod emit;
pub mod output_names;
pub mod placeholder;
pub mod quote;
pub mod schedule;
pub mod secrets;
pub mod tool;
pub mod unit;
// Stages and files: pure.
pub mod dockerfile;
pub mod plan;
pub mod stage;
// What is on the disk.
pub mod baked;
pub mod cache;
pub mod disk;
pub mod inputs;
pub mod kept;
pub mod leak;
pub mod learned;
pub mod left;
pub mod missing;
pub mod places;
pub mod program;
pub mod recipe;
pub mod recording;
pub mod repository;
pub mod retention;
pub mod shim;
pub mod sources;
pub mod store;
// What changes the world.
pub mod artifacts;
pub mod delivery;
pub mod engine;
pub mod gate;
pub mod identity;
pub mod image;
pub mod runner;
pub mod session;
pub mod timings;
pub mod toolchain;
// Who asks.
pub mod build_script;
pub mod cmd;
pub mod compile;
pub mod green;
pub mod help;
pub mod progress;
pub mod rehearsal;
