//! The worker, which runs units in a container: its source, which the compiler of an image builds.

use std::fs;

use anyhow::Result;
use camino::Utf8PathBuf;

use crate::util::{digest::digest, disk::OnDisk, state_dir::Cache};

macro_rules! sources {
    ($($name:literal),*) => { &[$(($name, include_str!(concat!("../../worker/", $name)))),*] };
}

const SOURCES: &[(&str, &str)] = sources![
    "batch/mod.rs",
    "batch/task.rs",
    "bytes/lz4.rs",
    "bytes/memory.rs",
    "bytes/mod.rs",
    "bytes/ring_buffer.rs",
    "bytes/search.rs",
    "bytes/sum.rs",
    "bytes/texts.rs",
    "export.rs",
    "files.rs",
    "lines.rs",
    "main.rs",
    "observe/calls.rs",
    "observe/mod.rs",
    "observe/seen.rs",
    "observe/words.rs",
    "outcome.rs",
    "pack.rs",
    "preload/files.rs",
    "preload/kernel.rs",
    "preload/lib.rs",
    "preload/real_path.rs",
    "process.rs",
    "protocol.rs",
    "report.rs",
    "rules.rs",
    "schedule.rs",
    "store/listing.rs",
    "store/mod.rs",
    "sys/landlock.rs",
    "sys/mod.rs",
    "sys/seccomp.rs",
    "sys/shared.rs",
    "tokens.rs",
    "touched.rs",
    "view.rs",
    "written.rs"
];

/// The folder with the worker's source, to be sent to the engine.
pub fn source(cache: &Cache) -> Result<Utf8PathBuf> {
    let texts = SOURCES.iter().flat_map(|(name, text)| [*name, *text]);
    cache.folder(&format!("worker/{}", digest(texts)), |new| {
        SOURCES
            .iter()
            .map(|(name, text)| (new.join(name), text))
            .try_for_each(|(path, text)| {
                fs::create_dir_all(path.parent().unwrap_or(new))?;
                fs::write(path, text)
            })
            .on_disk(new, || "failed to write the worker's source".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_source_is_sent() {
        let folder = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("worker");
        let entries = walkdir::WalkDir::new(&folder).sort_by_file_name().into_iter();
        let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().is_file());
        let names: Vec<String> = files
            .map(|file| file.path().strip_prefix(&folder).unwrap().display().to_string())
            .collect();
        assert_eq!(names, SOURCES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    /// Its unit tests are compiled in another edition, and with all that the tests need.
    #[test]
    fn an_image_compiles_it() {
        let folder = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("worker");
        let out = tempfile::tempdir().unwrap();
        let compile = |source: &str, words: &[&str]| {
            let mut rustc = std::process::Command::new("rustc");
            rustc.args(["--edition=2021", "--emit=metadata", "-Dwarnings", "--out-dir"]);
            rustc.arg(out.path()).arg(folder.join(source)).args(words);
            let output = rustc.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        compile("bytes/mod.rs", &["--crate-name=bytes", "--crate-type=rlib"]);
        let bytes = format!("--extern=bytes={}", out.path().join("libbytes.rmeta").display());
        compile("main.rs", &["--crate-name=worker", &bytes]);
        let library = ["--crate-name=preload", "--crate-type=cdylib", "-Cpanic=abort"];
        compile("preload/lib.rs", &library);
    }
}
