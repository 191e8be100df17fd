//! Which files the kernel lets each task of a batch read and write.

use std::path::{Path, PathBuf};

use crate::{
    landlock::{Abi, OpenPath, READ, Ruleset, WRITE},
    process::Slot,
    protocol::Task,
    report::{Explain, Result},
    view::View,
};

/// What the kernel holds tasks to, as far as it is the same for all.
pub struct Rules {
    abi: Abi,
    readable: Vec<OpenPath>,
    devices: Vec<OpenPath>,
}

impl Rules {
    pub fn new(abi: Abi, view: &View<'_>) -> Result<Self> {
        let open = |path: &PathBuf| OpenPath::open(path).ok();
        let readable: Vec<PathBuf> = view
            .of_image()
            .into_iter()
            .chain(["/proc", "/sys", "/rustcbuildx/bin"].map(PathBuf::from))
            .collect();
        let devices = ["null", "zero", "full", "random", "urandom", "tty", "fd"];
        let devices: Vec<PathBuf> =
            devices.iter().map(|name| Path::new("/dev").join(name)).collect();
        Ok(Self {
            abi,
            readable: readable.iter().filter_map(open).collect(),
            devices: devices.iter().filter_map(open).collect(),
        })
    }

    /// What one task may read and write. `state` is its folder that outlives it, and a task that
    /// `has_common_temporary` may use the folders that all users of a machine share.
    pub fn of(
        &self,
        view: &View<'_>,
        task: &Task,
        slot: &Slot,
        state: Option<&Path>,
        has_common_temporary: bool,
    ) -> Result<Ruleset> {
        let build = || -> std::io::Result<Ruleset> {
            let rules = Ruleset::new(self.abi)?;
            self.readable.iter().try_for_each(|place| rules.allow(place, READ))?;
            self.devices.iter().try_for_each(|place| rules.allow(place, WRITE))?;
            for path in view.readable(task) {
                rules.allow(&OpenPath::open(&path)?, READ)?;
            }
            let written = task
                .inputs
                .iter()
                .filter(|input| input.is_writable)
                .map(|input| PathBuf::from(&input.target));
            let written = written
                .chain([PathBuf::from(&task.out), slot.private()])
                .chain(state.map(Path::to_owned));
            for path in written {
                rules.allow(&OpenPath::open(&path)?, WRITE)?;
            }
            if has_common_temporary {
                for path in ["/tmp", "/var/tmp", "/dev/shm"] {
                    if let Ok(place) = OpenPath::open(Path::new(path)) {
                        rules.allow(&place, WRITE)?;
                    }
                }
            }
            Ok(rules)
        };
        build().explain(|| format!("failed to say what {} may read", task.name))
    }
}
