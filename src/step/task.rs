//! A unit and its inputs as a task for the worker.
//!
//! The container shows the host's folders where the unit's
//! [`PathMap`](crate::unit::path_map::PathMap) says: at the host's own paths, so that nothing needs
//! rewriting, or at common ones.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    rustc::tool::Tool,
    step::{
        image::Image,
        protocol::{Input, Kind, Task},
    },
    unit::{
        baked_paths::absolute_paths,
        published_paths,
        work::{Unit, Work},
    },
    util::path::{normalised, passed},
};

/// 1980, the first year that all archive formats know.
const EPOCH: u64 = 315_532_800;

/// The folder of rustc's incremental state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncrementalState {
    /// The name of the folder in the engine that outlives the task. Empty for a new folder that
    /// goes with the task.
    pub name: String,
    /// The path that the unit's words have for it.
    pub folder: String,
}

impl IncrementalState {
    /// An empty folder that goes with the task, for a unit that cargo has compiled incrementally;
    /// `None` for other units.
    pub fn empty(unit: &Unit) -> Option<Self> {
        let Work::Compile { args, .. } = &unit.work else { return None };
        let folder = args.codegen("incremental")?.to_owned();
        Some(Self { name: String::new(), folder })
    }
}

/// The task that does the unit's work in an image. Its key is still empty: see
/// [`crate::step::key`].
///
/// Its environment is explicit, because the image's own variables are no input of the unit.
pub fn task(
    unit: &Unit,
    image: &Image,
    umask: u32,
    inputs: &[Input],
    state: Option<IncrementalState>,
) -> Task {
    let to_container = |path: &str| unit.path_map.to_container(path);
    let place = |path: &str| normalised(Utf8Path::new(&to_container(path))).into_string();
    let mut env = container_variables(unit, image);
    env.extend(
        unit.env
            .iter()
            .map(|(name, value)| format!("{name}={}", unit.path_map.with_sentinels(value))),
    );
    if unit.has_published_paths {
        env.extend(published_paths::variables(unit, unit.path_map.target(), to_container));
    }
    let secrets =
        unit.hidden.iter().map(|(name, digest)| (name.clone(), digest.clone().unwrap_or_default()));
    // Some units bake in the name that cargo has on the host, and have a macro that runs it.
    let cargo = unit.env.get("CARGO").map(|host| (host.clone(), image.tool("cargo")));
    let mut inputs: Vec<Input> = inputs
        .iter()
        .map(|input| Input { target: place(&input.target), ..input.clone() })
        .collect();
    inputs.sort();
    inputs.dedup();
    let words = program(unit, image);
    let texts = words.iter().chain(&env).filter(|text| text.contains("/.."));
    let passed: BTreeSet<_> =
        texts.flat_map(|text| absolute_paths(text)).flat_map(passed).collect();
    Task {
        key: String::new(),
        name: unit.name(),
        kind: if unit.is_build_script() { Kind::Script } else { Kind::Compile },
        words,
        env,
        secrets: secrets.collect(),
        folder: to_container(unit.cwd.as_str()),
        out: place(unit.out_dir().as_str()),
        umask,
        links: cargo.into_iter().collect(),
        inputs,
        opened: unit.opened.iter().map(|folder| place(folder.as_str())).collect(),
        passed: passed.into_iter().map(Utf8PathBuf::into_string).collect(),
        is_kept: unit.keeps_writes,
        is_observed: unit.is_observed,
        // The folder is written as it is in the words.
        state: state.map(|state| (state.name, unit.path_map.with_sentinels(&state.folder))),
    }
}

/// The program and its arguments, with the image's compiler in place of the host's.
fn program(unit: &Unit, image: &Image) -> Vec<String> {
    match &unit.work {
        Work::Compile { tool, args, .. } => {
            let mut words = match tool {
                Tool::Rustc => vec![image.tool("rustc")],
                Tool::Clippy => vec![image.tool("clippy-driver"), image.tool("rustc")],
            };
            // Only the input's path names a source file; others may end up in the output and be
            // used from there.
            let is_input = |word: &str| args.inputs().any(|input| input == word);
            words.extend(args.words().iter().map(|word| match is_input(word) {
                true => unit.path_map.to_container(word),
                false => unit.path_map.with_sentinels(word),
            }));
            words.extend(unit.path_map.remap_option());
            if unit.has_published_paths {
                let seen = |path: &str| unit.path_map.to_container(path);
                let target = unit.path_map.target();
                words.extend(published_paths::options(unit, target, seen, image.release()));
            }
            words
        }
        Work::BuildScript { program, .. } => vec![unit.path_map.to_container(program.as_str())],
    }
}

/// What cargo gives a process of the machine it runs on: here the container.
fn container_variables(unit: &Unit, image: &Image) -> Vec<String> {
    // Macros and build scripts that are instrumented, too, would try to leave their profile beside
    // the sources.
    let profile = "LLVM_PROFILE_FILE=/dev/null".to_owned();
    // A macro may ask cargo of its package. A crate that bakes this name in is compiled again with
    // the host's.
    let cargo = format!("CARGO={}", image.tool("cargo"));
    // Of two values, the later one holds. A path is the image's own by now.
    let of_image = image.variables.iter().filter(|(name, _)| name != "PATH");
    let mut variables: Vec<String> =
        of_image.map(|(name, value)| format!("{name}={value}")).collect();
    variables.extend([format!("PATH={}/bin:{}", image.sysroot, image.path), profile, cargo]);
    if let Work::BuildScript { library_path, .. } = &unit.work {
        let mut folders =
            vec![format!("{0}/lib/rustlib/{1}/lib:{0}/lib", image.sysroot, image.host())];
        folders.extend(library_path.iter().map(|folder| unit.path_map.to_container(folder)));
        if unit.path_map.are_common() {
            // C sources that hold `__TIME__` would come out otherwise on each machine. The host's
            // own value comes later.
            variables.push(format!("SOURCE_DATE_EPOCH={EPOCH}"));
        }
        variables.push(format!("LD_LIBRARY_PATH={}", folders.join(":")));
        for (name, tool) in [("RUSTC", "rustc"), ("RUSTDOC", "rustdoc")] {
            variables.push(format!("{name}={}", image.tool(tool)));
        }
    }
    variables
}
