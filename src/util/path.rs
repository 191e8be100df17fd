//! Paths by their text alone.

use camino::{Utf8Path, Utf8PathBuf};

/// The path without `.` and `..`.
pub fn normalised(path: &Utf8Path) -> Utf8PathBuf {
    let mut plain = Utf8PathBuf::new();
    for component in path.components() {
        match component.as_str() {
            "." => {}
            ".." => drop(plain.pop()),
            name => plain.push(name),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_by_text() {
        assert_eq!(normalised(Utf8Path::new("/a/./b/../c/")), "/a/c");
    }
}
