//! Whether texts are in a file.

use std::io::{self, Read};

/// Whether what is read has one of these texts in it.
pub fn file_holds(mut file: impl Read, texts: &[String]) -> io::Result<bool> {
    let search = Search::new(texts);
    let longest = texts.iter().map(String::len).max().unwrap_or(0);
    let mut window: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        window.extend_from_slice(&buffer[..count]);
        if search.is_found_in(&window) {
            return Ok(true);
        }
        let rest = window.len().saturating_sub(longest);
        window.drain(..rest);
    }
}

/// Looks for several texts at once, by Horspool's algorithm: most bytes are not looked at.
struct Search<'a> {
    texts: &'a [String],
    /// The length of the shortest.
    length: usize,
    /// By a byte, how far on a text that begins with so many bytes may end at the earliest.
    skips: [usize; 256],
}

impl<'a> Search<'a> {
    fn new(texts: &'a [String]) -> Self {
        let length = texts.iter().map(String::len).min().unwrap_or(0);
        let mut skips = [length; 256];
        for text in texts {
            for (at, byte) in text.bytes().take(length).enumerate() {
                let skip = &mut skips[usize::from(byte)];
                *skip = (*skip).min(length - 1 - at);
            }
        }
        Self { texts, length, skips }
    }

    fn is_found_in(&self, bytes: &[u8]) -> bool {
        if self.length == 0 {
            return !self.texts.is_empty();
        }
        let mut last = self.length - 1;
        while let Some(byte) = bytes.get(last) {
            let skip = self.skips[usize::from(*byte)];
            if skip > 0 {
                last += skip;
                continue;
            }
            let found = &bytes[last + 1 - self.length..];
            if self.texts.iter().any(|text| found.starts_with(text.as_bytes())) {
                return true;
            }
            last += 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_wherever_it_lies() {
        let texts = ["/./x".to_owned(), "yy".to_owned()];
        let has = |bytes: &[u8]| file_holds(bytes, &texts).unwrap();
        for before in [0, 1, (1 << 16) - 2, (1 << 16) - 1, 1 << 16, 100_000] {
            let bytes = |text: &str| [&vec![b'/'; before][..], text.as_bytes(), b"/"].concat();
            assert!(has(&bytes("/./x")) && has(&bytes("yy")), "{before}");
            assert!(!has(&bytes("/.x")) && !has(&bytes("y")), "{before}");
        }
        let texts = ["/a/./", "/aa/./", "/aba/./"].map(str::to_owned);
        for (bytes, expected) in [
            ("/a/./", true),
            ("/a/a/./", true),
            ("/a/aa/./", true),
            ("/a/./aa/.", true),
            ("/ab/./aba/./", true),
            ("/ab/./a/.", false),
            ("a/./", false),
            ("", false),
        ] {
            assert_eq!(file_holds(bytes.as_bytes(), &texts).unwrap(), expected, "{bytes}");
        }
        assert!(!file_holds(&b"a"[..], &[]).unwrap());
    }
}
