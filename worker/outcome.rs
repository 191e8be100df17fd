//! What a task left: gathered from where it wrote it, and stored.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown},
    },
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    bytes::search::file_holds,
    files,
    process::{self, Ended, Slot},
    protocol::{
        BUILD_ID, DURATION, FILES, Kind, OBSERVED, PRIVATE, STATUS, STDERR, STDOUT, Task, WRITTEN,
    },
    report::{Explain, Result},
    store::{self, Store},
    touched::encode_touches,
    view::View,
};

/// The files of compiles that ended well, in the folders that they share.
#[derive(Default)]
pub struct Gathered {
    known: Mutex<HashSet<PathBuf>>,
    /// The modes of metadata that others may read by now.
    opened: Mutex<HashMap<PathBuf, u32>>,
}

/// A file that one task made: its name, and the mode that it had.
#[derive(Debug)]
pub struct Made {
    pub name: String,
    pub mode: u32,
}

impl Gathered {
    /// The paths in a task's output folder that are its own, and were not gathered. Others may
    /// write there at the same time, and remove what is theirs.
    fn new_paths(&self, task: &Task, slot: &Slot) -> Result<Vec<(PathBuf, fs::Metadata)>> {
        let known = self.known.lock().expect(LOCK);
        let read = || -> io::Result<Vec<_>> {
            let mut paths = Vec::new();
            for entry in fs::read_dir(&task.out)? {
                let path = entry?.path();
                if known.contains(&path) {
                    continue;
                }
                match path.symlink_metadata() {
                    Ok(data) => paths.push((path, data)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            paths.retain(|(_, data)| data.uid() == slot.user);
            Ok(paths)
        };
        read().explain(|| format!("failed to read `{}`", task.out))
    }

    /// Whether a compile's dep-info has the variable that only the worker sets.
    pub fn bakes_in_temporary(&self, task: &Task, slot: &Slot) -> Result<bool> {
        for (path, _) in self.new_paths(task, slot)? {
            if is_dep_info(&path) {
                let text = fs::read(&path).explain(|| format!("failed to read `{}`", task.out))?;
                if process::bakes_in_temporary(&String::from_utf8_lossy(&text)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether something that a compile wrote has one of these texts in it.
    pub fn holds_any(&self, task: &Task, slot: &Slot, texts: &[String]) -> Result<bool> {
        for (path, data) in self.new_paths(task, slot)? {
            let holds = holds(&path, &data, texts);
            if holds.explain(|| format!("failed to read `{}`", path.display()))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what an attempt wrote.
    pub fn remove(&self, task: &Task, slot: &Slot) -> Result<()> {
        for (path, data) in self.new_paths(task, slot)? {
            let removed =
                if data.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.explain(|| format!("failed to remove `{}`", path.display()))?;
        }
        Ok(())
    }

    /// What is new in a compile's output folder. From now on, only the worker may write to it, and
    /// only a `group` read it.
    pub fn gather(&self, task: &Task, slot: &Slot, group: u32) -> Result<Vec<Made>> {
        let mut made = Vec::new();
        for (path, data) in self.new_paths(task, slot)? {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name
                .ok_or_else(|| format!("`{}` has a name that is not UTF-8", path.display()))?
                .to_owned();
            let opened = self.opened.lock().expect(LOCK).remove(&path);
            let mode = opened.unwrap_or(data.permissions().mode() & 0o7777);
            close(&path, &data, group)
                .explain(|| format!("failed to take `{}`", path.display()))?;
            self.known.lock().expect(LOCK).insert(path);
            made.push(Made { name, mode });
        }
        made.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(made)
    }

    /// Lets a group read the metadata of a compile that still runs. The compiler itself reads it
    /// again.
    pub fn open_metadata(&self, path: &Path, slot: &Slot, group: u32) -> io::Result<()> {
        const O_NOFOLLOW: i32 = 0o400000;
        // The compile may put something else there at any time.
        let file = File::options().read(true).custom_flags(O_NOFOLLOW).open(path)?;
        let data = file.metadata()?;
        if !data.is_file() || data.uid() != slot.user || data.nlink() != 1 {
            return Err(io::Error::other("it is not what its compile wrote"));
        }
        self.opened
            .lock()
            .expect(LOCK)
            .entry(path.to_owned())
            .or_insert(data.permissions().mode() & 0o7777);
        std::os::unix::fs::fchown(&file, None, Some(group))?;
        file.set_permissions(Permissions::from_mode(0o640))
    }
}

fn close(path: &Path, data: &fs::Metadata, group: u32) -> io::Result<()> {
    if data.is_dir() {
        return files::give_to(path, 0);
    }
    lchown(path, Some(0), Some(group))?;
    if data.is_file() {
        let mode = files::opened(data.permissions().mode()) & 0o750;
        fs::set_permissions(path, Permissions::from_mode(mode))
    } else {
        Ok(())
    }
}

/// Writes what is known of a process into a folder, which is made.
pub fn write_report(folder: &Path, ended: &Ended, id: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(STATUS), ended.status.to_string())?;
    fs::write(folder.join(STDOUT), &ended.stdout)?;
    fs::write(folder.join(STDERR), &ended.stderr)?;
    if let Some(observed) = &ended.observed {
        fs::write(folder.join(OBSERVED), encode_touches(observed.iter()))?;
    }
    if let Some(written) = &ended.written {
        files::copy_tree(written, &folder.join(WRITTEN))?;
    }
    fs::write(folder.join(DURATION), ended.duration.as_millis().to_string())?;
    fs::write(folder.join(BUILD_ID), id)
}

/// Stores a success.
pub fn save(
    view: &View<'_>,
    task: &Task,
    ended: &Ended,
    made: &[Made],
    id: &str,
    is_private: bool,
) -> Result<()> {
    view.store.put(&task.key, |folder| {
        fs::create_dir(folder)?;
        let files = folder.join(FILES);
        let out = Path::new(&task.out);
        match task.kind {
            Kind::Script => files::copy_tree(out, &files)?,
            Kind::Compile => {
                fs::create_dir(&files)?;
                for Made { name, mode } in made {
                    let file = files.join(name);
                    files::copy_tree(&out.join(name), &file)?;
                    set_mode(&file, *mode)?;
                }
            }
        }
        if is_private {
            fs::write(folder.join(PRIVATE), "")?;
        }
        write_report(folder, ended, id)
    })?;
    let names = made.iter().map(|made| made.name.as_str());
    view.stored(task, names).explain(|| format!("failed to tidy up after {}", task.name))
}

/// Puts what the store has of a task where others look for it.
pub fn restore(view: &View<'_>, task: &Task) -> Result<()> {
    files::make_folder(Path::new(&task.out))?;
    let files = view.store.outcome(&task.key).join(FILES);
    let restore = || -> std::io::Result<()> {
        if task.kind == Kind::Script {
            fs::remove_dir(&task.out)?;
            return files::copy_tree(&files, Path::new(&task.out));
        }
        for entry in fs::read_dir(&files)? {
            let entry = entry?;
            let (stored, place) = (entry.path(), Path::new(&task.out).join(entry.file_name()));
            if store::is_linkable(&place) {
                view.link(&stored, &place)?;
            } else {
                files::copy_tree(&stored, &place)?;
            }
        }
        Ok(())
    };
    restore().explain(|| format!("failed to put what is stored of {} in place", task.name))
}

/// What a build script printed that the store has, if others may read it.
pub fn printed(store: &Store, task: &Task) -> Option<String> {
    (task.kind == Kind::Script).then(|| printed_for_all(&store.outcome(&task.key)))?
}

/// What the process of an outcome printed, if others may read it: it goes through the engine's log,
/// which stays there and is cut off where too much comes at once, and to other clients.
pub fn printed_for_all(outcome: &Path) -> Option<String> {
    if [PRIVATE, WRITTEN].iter().any(|sign| outcome.join(sign).exists()) {
        return None;
    }
    let text = fs::read_to_string(outcome.join(STDOUT)).ok()?;
    (text.len() <= MOST_PRINTED).then_some(text)
}

/// In bytes.
const MOST_PRINTED: usize = 16 << 10;

pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_symlink() { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode)) }
}

pub fn is_dep_info(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "d")
}

/// Those of the texts that a file below a folder, but for dep-info, has in it, or that a link leads
/// to.
pub fn embedded<'a>(folder: &Path, texts: &'a [String]) -> io::Result<Vec<&'a str>> {
    // Most often, none of them is there.
    if !holds_any(folder, texts)? {
        return Ok(vec![]);
    }
    let mut found = Vec::new();
    for text in texts {
        if holds_any(folder, std::slice::from_ref(text))? {
            found.push(text.as_str());
        }
    }
    Ok(found)
}

fn holds_any(folder: &Path, texts: &[String]) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if holds(&path, &path.symlink_metadata()?, texts)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file, or one below a folder, but for dep-info, has one of these texts in it, or a link
/// leads to one.
fn holds(path: &Path, data: &fs::Metadata, texts: &[String]) -> io::Result<bool> {
    if data.is_dir() {
        holds_any(path, texts)
    } else if data.is_symlink() {
        file_holds(fs::read_link(path)?.as_os_str().as_bytes(), texts)
    } else {
        Ok(data.is_file() && !is_dep_info(path) && file_holds(File::open(path)?, texts)?)
    }
}

const LOCK: &str = "no thread panics while it has this lock";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{protocol::Batch, tests::Scratch, view::tests::task};

    #[test]
    fn what_others_may_not_read_is_not_told() {
        let scratch = Scratch::new("what_others_may_not_read_is_not_told");
        let store = Store::open(&scratch.path("store"), "1").unwrap();
        fs::create_dir(scratch.path("written")).unwrap();
        let case = |key: &str, secret: &str, text: &str, has_written: bool| {
            let ended = Ended {
                status: 0,
                stdout: text.into(),
                stderr: vec![],
                duration: Duration::ZERO,
                written: has_written.then(|| scratch.path("written")),
                observed: None,
            };
            let secrets = vec![("A".to_owned(), secret.to_owned())];
            let out = scratch.path(&format!("out-{key}"));
            fs::create_dir(&out).unwrap();
            let script = Task { kind: Kind::Script, secrets, ..task(key, &out, vec![]) };
            let batch = Batch::default();
            let view = View::new(&batch, &store);
            save(&view, &script, &ended, &[], "1", script.has_secrets()).unwrap();
            assert_eq!(printed(&store, &Task { kind: Kind::Compile, ..script.clone() }), None);
            printed(&store, &script)
        };
        assert_eq!(case("u1", "", "cargo:a=b\n", false).as_deref(), Some("cargo:a=b\n"));
        assert_eq!(case("u2", "digest", "cargo:a=b\n", false), None);
        assert_eq!(case("u3", "", "cargo:a=b\n", true), None);
        assert_eq!(case("u4", "", &"x".repeat(MOST_PRINTED + 1), false), None);
        assert_eq!(
            printed(&store, &Task { kind: Kind::Script, ..task("u5", Path::new("/t"), vec![]) }),
            None
        );
        let inventory = store.inventory().unwrap();
        let mut lines: Vec<&str> = inventory.lines().collect();
        lines.sort();
        assert_eq!(lines, ["u1 10 cargo:a=b\\n", "u2", "u3", "u4"]);
    }
}
