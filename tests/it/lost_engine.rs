//! An engine that is not there, or no longer, or has no image: an error, never a success; and
//! nothing of it is left once the engine is back.

use std::ffi::OsStr;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::command::{Finished, start};
use crate::engine::Engine;
use crate::interrupted::Sleeper;
use crate::project::{By, Project};

/// Builds with a variable that spoils it, then without.
#[track_caller]
fn fails_with(project: &Project, name: &str, value: &str) -> Finished {
    let mut cargo = project.cargo(By::Ours, "build");
    cargo.env(name, value);
    let failed = start(cargo, &format!("{name}={value} cargo build")).finish().fails();
    assert!(failed.stderr.contains("rustcbuildx"), "not said by whom: {failed}");
    project.same_in_the_end("run");
    failed
}

#[test]
fn unreachable_engine() {
    let project = Project::new("broken");
    fails_with(&project, "DOCKER_HOST", "unix:///nonexistent/docker.sock").says("hint: ");
}

#[test]
fn missing_image() {
    let project = Project::new("broken");
    let image = Engine::docker().env[OsStr::new("RUSTCBUILDX_BASE_IMAGE")].to_str().unwrap();
    let (repository, _) = image.rsplit_once(':').unwrap();
    let absent = format!("{repository}:no-such-tag");
    fails_with(&project, "RUSTCBUILDX_BASE_IMAGE", &absent).says("no-such-tag").says("hint: ");
}

/// Its compiler is not the local one: both versions are shown.
#[test]
fn image_of_another_version() {
    let project = Project::new("broken");
    let rustc = project.dir().join("rustc");
    let script = "#!/bin/sh\n\
        case \"$*\" in\n\
        -vV) rustc -vV | sed 's/^release: .*/release: 1.2.3/; s/^rustc .*/rustc 1.2.3 (other)/' ;;\n\
        *) exec rustc \"$@\" ;;\n\
        esac\n";
    std::fs::write(&rustc, script).unwrap();
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let real = project.command("rustc", By::Plain).arg("--version").output().unwrap().stdout;
    let mut cargo = project.cargo(By::Ours, "build");
    cargo.env("RUSTC", &rustc).env("CARGO_TARGET_DIR", project.dir().join("target-other"));
    let failed = start(cargo, "cargo build").finish().fails();
    failed.says("rustc 1.2.3 (other)").says(String::from_utf8(real).unwrap().trim());
    project.same(&["run"]);
}

#[test]
fn engine_stops_while_it_builds() {
    let project = Project::new("broken");
    let proxy = Proxy::start(&project);
    let project = project.env("DOCKER_HOST", &proxy.address());
    let sleeper = Sleeper::new();
    project.edit("build.rs", "// HERE", &sleeper.code());
    let cargo = project.start(By::Ours, "build");
    sleeper.starts();
    let socket = proxy.stop();
    cargo.finish().fails().says("rustcbuildx").says("hint: ");
    sleeper.is_stopped();

    project.edit("build.rs", &sleeper.code(), "// HERE");
    project.ours("build").fails().says("hint: ");
    let _proxy = Proxy::at(socket);
    project.same_in_the_end("run");
}

/// Between the user's docker and its engine, so that a test can take the engine away.
struct Proxy {
    socket: PathBuf,
    streams: Arc<Mutex<Streams>>,
}

/// Every open connection's two ends; none is accepted once stopped.
#[derive(Default)]
struct Streams {
    stopped: bool,
    open: Vec<UnixStream>,
}

impl Proxy {
    fn start(project: &Project) -> Self {
        Self::at(project.dir().join("proxy.sock"))
    }

    fn at(socket: PathBuf) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let streams = Arc::new(Mutex::new(Streams::default()));
        let shared = Arc::clone(&streams);
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let mut streams = shared.lock().unwrap();
                if streams.stopped {
                    return;
                }
                let server = UnixStream::connect(engine_socket()).unwrap();
                streams.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                forward(client.try_clone().unwrap(), server.try_clone().unwrap());
                forward(server, client);
            }
        });
        Self { socket, streams }
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// As when the engine's process ends.
    fn stop(self) -> PathBuf {
        let mut streams = self.streams.lock().unwrap();
        streams.stopped = true;
        for stream in streams.open.drain(..) {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
        std::fs::remove_file(&self.socket).unwrap();
        self.socket.clone()
    }
}

fn forward(mut from: UnixStream, mut to: UnixStream) {
    thread::spawn(move || {
        let _ended_either_way = io::copy(&mut from, &mut to);
        let _already_closed = to.shutdown(Shutdown::Write);
    });
}

fn engine_socket() -> PathBuf {
    let host = Engine::docker().env.get(OsStr::new("DOCKER_HOST"));
    let host = host.map_or("unix:///var/run/docker.sock", |host| host.to_str().unwrap());
    Path::new(host.strip_prefix("unix://").expect("an engine on a Unix socket")).into()
}
