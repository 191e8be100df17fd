//! A call of the engine as a Dockerfile: the worker, which is made once for an image, the batch
//! that it runs, and what is taken out.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};

use crate::step::{
    dockerfile::{Dockerfile, Instruction, Mount, Run, Stage, Style},
    image::Image,
    protocol::{VERSION, WORKER},
};

/// A Dockerfile's text and the folders it names.
#[derive(Default)]
pub struct Plan {
    pub dockerfile: String,
    pub contexts: BTreeMap<String, Utf8PathBuf>,
    /// Where the engine's client may leave files; `None` is where it does so by itself.
    pub temp: Option<Utf8PathBuf>,
    /// The names of the secrets it mounts.
    pub secrets: BTreeSet<String>,
}

/// The stage with the worker's program.
const WORKER_STAGE: &str = "worker";
/// The stage that runs a batch, on top of that.
const BATCH: &str = "batch";
/// The stage that holds only what the client gets.
const RESULT: &str = "result";
/// The context with the worker's source.
const SOURCE: &str = "worker-source";
/// The context with the batch, and with what is sent for it.
const GIVEN: &str = "given";

/// What the engine's store has of a pack, mounted where a task wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    pub pack: String,
    /// In the pack.
    pub path: String,
    pub target: String,
}

impl Mounted {
    /// Whether the frontends take a path as it is, in a list of options between commas.
    pub fn is_possible_at(target: &str) -> bool {
        target.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c))
    }
}

/// Plans the batch in the folder `given`, for the worker whose source is in the folder `worker`.
/// The result has a folder for each outcome that the batch wants. Outcomes of different domains are
/// in different stores of the engine.
pub fn batch(
    image: &Image,
    worker: &Utf8Path,
    given: &Utf8Path,
    mounted: &[Mounted],
    secrets: BTreeSet<String>,
    style: Style<'_>,
    domain: Option<&str>,
) -> Plan {
    let [source, bin, outcome] =
        ["source", "bin", "outcome"].map(|folder| format!("{WORKER}/{folder}"));
    let rustc = image.tool("rustc");
    let compile = |name: &str, root: &str, more: &[&str]| {
        let (name, root) = (format!("--crate-name={name}"), format!("{source}/{root}"));
        let words = [&rustc, &root, &name, "--edition=2021", "--out-dir", &bin, "-Cpanic=abort"];
        let argv = words.iter().chain(more).map(|word| word.to_string()).collect();
        Run { mounts: vec![], argv }
    };
    // Only what looks at every byte is worth the time that it takes to optimize.
    let library = compile("bytes", "bytes/mod.rs", &["--crate-type=rlib", "-Copt-level=3"]);
    let linked = format!("--extern=bytes={bin}/libbytes.rlib");
    let program = compile("worker", "main.rs", &[&linked, "-Cdebug-assertions=off"]);
    // What programs load has nothing of the standard library in it. Where they hold their C
    // library, they load nothing.
    let preload = compile(
        "preload",
        "preload/lib.rs",
        &["--crate-type=cdylib", "-Copt-level=2", "-Cforce-frame-pointers=yes"],
    );
    let apart = domain.map(|domain| format!("-{domain}")).unwrap_or_default();
    let store = format!("rustcbuildx-store-{VERSION}{apart}");
    let mounts = [
        Mount::Cache { id: store.clone(), target: format!("{WORKER}/store") },
        Mount::Bind { from: GIVEN.to_owned(), target: format!("{WORKER}/given") },
    ];
    let mounted = mounted.iter().map(|Mounted { pack, path, target }| Mount::InCache {
        id: store.clone(),
        source: format!("v{VERSION}/packs/{pack}/{path}"),
        target: target.clone(),
    });
    let secret = |id: &String| Mount::Secret { id: id.clone() };
    let run = Run {
        mounts: mounts.into_iter().chain(mounted).chain(secrets.iter().map(secret)).collect(),
        argv: vec![format!("{bin}/worker")],
    };
    let stages = vec![
        Stage {
            from: &image.pinned,
            name: WORKER_STAGE,
            instructions: vec![
                Instruction::User("root"),
                Instruction::Copy { from: SOURCE, source: "/", target: &source },
                Instruction::Run(&library),
                Instruction::Run(&program),
            ]
            .into_iter()
            .chain(image.has_shared_libc().then_some(Instruction::Run(&preload)))
            .collect(),
        },
        Stage { from: WORKER_STAGE, name: BATCH, instructions: vec![Instruction::Run(&run)] },
        Stage {
            from: "scratch",
            name: RESULT,
            instructions: vec![Instruction::Copy { from: BATCH, source: &outcome, target: "/" }],
        },
    ];
    let dockerfile = Dockerfile { style, stages }.to_string();
    let context = |name: &str, path: &Utf8Path| (name.to_owned(), path.to_owned());
    let contexts = [context(SOURCE, worker), context(GIVEN, given)].into();
    // Beside what is given, for that is removed with the call, or swept later.
    let temp = given.parent().map(Utf8Path::to_owned);
    Plan { dockerfile, contexts, temp, secrets }
}
