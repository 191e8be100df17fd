//! A team: one machine with docker and one with podman, each with its own cache, and a real remote
//! of each kind between them.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    command::{Finished, start},
    engine::{Engine, WRAPPER},
    project::{By, Project},
};

/// What `hack/engine env remotes` exports.
fn servers() -> &'static BTreeMap<String, String> {
    static SERVERS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let script = "set -e; exports=$(hack/engine env remotes); eval \"$exports\"; exec env -0";
        let mut command = Command::new("sh");
        let output = command.args(["-c", script]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "failed to reach remotes (hint: `hack/engine up remotes`): {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let pairs = output.stdout.split(|byte| *byte == 0);
        let pairs = pairs.filter_map(|pair| {
            let text = OsString::from_vec(pair.to_vec()).into_string().ok()?;
            text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        pairs.collect()
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Folder,
    Registry,
    Web,
    S3,
}

/// The variables by which a machine reaches a remote of this kind that has nothing yet.
pub fn variables(kind: Kind, folder: &Path, name: &str) -> Vec<(String, String)> {
    let server = |name: &str| servers()[name].clone();
    let name = format!("it-{}-{name}", std::process::id());
    let (url, more) = match kind {
        Kind::Folder => (format!("file://{}", folder.join("remote").display()), vec![]),
        Kind::Registry => (format!("{}/{name}", server("RUSTCBUILDX_IT_REGISTRY")), vec![]),
        Kind::Web => {
            let [server, authorization] =
                ["RUSTCBUILDX_IT_WEB", "RUSTCBUILDX_IT_AUTHORIZATION"].map(server);
            ask(&server, &format!("MKCOL /{name}/"), Some(&authorization));
            let url = format!("{server}/{name}");
            (url, vec![("RUSTCBUILDX_REMOTE_TEAM_AUTHORIZATION", authorization)])
        }
        Kind::S3 => {
            let endpoint = server("RUSTCBUILDX_IT_S3");
            ask(&endpoint, &format!("PUT /{name}"), None);
            let more = vec![
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_ACCESS_KEY_ID", "it".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "it".to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
            ];
            (format!("s3://{name}/team"), more)
        }
    };
    let own = [("RUSTCBUILDX_REMOTE_TEAM_URL", url)].into_iter().chain(more);
    own.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Makes a request of a server that has to succeed.
fn ask(server: &str, request: &str, authorization: Option<&str>) {
    let host = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n"));
    let request = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
        authorization.unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

pub const MODE: &str = "RUSTCBUILDX_REMOTE_TEAM_MODE";

/// Two machines, whose outcomes nobody else has: the first can sign.
pub struct Team {
    pub machines: [Project; 2],
    pub public: String,
}

impl Team {
    pub fn new(fixture: &str, kind: Kind, name: &str) -> Self {
        Self::with(fixture, kind, name, |project| project)
    }

    pub fn with(
        fixture: &str,
        kind: Kind,
        name: &str,
        change: impl Fn(Project) -> Project,
    ) -> Self {
        let projects = [Engine::docker(), Engine::podman()].map(|it| Project::on(it, fixture));
        let variables = variables(kind, projects[0].dir(), name);
        let keys = rustcbuildx(&[], "cache keygen").succeeds().stdout;
        let line = |start: &str| {
            let line = keys.lines().find_map(|line| line.strip_prefix(start)).unwrap();
            line.trim_matches(['[', ']', '"']).to_owned()
        };
        let (secret, public) = (line("RUSTCBUILDX_SIGNING_KEY="), line("trust = "));
        let machine = |project: Project| {
            let flags = format!("--cfg it_{}_{}", name.replace('-', "_"), std::process::id());
            let project =
                project.with_own_cache().env("RUSTFLAGS", &flags).env("CARGO_INCREMENTAL", "0");
            let project = project.env("RUSTCBUILDX_REMOTE_TEAM_TRUST", &public);
            let project =
                variables.iter().fold(project, |project, (name, value)| project.env(name, value));
            change(with_credentials(project))
        };
        let [first, second] = projects.map(machine);
        Self { machines: [first.env("RUSTCBUILDX_SIGNING_KEY", &secret), second], public }
    }
}

/// What docker knows of the registry, beside what tests have in docker's configuration.
fn with_credentials(project: Project) -> Project {
    let folder = project.dir().join("docker");
    fs::create_dir(&folder).unwrap();
    let own = Engine::docker().env[OsStr::new("DOCKER_CONFIG")].clone();
    std::os::unix::fs::symlink(Path::new(&own).join("cli-plugins"), folder.join("cli-plugins"))
        .unwrap();
    let config = Path::new(&servers()["RUSTCBUILDX_IT_DOCKER_CONFIG"]).join("config.json");
    fs::copy(config, folder.join("config.json")).unwrap();
    project.env("DOCKER_CONFIG", folder.to_str().unwrap())
}

pub fn rustcbuildx(variables: &[(&str, &str)], args: &str) -> Finished {
    let mut command = crate::engine::command(WRAPPER, &Engine::docker().env);
    command.args(args.split_whitespace()).envs(variables.iter().copied());
    start(command, &format!("rustcbuildx {args}")).finish()
}

pub fn cache(project: &Project, args: &str) -> Finished {
    let mut command = project.command(WRAPPER, By::Ours);
    command.arg("cache").args(args.split_whitespace()).env_remove("RUSTC_WRAPPER");
    // No build of the test's pushes by itself.
    command.env(MODE, "read-write");
    start(command, &format!("rustcbuildx cache {args}")).finish()
}

/// The calls of an engine in which something was built: those that are sent something.
pub fn builds(project: &Project) -> Vec<String> {
    let is_build =
        |call: &String| call.contains("--build-context") && !call.contains("/inventory ");
    project.calls.take().into_iter().filter(is_build).collect()
}

/// The cache folder of a machine that trusts a remote, apart from all else that it has.
pub fn own_cache(project: &Project) -> PathBuf {
    let domains = project.dir().join("cache/rustcbuildx/domains");
    let mut domains: Vec<_> = fs::read_dir(domains).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(domains.len(), 1, "{domains:?}");
    domains.remove(0)
}

/// The folder of a remote that is one.
pub fn folder_of(project: &Project) -> PathBuf {
    let command = project.command("true", By::Ours);
    let mut variables = command.get_envs();
    let url = variables.find(|(name, _)| *name == "RUSTCBUILDX_REMOTE_TEAM_URL").unwrap().1;
    Path::new(url.unwrap().to_str().unwrap().strip_prefix("file://").unwrap()).to_owned()
}

/// All that a machine makes is for the other.
pub fn private(project: Project) -> Project {
    project.env("RUSTCBUILDX_CANONICAL_PATHS", "all").env("RUSTCBUILDX_REMOTE_TEAM_PRIVATE", "1")
}
