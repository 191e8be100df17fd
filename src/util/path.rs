//! Paths by their text alone.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

/// The path without `.` and `..`.
pub fn normalised(path: &Utf8Path) -> Utf8PathBuf {
    let text = path.as_str();
    // Most have none.
    if !text.contains("/.") && !text.contains("//") && !text.starts_with('.') {
        return text.strip_suffix('/').filter(|text| !text.is_empty()).unwrap_or(text).into();
    }
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

/// The folders that a path leads through and up again, outermost first.
pub fn passed(path: &Utf8Path) -> Vec<Utf8PathBuf> {
    let (mut passed, mut plain) = (Vec::new(), Utf8PathBuf::new());
    for component in path.components() {
        if component == Utf8Component::ParentDir {
            passed.push(plain.clone());
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_by_text() {
        for (path, expected) in [
            ("/a/./b/../c/", "/a/c"),
            ("/a/b/", "/a/b"),
            ("/a//b", "/a/b"),
            ("./a", "a"),
            ("/a/.b", "/a/.b"),
            ("/..", "/"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(normalised(Utf8Path::new(path)).as_str(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_leads_through_folders() {
        assert_eq!(passed(Utf8Path::new("/a/b/../../c/d/../e")), ["/a/b", "/a", "/c/d"]);
        assert_eq!(passed(Utf8Path::new("/a/b")), [""; 0]);
    }
}
