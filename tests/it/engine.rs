//! The engines of `hack/engine`, and a shim in front of their commands that logs each call.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Once, OnceLock};
use std::thread;

pub const WRAPPER: &str = env!("CARGO_BIN_EXE_rustcbuildx");

pub type Env = BTreeMap<OsString, OsString>;

/// A running engine: the environment that reaches it, with its image resolved already.
#[derive(Debug)]
pub struct Engine {
    pub env: Env,
}

impl Engine {
    pub fn docker() -> &'static Self {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(|| Self::up("docker"))
    }

    pub fn podman() -> &'static Self {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(|| Self::up("podman"))
    }

    pub fn ssh() -> &'static Self {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        ENGINE.get_or_init(|| Self::up("ssh"))
    }

    /// Asks `hack/engine`, then has the image resolved: tests count calls, and this is not theirs.
    fn up(name: &str) -> Self {
        static TOLD: Once = Once::new();
        TOLD.call_once(tell_failures_at_once);
        let script = "set -e; exports=$(hack/engine env \"$1\"); eval \"$exports\"; exec env -0";
        let output = Command::new("sh")
            .args(["-c", script, "sh", name])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .envs(callers_env())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "failed to reach engine `{name}` (hint: `hack/engine up {name}`): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut env: Env = output
            .stdout
            .split(|&byte| byte == 0)
            .filter_map(|pair| {
                let split = pair.iter().position(|&byte| byte == b'=')?;
                Some((os(&pair[..split]), os(&pair[split + 1..])))
            })
            .collect();
        let dir = folder_of_this_run(name);
        env.insert("XDG_CACHE_HOME".into(), dir.join("cache").into());
        put_shims_in_front(&mut env, &dir.join("shims"));

        let status = Command::new(WRAPPER).arg("pull").env_clear().envs(&env).status().unwrap();
        assert!(status.success(), "`rustcbuildx pull` with engine `{name}`: {status}");
        Self { env }
    }

    /// The environment for calls that are logged to a file of their own.
    pub fn logging_to(&self, log: &Path) -> (Env, Calls) {
        let mut env = self.env.clone();
        env.insert(LOG.into(), log.into());
        (env, Calls { log: log.to_owned() })
    }
}

/// Where the shims write; one that is not set is not written to.
const LOG: &str = "RUSTCBUILDX_IT_LOG";

/// Every way to call an engine: the CLIs, and docker's plugin, which can be called directly.
fn put_shims_in_front(env: &mut Env, dir: &Path) {
    let bin = dir.join("bin");
    let config = dir.join("docker-config");
    let plugins = config.join("cli-plugins");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&plugins).unwrap();
    let path = env[OsStr::new("PATH")].clone();
    let find = |program| {
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
    };
    for program in ["docker", "podman", "buildah"] {
        if let Some(real) = find(program) {
            write_shim(&bin.join(program), &real);
        }
    }
    if let Some(real) = find_buildx(env) {
        write_shim(&plugins.join("docker-buildx"), &real);
    }
    // What else the user's configuration holds (contexts, credentials) stays in force.
    for entry in fs::read_dir(docker_config(env)).into_iter().flatten().flatten() {
        let _plugins_are_ours = symlink(entry.path(), config.join(entry.file_name()));
    }
    let dirs = std::iter::once(bin).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(dirs).unwrap();
    env.insert("PATH".into(), path);
    env.insert("DOCKER_CONFIG".into(), config.into());
}

/// The log of a shim: one line per process of an engine that something other than it started.
#[derive(Debug)]
pub struct Calls {
    log: PathBuf,
}

impl Calls {
    /// What was called since the last time this was asked.
    pub fn take(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let _not_called_yet = fs::remove_file(&self.log);
        text.lines().map(str::to_owned).collect()
    }
}

/// The docker CLI starts its buildx plugin: a call within a call, told by the unset variable. It
/// also asks each plugin what it is, which is no call of an engine.
fn write_shim(shim: &Path, real: &Path) {
    let name = shim.file_name().unwrap().display();
    let real = real.display();
    let script = format!(
        "#!/bin/sh\n\
         if [ -n \"${LOG}\" ] && [ \"$1\" != docker-cli-plugin-metadata ]; then\n\
         printf '%s\\n' \"{name} $(printf '%s ' \"$@\" | tr '\\n' ' ')\" >>\"${LOG}\"\n\
         unset {LOG}\n\
         fi\n\
         exec '{real}' \"$@\"\n"
    );
    fs::write(shim, script).unwrap();
    fs::set_permissions(shim, fs::Permissions::from_mode(0o755)).unwrap();
}

fn docker_config(env: &Env) -> PathBuf {
    match env.get(OsStr::new("DOCKER_CONFIG")) {
        Some(dir) => dir.into(),
        None => Path::new(&env[OsStr::new("HOME")]).join(".docker"),
    }
}

fn find_buildx(env: &Env) -> Option<PathBuf> {
    let system = ["/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec"];
    std::iter::once(docker_config(env))
        .chain(system.iter().map(|dir| Path::new(dir).join("docker")))
        .map(|dir| dir.join("cli-plugins/docker-buildx"))
        .find(|file| file.is_file())
}

/// Without what `cargo test` and rustup told this process, which a user's cargo is not told.
fn callers_env() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        let ours = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&&*name);
        ours || !(name.starts_with("CARGO")
            || name.starts_with("RUST")
            || name == "LD_LIBRARY_PATH")
    })
}

/// Tells of a failure when it happens, and of the engines and the disk at the first: what fails all
/// tests from there on may have passed when the harness tells of them.
fn tell_failures_at_once() {
    let (usual, first) = (panic::take_hook(), Once::new());
    panic::set_hook(Box::new(move |info| {
        // The harness keeps back what macros print, and only that.
        let told: String = info.to_string().chars().take(2000).collect();
        let thread = thread::current();
        let _nobody_reads_it =
            writeln!(io::stderr(), "{} {told}", thread.name().unwrap_or("a thread"));
        first.call_once(|| {
            let mut look = Command::new("sh");
            look.args(["-c", "exec >&2; hack/engine status; df -h . /tmp; free -m; uptime"]);
            let _it_is_told_without = look.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        });
        usual(info);
    }));
}

/// One per test run, so that runs do not see each other's; those of finished runs are removed.
fn folder_of_this_run(engine: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("it");
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _another_run_did = fs::remove_dir_all(entry.path());
        }
    }
    let dir = all.join(std::process::id().to_string()).join(engine);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

/// A command in `env` and nothing else.
pub fn command(program: impl AsRef<OsStr>, env: &Env) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env).stdin(Stdio::null());
    command
}
