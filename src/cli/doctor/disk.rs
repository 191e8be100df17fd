//! The disk that the cache folder is on.

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use walkdir::WalkDir;

use crate::{
    config::{env::Env, settings::Config},
    util::state_dir::Cache,
};

/// With less, in bytes, a build of some size fails.
const LITTLE: u64 = 1_000_000_000;

/// Source: `statfs(2)`.
const KINDS: &[(u32, &str)] = &[
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x794c_7630, "overlay"),
    (0x0102_1994, "tmpfs"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
];
/// File systems of other machines: each look at a file may take a round trip.
const FAR: &[&str] = &["nfs", "cifs", "smb", "9p", "fuse"];

pub struct Disk {
    pub kind: &'static str,
    /// In bytes.
    pub free: u64,
}

/// The disk that a path is on, which is there.
pub fn disk(path: &Utf8Path) -> Result<Disk> {
    let stat = rustix::fs::statfs(path.as_std_path());
    let stat = stat.with_context(|| format!("failed to ask about the file system of `{path}`"))?;
    // The type's width differs between processors; all known numbers have 32 bits.
    let number = stat.f_type as u32;
    let kind = KINDS.iter().find(|(known, _)| *known == number);
    let block = u64::try_from(stat.f_bsize).unwrap_or_default();
    Ok(Disk {
        kind: kind.map_or("an unknown file system", |(_, name)| name),
        free: stat.f_bavail.saturating_mul(block),
    })
}

pub fn cache(env: &Env, config: &Config) -> Result<(Cache, String)> {
    let folder = env.cache_dir()?;
    let cache = Cache::open(folder.clone())?;
    // A disk that can only be read, or is full to the last byte, shows by a try.
    cache.temp_dir().and_then(|dir| {
        std::fs::write(dir.path().join("try"), [0; 4096])
            .with_context(|| format!("failed to write to `{folder}` (hint: is its disk full?)"))
    })?;
    let Disk { kind, free } = disk(&folder)?;
    if free < LITTLE {
        bail!(
            "`{folder}` has {} left on its disk, which is too little for a build (hint: free some, or \
             set XDG_CACHE_HOME; RUSTCBUILDX_STORE_SIZE bounds what we take)",
            in_units(free)
        );
    }
    if FAR.contains(&kind) {
        bail!(
            "`{folder}` is on {kind}, where each look at a file may take a round trip (hint: \
             XDG_CACHE_HOME on a disk of this machine)"
        );
    }
    let entries = WalkDir::new(&folder).into_iter().filter_map(Result::ok);
    let sizes = entries.filter_map(|entry| entry.metadata().ok()).filter(|data| data.is_file());
    let used: u64 = sizes.map(|data| data.len()).sum();
    let text = format!(
        "`{folder}` takes {} of {} at most, on {kind} with {} free",
        in_units(used),
        in_units(config.store_size),
        in_units(free)
    );
    Ok((cache, text))
}

/// Bytes for a person.
pub fn in_units(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_units() {
        assert_eq!(in_units(57_300_000_000), "57.3 GB");
        assert_eq!(in_units(999_999_999), "999 MB");
    }

    #[test]
    fn a_kernels_own_file_system_is_none_of_those() {
        assert_eq!(disk(Utf8Path::new("/proc")).unwrap().kind, "an unknown file system");
        assert!(disk(Utf8Path::new("/no/such/path")).is_err());
    }
}
