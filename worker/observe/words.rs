//! Variables that a program is named in its words: shells and their like take them from their
//! environment as a whole, and ask the C library for none.

/// The names in a word: behind `$`, as shells, make and cmake write them, or the word as a whole.
pub fn names(word: &[u8]) -> Vec<String> {
    let mut names: Vec<String> =
        name_at(word).filter(|name| name.len() == word.len()).into_iter().collect();
    for (at, _) in word.iter().enumerate().filter(|(_, byte)| **byte == b'$') {
        let mut behind = &word[at + 1..];
        behind =
            behind.strip_prefix(b"ENV").filter(|rest| rest.starts_with(b"{")).unwrap_or(behind);
        while let Some(rest) =
            [&b"{"[..], b"(", b"#", b"!"].iter().find_map(|sign| behind.strip_prefix(*sign))
        {
            behind = rest;
        }
        names.extend(name_at(behind));
    }
    names
}

/// The name that a text begins with.
fn name_at(text: &[u8]) -> Option<String> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    let name = std::str::from_utf8(&text[..length]).ok()?;
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_variables() {
        let case = |word: &str, expected: &[&str]| assert_eq!(names(word.as_bytes()), expected);
        case("echo $A ${B_2:-x} ${#C}", &["A", "B_2", "C"]);
        case("NAME", &["NAME"]);
        case("$(D) $ENV{E} $ENV", &["D", "E", "ENV"]);
        case("-O2", &[]);
        case("$1 $$ 5A", &[]);
    }
}
