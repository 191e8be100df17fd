//! rustcbuildx compiles Rust in containers: with `RUSTC_WRAPPER=rustcbuildx cargo build`, cargo
//! calls this program instead of `rustc`, and it has BuildKit run the compile, through the command
//! of docker or podman. This page is the map of the code.
//!
//! # What happens in one call
//!
//! Cargo starts the wrapper with rustc's command line. [`wrapper::role`] decides who calls, and
//! [`wrapper::compile`] takes the command line apart ([`rustc::args`]). A mere question to the
//! compiler, or a compile that no container can do faithfully, goes to the local rustc. Everything
//! else becomes a [unit](unit::work::Unit): one compile, or one run of a build script.
//!
//! ```text
//! cargo ──▶ wrapper ──▶ unit ──▶ build
//!                                  inputs   what does it read?
//!                                  step     how is it made, and under which key?
//!                                  store    is there an outcome? then on with target
//!                                  engine   docker or podman runs the step
//!                                  store    stores the outcome
//!                                  target   installs the files, prints the messages
//! ```
//!
//! 1. [`build`] decides which paths the unit sees in its container ([`unit::path_map`]) and finds
//!    what it reads ([`inputs`]): its package's sources, the crates below it, and what was
//!    discovered in earlier builds.
//! 2. These make a [step](step::spec): inputs, a command, and a [key](step::key), the digest of all
//!    that decides the outcome.
//! 3. If the store has an outcome for the key ([`store`]), no engine is asked. If it has none, but
//!    one that was made from the same, as far as its processes looked, that is taken
//!    ([`store::traces`], [`inputs::states`]).
//! 4. Otherwise the step becomes a [task](step::protocol) of a batch, and [`engine`] has docker or
//!    podman build a Dockerfile ([`step::plan`]) in which the worker runs the batch. The outcome
//!    comes back as a compressed archive ([`store::archive`]), and is stored as it came, if it is a
//!    success.
//! 5. If the outcome shows that the unit looked for something it was not given
//!    ([`inputs::observed`], [`inputs::discovered`]), tried to write to a folder of its workspace
//!    ([`inputs::writes`]), or embeds a path that only its container had
//!    ([`build::embedded_paths`]), the unit runs again with that.
//! 6. [`target::install`] moves the files to their place under `target/` and prints what rustc
//!    printed. The wrapper ends with rustc's status. How the files were made is remembered
//!    ([`store::provenance`]), for the units that read them.
//!
//! A build script compiles like any program, but what cargo finds in its place is a
//! [shim](target::shim): a copy of this program with the script's program behind it. When cargo
//! starts it, it calls the wrapper, and [`wrapper::build_script`] sends the run the same way.
//! Without the wrapper it starts the real program. Programs are recognized by what they are, and
//! not by their names ([`wrapper::identity`]).
//!
//! # What happens with a whole command
//!
//! Beside cargo there is a [planner](green::planner), which [`green`] starts together with cargo.
//! Under a plain cargo, the first unit that the store lacks starts it in the
//! [background](planning::background). That unit asks the planner for a plan and waits at the
//! [barrier](planning::barrier), as do all later ones, each until its outcome is in the store. The
//! planner makes a
//! [dry run](planning::dry_run) of the same command: there the wrapper only records units
//! ([`planning::recorder`]), and build scripts print placeholders ([`planning::directives`]). From
//! the recorded units it finds out what can be built when ([`planning::schedule`]), builds what the
//! store lacks in batches ([`build::together`]), and lets go who waits for one of their outcomes.
//! Of an engine that nothing is known of, it first asks what that has. Where the settings name
//! [remotes](remote), a process beside the planner ([`cache`], [`build::remotes`]) asks them, and
//! brings what they have into the store while the engine builds the rest. After an edit, a unit
//! that is not known to reach many others goes ahead without a plan ([`planning::reach`]).
//!
//! # Decisions
//!
//! - **Members of the workspace keep the host's paths, dependencies have common ones**
//!   ([`unit::path_map`]). What needs no rewriting is not rewritten: a member's command line,
//!   messages, dep-info, debug information and bytes are plain cargo's. What others can share is
//!   the same on every machine, unless the output uses a path when it runs. The program of a build
//!   script that does so is made twice: with common paths for containers, and with the host's for
//!   this machine ([`inputs::canonical_program`]).
//! - **One step of the engine runs many units.** A unit as a step of its own costs the engine a
//!   container, a snapshot and mounts: 0.1 to 0.2 s of CPU. So the step starts a program of ours,
//!   the worker. It runs each unit as a [task](step::protocol), by a user of its own that may read
//!   only the unit's inputs. Its source is in `worker/`, and the compiler of the image builds it
//!   once ([`engine::worker`]).
//! - **The image has the local compiler** ([`engine::images`]). Where the base image has another or
//!   none, the local toolchain is put on top of it, and so are programs of this machine that the
//!   build is told to use ([`config::programs`]). The image that was made so is remembered as long
//!   as their files are the same.
//! - **What the engine has is not sent again** ([`engine::cache`]). The worker stores outcomes and
//!   sources in one cache mount, so a call costs the same however much is below its unit. The
//!   engine may evict that mount at any time. The worker then reports what it lacks, and the call
//!   is made again with that sent.
//! - **Each call has a number of its own in its batch**, so that BuildKit never takes it for an
//!   earlier one. What ran before is found by its key, in the worker's store. Only successes are in
//!   there, so a failure is always run again.
//! - **A call succeeds whatever rustc's status is**, so that messages, status and files come back
//!   whole ([`step::protocol`]).
//! - **An artifact stays in the engine only where nobody else looks for it**
//!   ([`target::deferred`]). A target folder that lasts contains what plain cargo would have put
//!   there, for plain cargo, rustdoc and editors to use. Whoever wants more of it gets a separate
//!   build folder.
//! - **The key of a step is the key of its outcome** ([`step::key`]). It digests the step and the
//!   sources and, through their keys, all steps below. So the same key means the same outcome.
//! - **What nobody looked at makes nothing anew** ([`store::traces`]). A step that differs from an
//!   earlier one only in files that no process of that touched goes by the key of the earlier one,
//!   and so does all that is made from it. Where not everything could be seen, it does not.
//! - **Sources are copied before they are sent** ([`inputs::sources`], [`snapshot`]), and a copy is
//!   named by the digest of its own bytes. Whatever is edited meanwhile, a key never stands for
//!   other bytes than those that were used. To look a unit up, nothing is copied, and only files
//!   that changed are read. A heavy file or folder is uploaded to the engine once, and mounted, so
//!   that an edit beside it sends only what is small, and one in it only what it changed.
//! - **Code finds what is baked into it** ([`unit::baked_paths`]). A build script or a macro may be
//!   linked with a crate that looks for files in its own package. It is shown that package at the
//!   very path that the code has, so its outcome is shared only with those who have the package at
//!   the same path.
//! - **What a unit touches is seen, not declared** ([`inputs::observed`]). The worker looks at each
//!   call of its processes that opens, lists or asks about something, there or not. So an outcome
//!   tells what it depends on beyond its key, also one from a store: what was looked for in vain
//!   and is there by now makes it another unit ([`inputs::discovered`]). What nobody gives, though
//!   this machine has it, is said once in a build ([`report::notice`]).
//! - **What others made is apart** ([`config::remotes`]). Where outcomes of others are trusted,
//!   cache folder and engine store are of that trust alone. Keys say what an outcome is made from,
//!   and nobody can tell from a key who made it.
//! - **Nothing leaves the sandbox because of what it does.** Who asks about version control gets
//!   what tells the revision ([`inputs::version_control`]); what members write beside their outputs
//!   is a part of their outcomes ([`target::written`]).
//!
//! # The rooms
//!
//! Each folder of `src` is a room. They are listed below from the top of the data flow to its
//! bottom. A file imports those of its own room and of rooms below it, never above, and no imports
//! go in circles.
//!
//! | room | what is in it |
//! |---|---|
//! | [`wrapper`] | one call by cargo: who calls, a compile, a run of a build script |
//! | [`cli`] | the commands of `rustcbuildx` |
//! | [`cache`] | the commands of `rustcbuildx cache`, and what a build asks remotes through |
//! | [`green`] | the planner and its progress; `cargo green` |
//! | [`build`] | units through the engine: resolve, run, retry; batches |
//! | [`planning`] | a whole cargo command before it runs: its cargo, dry run, recorder, barrier |
//! | [`inputs`] | what a unit reads: sources, crates, discovered inputs, baked paths |
//! | [`target`] | files under `target/`: install, shims, stubs |
//! | [`report`] | what a person is told: notices, misspelt settings, timings |
//! | [`engine`] | docker and podman, where they differ, and what they have |
//! | [`remote`] | outcomes shared between machines: packs, signatures, kinds of remotes |
//! | [`store`] | outcomes on this machine, and the provenance of artifacts |
//! | [`step`] | a unit as a step of a container: paths, task, key, Dockerfile |
//! | [`mod@unit`] | what a unit is: its work, variables, path map, target folder |
//! | [`rustc`] | rustc's own words: arguments, outputs, dep-info |
//! | [`config`] | the environment, settings and the files that have them, secrets, help |
//! | [`snapshot`] | folders at one moment: scan, digest, copy |
//! | [`util`] | cache folder, processes, digests, quoting, the log |
//!
//! # Absences
//!
//! `rustc` (but `toolchain`), `unit` (but `target_dir`) and `step` touch no disk, no process and no
//! clock, nor does anything that they import but `config::env`, whose values are handed to them.
//! `rustc` and `unit` know no container, `step` knows no engine, `store` knows no Dockerfile. Only
//! `config::env` reads the environment, only `util::process` starts processes, and only `engine`
//! knows docker from podman. `worker/` is a program of its own, of which `src` includes four files
//! that both are built from, and knows nothing of `src`. `tests/tidy.rs` holds the code to this,
//! and to the order of the rooms.

// One call by cargo.
pub mod wrapper;
// The commands of `rustcbuildx`.
pub mod cli;
// The commands of `rustcbuildx cache`.
pub mod cache;
// The planner, and `cargo green`.
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
// docker and podman.
pub mod engine;
// Outcomes shared between machines.
pub mod remote;
// Outcomes on this machine.
pub mod store;
// A unit as a step of a container.
pub mod step;
// What a unit is.
pub mod unit;
// rustc's own words.
pub mod rustc;
// What the user asks for.
pub mod config;
// Folders as they were at one moment.
pub mod snapshot;
// What no room owns.
pub mod util;
