//! Settings that share most with other machines and checkouts, for this machine.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
};

use anyhow::{Context, Result};
use camino::Utf8Path;

use super::disk::{disk, in_units};
use crate::{
    cli::units::steps,
    config::{
        env::Env,
        settings::{CanonicalPaths, Config},
    },
    step::image::{Image, is_for_good},
    store::provenance::ProvenanceRecords,
    unit::path_map::all_sentinels,
    util::state_dir::Cache,
};

/// Of the free disk, so much may be the store's.
const SHARE: u64 = 5;
const MOST: u64 = 100_000_000_000;

/// Prints them, or writes them to a file.
pub fn suggest(
    env: &Env,
    config: &Config,
    image: &Image,
    cache: &Cache,
    write: Option<&str>,
) -> Result<()> {
    let mut text = String::new();
    let mut add = |line: &str, why: &str| {
        writeln!(text, "# {why}\n{line}").expect("a String takes all");
    };
    let base = config.base_image.as_deref().unwrap_or_default();
    if !is_for_good(base) && image.pinned.contains("@sha256:") {
        add(
            &format!("base-image = \"docker-image://{}\"", image.pinned),
            "The same image for all, whatever its tag stands for later. An update of Rust changes it.",
        );
    }
    if config.canonical_paths == CanonicalPaths::Dependencies {
        let why = "Members of the workspace are shared between checkouts, too. Their debug \
                   information and messages then name common paths.";
        let own = members_in(env, cache).map(|(members, all)| {
            format!(
                " Of the {all} units in `target`, {members} would be found from elsewhere, too."
            )
        });
        add("canonical-paths = \"all\"", &format!("{why}{}", own.unwrap_or_default()));
    }
    let free = disk(&env.cache_dir()?)?.free;
    let size = (free / SHARE).min(MOST) / 1_000_000_000;
    if size > 0 && size != config.store_size / 1_000_000_000 {
        let why = format!("A fifth of the {} that are free here.", in_units(free));
        add(&format!("store-size = \"{size}GB\""), &why);
    }
    add(
        "[profile.ci]\nincremental = false",
        "Where CI is set: what is compiled incrementally is found by nobody else.",
    );
    match write {
        None => println!(
            "\nSettings that share most with other machines and checkouts (`--write FILE` writes \
             them, as `.config/rustcbuildx.toml` of a workspace):\n\n{text}"
        ),
        Some(path) => {
            let path = env.current_dir()?.join(path);
            let write = || -> io::Result<()> {
                fs::create_dir_all(path.parent().unwrap_or(Utf8Path::new("/")))?;
                File::create_new(&path)?.write_all(text.as_bytes())
            };
            write().with_context(|| {
                format!("failed to write `{path}` (hint: what is there is not overwritten)")
            })?;
            println!("\nwrote `{path}`");
        }
    }
    Ok(())
}

/// How many units in the target folder are made with paths of this machine, and of how many.
fn members_in(env: &Env, cache: &Cache) -> Option<(usize, usize)> {
    let folder = env.get("CARGO_TARGET_DIR").unwrap_or("target");
    let folder = env.current_dir().ok()?.join(folder);
    let steps = steps(&folder, &mut ProvenanceRecords::new(cache, folder.clone()));
    let is_common =
        |folder: &str| all_sentinels().iter().any(|sentinel| folder.starts_with(sentinel.as_str()));
    let members = steps.iter().filter(|step| !is_common(&step.task.folder)).count();
    (members > 0).then_some((members, steps.len()))
}
