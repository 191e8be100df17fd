//! Real cargo, real projects, a real engine: plain cargo and ours must not be told apart.
//!
//! A test fails when its engine is not up (`hack/engine up`): nothing here is skipped.
//!
//! - `engine`: what `hack/engine env` exports, and a shim that logs each call of an engine.
//! - `command`: one process: started, waited for, its output made comparable.
//! - `tree`: what a target folder holds, made comparable.
//! - `project`: a copy of a fixture, and the two cargos that build it.
//! - `team`: two machines, and a remote between them.

mod command;
mod engine;
mod project;
mod team;
mod tree;

mod artifacts;
mod background;
mod baked;
mod calls;
mod commands;
mod differential;
mod doctor;
mod edits;
mod engine_store;
mod failures;
mod full_disk;
mod hostile;
mod images;
mod interrupted;
mod large;
mod left;
mod lost_engine;
mod mistakes;
mod modes;
mod odd;
mod other_engines;
mod other_names;
mod planned;
mod properties;
mod remotes;
mod remotes_lost;
mod sandbox;
mod secrets;
mod settings;
mod sharing;
mod source_kinds;
mod sources;
mod torture;
mod touches;
mod untouched;
mod version_control;
mod writes;
