//! Sources that change while they are built: whatever is edited, reverted, renamed or touched when,
//! a build that begins after the last edit has it, and no outcome is kept as that of other sources.
//!
//! `RUSTCBUILDX_IT_ROUNDS` says how many rounds of each kind there are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::command::start;
use crate::planned;
use crate::project::{By, Project};

/// What a build reads: a module, an included file, one that the build script reads, and one of a
/// dependency.
const FILES: [&str; 4] = ["src/word.rs", "data/text.txt", "seed.txt", "macros/src/number.txt"];
/// Few, so that each state of a file comes again and again.
const VALUES: u64 = 3;

#[test]
fn by_the_wrapper() {
    torture(&project("0"), "run -q");
}

#[test]
fn by_the_wrapper_incrementally() {
    torture(&project("1"), "run -q");
}

#[test]
fn by_cargo_green() {
    torture(&project("0"), "green run -q");
}

#[test]
fn by_cargo_green_incrementally() {
    torture(&project("1"), "green run -q");
}

fn project(incremental: &str) -> Project {
    let project = planned::project("broken").env("CARGO_INCREMENTAL", incremental).with_own_cache();
    let root = &project.root;
    // On both sides in the alphabet, so that taking in the package takes a while.
    for folder in ["assets", "web"] {
        fs::create_dir(root.join(folder)).unwrap();
        (0..150).for_each(|number| {
            fs::write(root.join(format!("{folder}/{number}")), number.to_string()).unwrap()
        });
    }
    fs::create_dir(root.join("data")).unwrap();
    fs::write(
        root.join("src/main.rs"),
        "mod word;\nfn main() { println!(\"{} {} {} {}\", word::WORD, include_str!(\"../data/text.txt\").trim(), env!(\"SEED\"), broken::one()) }\n",
    )
    .unwrap();
    project.edit("build.rs", "rerun-if-changed=build.rs", "rerun-if-changed=seed.txt");
    project.edit(
        "build.rs",
        "// HERE",
        "println!(\"cargo::rustc-env=SEED={}\", std::fs::read_to_string(\"seed.txt\").unwrap().trim());",
    );
    let macros = "const NUMBER: &str = include_str!(\"number.txt\");\n#[proc_macro]\npub fn one(_: proc_macro::TokenStream) -> proc_macro::TokenStream { NUMBER.parse().unwrap() }\n";
    fs::write(root.join("macros/src/lib.rs"), macros).unwrap();
    project
}

fn torture(project: &Project, args: &str) {
    let rounds = std::env::var("RUSTCBUILDX_IT_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    println!("seed {seed}");
    let mut random = Random(u64::from(seed) | 1);
    let mut stale = Vec::new();
    for round in 0..rounds {
        FILES.iter().for_each(|file| random.change(&project.root, file));
        disturbed(project, args, &mut random);
        let expected = FILES
            .map(|file| random.settle(&project.root, file))
            .map(|value| value.to_string())
            .join(" ");
        let run = start(command(project, args), args).finish().succeeds();
        if run.stdout.trim() != expected {
            stale.push(format!(
                "round {round}: the sources say {expected}, the program {}",
                run.stdout.trim()
            ));
        }
    }
    assert!(stale.is_empty(), "{} of {rounds} are stale:\n{}", stale.len(), stale.join("\n"));
}

/// A build during which files change all the time; how it ends is nobody's business.
fn disturbed(project: &Project, args: &str, random: &mut Random) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(random.below(60)));
                let file = FILES[random.below(4) as usize];
                random.change(&project.root, file);
            }
        });
        start(command(project, args), args).finish();
        is_done.store(true, Ordering::Relaxed);
    });
}

fn command(project: &Project, args: &str) -> std::process::Command {
    let mut cargo = project.cargo(By::Ours, args);
    if args.starts_with("green") {
        cargo.env_remove("RUSTC_WRAPPER");
    }
    cargo
}

struct Random(u64);

impl Random {
    /// Xorshift.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }

    /// Edits, replaces, takes away and brings back, or touches a file.
    fn change(&mut self, root: &Path, file: &str) {
        let (path, value) = (root.join(file), self.below(VALUES));
        let aside = beside(&path);
        match self.below(5) {
            0 | 1 => write(&path, file, value),
            2 => {
                write(&aside, file, value);
                fs::rename(&aside, &path).unwrap();
            }
            3 if path.exists() => {
                fs::rename(&path, &aside).unwrap();
                thread::sleep(Duration::from_millis(self.below(20)));
                fs::rename(&aside, &path).unwrap();
            }
            _ if path.exists() => File::options()
                .append(true)
                .open(&path)
                .unwrap()
                .set_modified(SystemTime::now())
                .unwrap(),
            _ => write(&path, file, value),
        }
    }

    /// Gives a file the content that the next build is to have.
    fn settle(&mut self, root: &Path, file: &str) -> u64 {
        let (path, value) = (root.join(file), self.below(VALUES));
        if self.below(2) == 0 {
            write(&path, file, value);
        } else {
            write(&beside(&path), file, value);
            fs::rename(beside(&path), &path).unwrap();
        }
        value
    }
}

fn write(path: &Path, file: &str, value: u64) {
    let text = if file.ends_with(".rs") {
        format!("pub const WORD: u32 = {value};\n")
    } else {
        format!("{value}\n")
    };
    fs::write(path, text).unwrap();
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("aside")
}
