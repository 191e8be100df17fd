//! Stubs: a stub is in the place of an artifact that stayed in the engine. It is a text that names
//! the step which made the artifact.

use std::io::Read;

use crate::step::key::Key;

/// What a stub begins with; the rest is the key.
pub const STUB: &str = "left in the engine by rustcbuildx: ";

/// The step that these bytes name, if they stand in for its artifact.
pub fn named_in(bytes: impl Read) -> Option<Key> {
    let mut text = String::new();
    // An artifact is no text, or longer.
    bytes.take(256).read_to_string(&mut text).ok()?;
    text.strip_prefix(STUB).map(str::to_owned)
}
