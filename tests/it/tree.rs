//! What a target folder holds, made comparable.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::command::comparable;

/// Path → mode and, of files that are text by nature, the text.
pub type Tree = BTreeMap<String, (u32, Vec<String>)>;

/// Everything in `target`. Of `incremental` only the folder itself: rustc names its sessions anew
/// each time, and nothing but rustc reads them.
pub fn tree(target: &Path) -> Tree {
    walk(target, |path| path.ends_with("incremental"))
        .into_iter()
        .map(|(path, mode)| {
            let file = target.join(&path);
            let text = if is_text(&path) && file.is_file() {
                comparable(&fs::read_to_string(&file).unwrap(), target)
            } else {
                Vec::new()
            };
            // rustdoc makes folders that are named like the absolute paths of generated sources.
            (path.replace(&inside(target), "[TARGET]"), (mode, text))
        })
        .collect()
}

fn inside(target: &Path) -> String {
    target.strip_prefix("/").unwrap().display().to_string()
}

/// Relative path → mode (with the file's type) of all in `dir`, not looking into `skip`.
pub fn walk(dir: &Path, skip: impl Fn(&Path) -> bool) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut rest = vec![dir.to_path_buf()];
    while let Some(next) = rest.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            found.insert(name, meta.permissions().mode());
            if meta.is_dir() && !skip(&path) {
                rest.push(path);
            }
        }
    }
    found
}

/// Dep-info, what build scripts printed, and the diagnostics cargo keeps for its next run.
fn is_text(path: &str) -> bool {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    file.ends_with(".d")
        || (dir.contains("build/") && ["output", "stderr"].contains(&file))
        || (dir.contains(".fingerprint/") && file.starts_with("output-"))
}

/// How two trees differ, a line for each.
pub fn differences(plain: &Tree, ours: &Tree) -> Vec<String> {
    let missing = plain.keys().filter(|path| !ours.contains_key(*path));
    let extra = ours.keys().filter(|path| !plain.contains_key(*path));
    let mut lines: Vec<_> = missing.map(|path| format!("only plain has {path}")).collect();
    lines.extend(extra.map(|path| format!("only ours has {path}")));
    for (path, (mode, text)) in plain {
        let Some((our_mode, our_text)) = ours.get(path) else { continue };
        if mode != our_mode {
            lines.push(format!("{path} has mode {mode:o} in plain, {our_mode:o} in ours"));
        }
        if text != our_text {
            lines.push(format!("{path} differs:\nplain {text:#?}\nours {our_text:#?}"));
        }
    }
    lines
}

#[test]
fn every_kind_of_difference_is_told() {
    let tree = |entries: &[(&str, u32, &str)]| -> Tree {
        entries
            .iter()
            .map(|(path, mode, text)| (path.to_string(), (*mode, vec![text.to_string()])))
            .collect()
    };
    let plain = tree(&[
        ("both", 0o644, ""),
        ("gone", 0o644, ""),
        ("mode", 0o755, ""),
        ("text.d", 0o644, "a"),
    ]);
    let ours = tree(&[
        ("both", 0o644, ""),
        ("mode", 0o700, ""),
        ("new", 0o644, ""),
        ("text.d", 0o644, "b"),
    ]);
    let told = differences(&plain, &ours);
    assert_eq!(told.len(), 4, "{told:#?}");
    for (line, expected) in
        told.iter().zip(["only plain has gone", "only ours has new", "mode has mode 755", "text.d"])
    {
        assert!(line.starts_with(expected), "{line}");
    }
    assert!(differences(&plain, &plain).is_empty());
}
