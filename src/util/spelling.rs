//! Words that are nearly others.

/// The candidate that is the most like a word, if no more than `far` letters are wrong, missing or
/// one too many in it.
pub fn nearest<T: AsRef<str>>(
    word: &str,
    candidates: impl Iterator<Item = T>,
    far: usize,
) -> Option<T> {
    candidates
        .map(|candidate| (distance(word, candidate.as_ref()), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by(|(one, first), (other, second)| {
            (one, first.as_ref()).cmp(&(other, second.as_ref()))
        })
        .map(|(_, candidate)| candidate)
}

/// How many letters are to be changed, added or left out to make one word the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (column, other) in other.iter().enumerate() {
            let changed = before + usize::from(letter != *other);
            before = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(before + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_with_the_fewest_other_letters_is_the_nearest() {
        let words = ["store-size", "strict", "runner"];
        let case = |word: &str, expected: Option<&str>| {
            assert_eq!(nearest(word, words.into_iter(), 3), expected, "{word}");
        };
        case("strct", Some("strict"));
        case("storesize", Some("store-size"));
        case("engine", None);
        case("runner", Some("runner"));
    }
}
