//! One unit of work: a compile, or a run of a build script, as cargo asked for it.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::{
    rustc::{
        args::{Flag, RustcArgs},
        crate_type::CrateType,
        emit::EmitKind,
        outputs,
        tool::Tool,
    },
    unit::path_map::PathMap,
};

/// One compile, or one run of a build script.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unit {
    pub work: Work,
    /// Where cargo starts the process.
    pub cwd: Utf8PathBuf,
    /// `CARGO_MANIFEST_DIR`: the folder of the package.
    pub package: Utf8PathBuf,
    /// The variables that may decide its output.
    pub env: BTreeMap<String, String>,
    /// Variables whose values no Dockerfile may hold, each with what of it decides the output, if
    /// anything.
    pub hidden: BTreeMap<String, Option<String>>,
    /// Files and folders outside the package that it reads.
    pub paths: Vec<Utf8PathBuf>,
    /// Folders outside of its output folder that it writes to.
    pub opened: Vec<Utf8PathBuf>,
    /// Whether what it writes to folders that are not its own ends where plain cargo would have it.
    pub keeps_writes: bool,
    /// Whether it is looked at what it touches.
    pub is_observed: bool,
    /// Whether its sources have the names of [`published_paths`](crate::unit::published_paths).
    pub has_published_paths: bool,
    /// Where the container shows all of these.
    #[serde(skip)]
    pub path_map: PathMap,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    Compile {
        tool: Tool,
        args: RustcArgs,
        out_dir: Utf8PathBuf,
    },
    /// `library_path` holds the folders of its target folder that cargo adds to the dynamic
    /// linker's.
    BuildScript {
        program: Utf8PathBuf,
        out_dir: Utf8PathBuf,
        library_path: Vec<String>,
    },
}

impl Unit {
    /// One that reads nothing but its package.
    pub fn new(work: Work, cwd: Utf8PathBuf, package: Utf8PathBuf) -> Self {
        let (env, hidden, paths, opened, keeps_writes, path_map) = Default::default();
        Self {
            work,
            cwd,
            package,
            env,
            hidden,
            paths,
            opened,
            keeps_writes,
            is_observed: true,
            has_published_paths: false,
            path_map,
        }
    }

    /// Name and version of the package, and the crate: for messages.
    pub fn name(&self) -> String {
        let package = self.package_name();
        let version = self.env.get("CARGO_PKG_VERSION").map_or("?", String::as_str);
        match &self.work {
            Work::Compile { args, .. } => {
                let name = args.value(Flag::CrateName).unwrap_or("?");
                format!("{package} {version} (crate {name})")
            }
            Work::BuildScript { .. } => format!("{package} {version} (build script)"),
        }
    }

    pub fn package_name(&self) -> &str {
        self.env.get("CARGO_PKG_NAME").map_or("?", String::as_str)
    }

    /// What cargo made for it of artifact dependencies: programs and libraries, by the variables
    /// that name them.
    ///
    /// Source: cargo docs, "Artifact dependencies: environment variables"; those of folders lead to
    /// these same files.
    pub fn artifacts(&self) -> impl Iterator<Item = &Utf8Path> {
        let is_file = |name: &str| ARTIFACT_FILES.iter().any(|prefix| name.starts_with(prefix));
        self.env.iter().filter(move |(name, _)| is_file(name)).map(|(_, path)| Utf8Path::new(path))
    }

    /// The programs of its package, which few tests do more with than to run them.
    pub fn programs(&self) -> impl Iterator<Item = &Utf8Path> {
        self.env
            .iter()
            .filter(|(name, _)| name.starts_with("CARGO_BIN_EXE_"))
            .map(|(_, path)| Utf8Path::new(path))
    }

    /// The folder whose new files are the unit's output.
    pub fn out_dir(&self) -> &Utf8Path {
        match &self.work {
            Work::Compile { out_dir, .. } | Work::BuildScript { out_dir, .. } => out_dir,
        }
    }

    /// The names of the files that a compile writes, as far as cargo or another unit looks for
    /// them; those of a build script are its own choice.
    pub fn output_files(&self) -> Vec<String> {
        match &self.work {
            Work::Compile { args, .. } => {
                outputs::of(args).into_iter().map(|(name, _)| name).collect()
            }
            Work::BuildScript { .. } => vec![],
        }
    }

    /// The paths that it writes to, as far as another unit looks for them.
    pub fn output_paths(&self) -> Vec<Utf8PathBuf> {
        match &self.work {
            Work::Compile { out_dir, .. } => {
                self.output_files().into_iter().map(|name| out_dir.join(name)).collect()
            }
            Work::BuildScript { out_dir, .. } => vec![out_dir.clone()],
        }
    }

    /// Whether the output is a build script's program.
    ///
    /// Cargo names such crates `build_script_*`, and sets `CARGO_BIN_NAME` for every other program
    /// (cargo docs, "Environment variables Cargo sets for crates").
    pub fn makes_build_script(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return false };
        args.value(Flag::CrateName).is_some_and(|name| name.starts_with("build_script_"))
            && args.crate_types() == [CrateType::Bin]
            && args.emits().iter().any(|emit| emit.kind == EmitKind::Link)
            && !self.env.contains_key("CARGO_BIN_NAME")
    }

    /// Whether rustc will run a linker, and so needs the object code of every crate below.
    pub fn links(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return false };
        let types = args.crate_types();
        let is_library = |kind: &CrateType| matches!(kind, CrateType::Lib | CrateType::Rlib);
        let makes_program = types.is_empty() || !types.iter().all(is_library);
        (makes_program || self.is_test())
            && args.emits().iter().any(|emit| emit.kind == EmitKind::Link)
    }

    /// Whether other units are made from what this one makes, as far as one can tell.
    pub fn serves_units(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return true };
        let is_library = |kind: &CrateType| {
            matches!(
                kind,
                CrateType::Lib | CrateType::Rlib | CrateType::Dylib | CrateType::ProcMacro
            )
        };
        self.makes_build_script() || !self.is_test() && args.crate_types().iter().any(is_library)
    }

    pub fn is_test(&self) -> bool {
        matches!(&self.work, Work::Compile { args, .. } if args.has(Flag::Test))
    }

    pub fn is_build_script(&self) -> bool {
        matches!(self.work, Work::BuildScript { .. })
    }

    pub fn is_proc_macro(&self) -> bool {
        let Work::Compile { args, .. } = &self.work else { return false };
        args.crate_types() == [CrateType::ProcMacro]
    }
}

/// What the variables begin with that name artifacts of dependencies.
const ARTIFACT_FILES: &[&str] = &["CARGO_BIN_FILE_", "CARGO_CDYLIB_FILE_", "CARGO_STATICLIB_FILE_"];
