//! Texts that were met before.

use std::collections::{HashMap, HashSet};

/// The texts that were met under each number.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    texts: HashMap<u64, HashSet<Vec<u8>>>,
}

impl Texts {
    /// Whether a text is met for the first time under a number.
    pub fn is_new(&mut self, number: u64, text: &[u8]) -> bool {
        let texts = self.texts.entry(number).or_default();
        !texts.contains(text) && texts.insert(text.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_new_once_under_each_number() {
        let mut texts = Texts::default();
        let is_new = [(1, "a"), (1, "a"), (2, "a"), (1, "b"), (2, "a")]
            .map(|(number, text)| texts.is_new(number, text.as_bytes()));
        assert_eq!(is_new, [true, false, true, true, false]);
    }
}
