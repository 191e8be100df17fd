//! A small package, built as cargo builds any: what all the rest is for.

use std::{fs, io, time::Instant};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use crate::{
    config::env::{self, Env},
    util::{
        disk::temporary,
        process::{self, Cmd},
    },
};

const MANIFEST: &str = "[package]\nname = \"doctor\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
                        [workspace]\n";
/// The build script runs in a container, too, and the program tells what it handed on.
const SCRIPT: &str = "fn main() { println!(\"cargo:rustc-env=SAID=yes\"); }\n";

/// Builds a package that no store has and runs its program. Returns what to say, and what the
/// wrapper said.
pub fn try_out(env: &Env) -> Result<(String, Vec<String>)> {
    let dir = temporary(tempfile::Builder::new().prefix("rustcbuildx-doctor-").tempdir())?;
    let dir = Utf8Path::from_path(dir.path()).context("the temporary folder is not UTF-8")?;
    let now = dir.file_name().unwrap_or_default();
    let source = format!("fn main() {{ println!(\"{{}} {now}\", env!(\"SAID\")); }}\n");
    let files = [("Cargo.toml", MANIFEST), ("build.rs", SCRIPT), ("src/main.rs", &source)];
    temporary(fs::create_dir(dir.join("src")))?;
    for (name, text) in files {
        temporary(fs::write(dir.join(name), text))?;
    }
    let own = env::current_exe()?;
    let variables = [
        ("RUSTC_WRAPPER", own.as_str()),
        ("RUSTCBUILDX_STRICT", "1"),
        ("CARGO_TARGET_DIR", dir.join("target").as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let manifest = dir.join("Cargo.toml");
    let words = ["run", "--offline", "--quiet", "--manifest-path", manifest.as_str()];
    let cargo =
        Cmd { env: variables.into(), ..Cmd::new(env.get("CARGO").unwrap_or("cargo"), words) };
    let begun = Instant::now();
    let ran = process::run(&cargo)?;
    let took = begun.elapsed();
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("rustcbuildx: "));
    let said: Vec<String> = lines.map(str::to_owned).collect();
    let printed = io::read_to_string(ran.stdout).context("failed to read what it printed")?;
    if !ran.status.success() || printed.trim() != format!("yes {now}") {
        bail!("failed to build and run a small package\n{}", ran.stderr.trim_end());
    }
    let text =
        format!("a package with a build script took {:.1} s, and runs here", took.as_secs_f64());
    Ok((text, said))
}
