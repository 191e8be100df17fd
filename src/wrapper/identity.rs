//! What a program is, whatever its name: this very tool, rustc, or clippy's driver.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    config::env::Env,
    rustc::tool::Tool,
    util::{
        digest::digest,
        process::{self, Cmd},
        state_dir::Cache,
    },
};

/// What a wrapper is asked, and what only rustcbuildx answers, be it called by a script.
pub const QUESTION: &str = "--is-this-rustcbuildx";
pub const ANSWER: &str = "yes: rustcbuildx";

/// Ample for a program that answers, bearable with one that does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the wrapper of this name or path is rustcbuildx, by whatever name, link or script.
pub fn is_rustcbuildx(wrapper: &str, env: &Env) -> bool {
    let Some(path) = found(wrapper) else { return false };
    let ask = || answer(&path, &[QUESTION]).is_some_and(|answer| answer.trim() == ANSWER);
    // What a script calls is not told by its file.
    if is_script(&path) { ask() } else { remembered(&path, "wrapper", env, ask) }
}

/// The compiler that a program is: a file of the compiler's name, a link to one, or the same bytes
/// as its toolchain's.
///
/// What only calls a compiler, or is built upon one, is none: it may do more.
pub fn tool(program: &str, env: &Env) -> Option<Tool> {
    let path = found(program)?;
    let real = path.canonicalize_utf8().ok()?;
    let named = [&path, &real].into_iter().find_map(|path| Tool::named(path.file_name()?));
    if named.is_some() || is_script(&path) {
        return named;
    }
    remembered(&path, "tool", env, || {
        let sysroot = answer(&path, &["--print", "sysroot"])?;
        let programs = Utf8Path::new(sysroot.trim()).join("bin");
        Tool::NAMES
            .iter()
            .find(|(name, _)| has_same_bytes(&path, &programs.join(name)))
            .map(|(_, tool)| *tool)
    })
}

fn found(program: &str) -> Option<Utf8PathBuf> {
    Utf8PathBuf::from_path_buf(which::which(program).ok()?).ok()
}

fn is_script(path: &Utf8Path) -> bool {
    let mut start = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

/// What a program says on standard output, if it ends well and soon.
fn answer(path: &Utf8Path, words: &[&str]) -> Option<String> {
    let mut finished =
        process::run_within(&Cmd::new(path.as_str(), words.iter().copied()), PATIENCE).ok()?;
    let mut said = String::new();
    finished.stdout.read_to_string(&mut said).ok()?;
    finished.status.success().then_some(said)
}

/// What was found out about a file before, as long as it is the same.
fn remembered<T: Serialize + DeserializeOwned>(
    path: &Utf8Path,
    what: &str,
    env: &Env,
    find_out: impl FnOnce() -> T,
) -> T {
    let cache = env.cache_dir().and_then(Cache::open).ok();
    let (Some(cache), Ok(data)) = (cache, fs::metadata(path)) else { return find_out() };
    let stamp = format!("{} {} {}.{}", data.ino(), data.len(), data.mtime(), data.mtime_nsec());
    let name = format!("programs-known/{}", digest([what, path.as_str(), &stamp]));
    if let Some(known) = cache.read(&name) {
        return known;
    }
    let found = find_out();
    // It is found out again next time.
    cache.write(&name, &found).unwrap_or_else(|error| log::warn!("{error:#}"));
    found
}

fn has_same_bytes(one: &Utf8Path, other: &Utf8Path) -> bool {
    let length = |path: &Utf8Path| fs::metadata(path).map(|data| data.len()).ok();
    let bytes = |path: &Utf8Path| fs::read(Path::new(path)).ok();
    length(one) == length(other)
        && bytes(one).is_some_and(|bytes_of_one| bytes(other) == Some(bytes_of_one))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A program of this name that answers like the file `from`, or a script.
    fn place(dir: &Utf8Path, name: &str, script: &str) -> Utf8PathBuf {
        let path = dir.join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn sandbox() -> (tempfile::TempDir, Utf8PathBuf, Env) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let env = Env::with(&[("XDG_CACHE_HOME", path.join("cache").as_str())]);
        (dir, path, env)
    }

    #[test]
    fn only_who_answers_is_rustcbuildx() {
        let (_dir, dir, env) = sandbox();
        let case = |script: &str, expected: bool| {
            let path = place(&dir, "rustcbuildx", script);
            assert_eq!(is_rustcbuildx(path.as_str(), &env), expected, "{script}");
        };
        case(&format!("#!/bin/sh\n[ \"$1\" = {QUESTION} ] && echo '{ANSWER}'\n"), true);
        case(&format!("#!/bin/sh\necho '{ANSWER}'; exit 1\n"), false);
        case("#!/bin/sh\nexec \"$@\"\n", false);
        case("#!/bin/sh\necho \"$@\"\n", false);
        case("#!/bin/sh\ncat\n", false);
        assert!(!is_rustcbuildx(dir.join("none").as_str(), &env));
    }

    #[test]
    fn a_link_to_a_compiler_is_one_and_a_script_that_calls_one_is_none() {
        let (_dir, dir, env) = sandbox();
        fs::create_dir(dir.join("bin")).unwrap();
        place(&dir, "bin/rustc", "#!/bin/sh\n");
        place(&dir, "bin/clippy-driver", "#!/bin/sh\n");
        symlink("bin/rustc", dir.join("rustc-1")).unwrap();
        symlink("bin/clippy-driver", dir.join("lints")).unwrap();
        place(&dir, "my-rustc", "#!/bin/sh\nexec rustc \"$@\"\n");
        for (name, expected) in [
            ("rustc-1", Some(Tool::Rustc)),
            ("lints", Some(Tool::Clippy)),
            ("my-rustc", None),
            ("none", None),
        ] {
            assert_eq!(tool(dir.join(name).as_str(), &env), expected, "{name}");
        }
    }
}
