//! A disk without room: a clear error, nothing half-written, and all is well once there is room.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{By, Project};

/// A file system of its own, in memory.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    pub fn new(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", path.to_str().unwrap()]);
        Self { path: path.to_owned() }
    }

    fn grow(&self) {
        mount(&["-o", "remount,size=1g", self.path.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _still_in_use = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn mount(args: &[&str]) {
    assert!(
        Command::new("mount").args(args).status().unwrap().success(),
        "mount {args:?} (hint: it takes root)"
    );
}

#[test]
fn under_the_target_folder() {
    let project = Project::new("broken");
    let disk = Disk::new(&project.target(By::Ours), "600k");
    // Cargo marks target folders that it makes itself.
    std::fs::create_dir(project.target(By::Plain)).unwrap();
    project.ours("build").fails().says("No space left on device").says("hint: is the disk full?");
    disk.grow();
    project.same_in_the_end("run");
}

#[test]
fn under_the_cache() {
    let project = Project::new("broken").with_own_cache();
    let cache = project.dir().join("cache");
    let disk = Disk::new(&cache, "60k");
    project.ours("build").fails().says("No space left on device").says("hint: ");
    disk.grow();
    project.same_in_the_end("run");
}
