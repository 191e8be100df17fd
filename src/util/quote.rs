//! Words as a POSIX shell reads them back.

/// Quotes words so that a shell splits the result into the same words.
///
/// A NUL byte, which no process argument can hold, is dropped.
pub fn words<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| self::word(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// Quotes one word.
pub fn word(word: &str) -> String {
    match shlex::try_quote(word) {
        Ok(quoted) => quoted.into_owned(),
        Err(_) => shlex::try_quote(&word.replace('\0', "")).expect("no NUL is left").into_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shell_reads_the_same_words() {
        let words = ["a", "", "it's", "$HOME `x` \\", "new\nline", "ü", "*"];
        assert_eq!(shlex::split(&super::words(&words)).unwrap(), words);
    }
}
