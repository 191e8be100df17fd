//! The archive that an engine sends: whatever is in it, nothing is written outside of its folder.
#![no_main]

use camino::Utf8Path;
use libfuzzer_sys::fuzz_target;
use rustcbuildx::store::archive::Archive;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(dir.path()).unwrap();
    let target = root.join("target");
    let _ = Archive::new(bytes).receive(&target.join("deps"));
    let _ = Archive::new(bytes).outcome();
    let entries: Vec<_> =
        root.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
    assert!(entries.iter().all(|path| *path == target), "{entries:?}");
});
