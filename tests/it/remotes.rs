//! Outcomes that are shared between machines: one machine with docker and one with podman, each
//! with its own cache, and a real remote of each kind between them.

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

use rustcbuildx::remote::{head::SignedHead, pack, records, segment::Segment};

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
enum Kind {
    Folder,
    Registry,
    Web,
    S3,
}

/// The variables by which a machine reaches a remote of this kind that has nothing yet.
fn variables(kind: Kind, folder: &Path, name: &str) -> Vec<(String, String)> {
    let server = |name: &str| servers()[name].clone();
    let name = format!("it-{}-{name}", std::process::id());
    let (url, more) = match kind {
        Kind::Folder => (format!("file://{}", folder.join("remote").display()), vec![]),
        Kind::Registry => (format!("{}/{name}", server("RUSTCBUILDX_IT_REGISTRY")), vec![]),
        Kind::Web => {
            let [server, authorization] =
                ["RUSTCBUILDX_IT_WEB", "RUSTCBUILDX_IT_AUTHORIZATION"].map(server);
            ask(&server, &format!("MKCOL /{name}/"), &authorization);
            let url = format!("{server}/{name}");
            (url, vec![("RUSTCBUILDX_REMOTE_TEAM_AUTHORIZATION", authorization)])
        }
        Kind::S3 => {
            let endpoint = server("RUSTCBUILDX_IT_S3");
            ask(&endpoint, &format!("PUT /{name}"), "none");
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
fn ask(server: &str, request: &str, authorization: &str) {
    let host = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

/// Two machines, whose outcomes nobody else has: the first may write.
struct Team {
    machines: [Project; 2],
    public: String,
}

impl Team {
    fn new(fixture: &str, kind: Kind, name: &str) -> Self {
        Self::with(fixture, kind, name, |project| project)
    }

    fn with(fixture: &str, kind: Kind, name: &str, change: impl Fn(Project) -> Project) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let variables = variables(kind, &folder, name);
        let keys = rustcbuildx(&[], "cache keygen").succeeds().stdout;
        let line = |start: &str| {
            let line = keys.lines().find_map(|line| line.strip_prefix(start)).unwrap();
            line.trim_matches(['[', ']', '"']).to_owned()
        };
        let (secret, public) = (line("RUSTCBUILDX_SIGNING_KEY="), line("trust = "));
        let machine = |engine: &Engine| {
            let flags = format!("--cfg it_{}_{}", name.replace('-', "_"), std::process::id());
            let project = Project::on(engine, fixture).with_own_cache();
            let project = project.env("RUSTFLAGS", &flags).env("CARGO_INCREMENTAL", "0");
            let project = project.env("RUSTCBUILDX_REMOTE_TEAM_TRUST", &public);
            let project =
                variables.iter().fold(project, |project, (name, value)| project.env(name, value));
            change(with_credentials(project))
        };
        let first = machine(Engine::docker())
            .env("RUSTCBUILDX_REMOTE_TEAM_MODE", "read-write")
            .env("RUSTCBUILDX_SIGNING_KEY", &secret);
        Self { machines: [first, machine(Engine::podman())], public }
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

fn rustcbuildx(variables: &[(&str, &str)], args: &str) -> Finished {
    let mut command = crate::engine::command(WRAPPER, &Engine::docker().env);
    command.args(args.split_whitespace()).envs(variables.iter().copied());
    start(command, &format!("rustcbuildx {args}")).finish()
}

fn cache(project: &Project, args: &str) -> Finished {
    let mut command = project.command(WRAPPER, By::Ours);
    command.arg("cache").args(args.split_whitespace()).env_remove("RUSTC_WRAPPER");
    start(command, &format!("rustcbuildx cache {args}")).finish()
}

/// The calls of an engine in which something was built.
fn builds(project: &Project) -> Vec<String> {
    project.calls.take().into_iter().filter(|call| !call.contains("/inventory ")).collect()
}

/// What one machine built, another one has without any engine, from each kind of remote.
#[track_caller]
fn restores_all(kind: Kind) {
    let all = |project: Project| {
        project
            .env("RUSTCBUILDX_CANONICAL_PATHS", "all")
            .env("RUSTCBUILDX_REMOTE_TEAM_PRIVATE", "1")
    };
    let name = format!("all-{kind:?}").to_lowercase();
    let Team { machines: [first, second], .. } = Team::with("registry", kind, &name, all);
    first.ours("build").succeeds();
    cache(&first, "push").succeeds().says(" outcomes added");
    cache(&first, "push").succeeds().says(" 0 outcomes added");
    second.same(&["build"]);
    let builds = builds(&second);
    assert!(builds.is_empty(), "{builds:#?}");
    second.same(&["run", "test"]);
}

#[test]
fn a_folder_restores_all() {
    restores_all(Kind::Folder);
}

#[test]
fn a_registry_restores_all() {
    restores_all(Kind::Registry);
}

#[test]
fn a_web_server_restores_all() {
    restores_all(Kind::Web);
}

#[test]
fn s3_restores_all() {
    restores_all(Kind::S3);
}

/// The folder of a remote that is one.
fn folder_of(project: &Project) -> PathBuf {
    let command = project.command("true", By::Ours);
    let mut variables = command.get_envs();
    let url = variables.find(|(name, _)| *name == "RUSTCBUILDX_REMOTE_TEAM_URL").unwrap().1;
    Path::new(url.unwrap().to_str().unwrap().strip_prefix("file://").unwrap()).to_owned()
}

/// All that is in a remote, unpacked.
fn all_bytes(remote: &Path) -> Vec<u8> {
    let blob = |digest: &str| fs::read(remote.join("blobs/sha256").join(digest)).unwrap();
    let text = fs::read_to_string(remote.join("head.json")).unwrap();
    let mut all = text.clone().into_bytes();
    for segment in SignedHead::decode(&text).unwrap().head.segments {
        let bytes = blob(&segment.digest);
        all.extend(zstd::decode_all(&bytes[..]).unwrap());
        for own in Segment::decode(&bytes).unwrap().packs {
            let bytes = blob(&own.blob.digest);
            if own.is_of_records {
                all.extend(serde_json::to_vec(&records::decode(&bytes).unwrap()).unwrap());
                continue;
            }
            for (item, part) in pack::items(&bytes).unwrap() {
                let part = &bytes[part.start as usize..part.end as usize];
                all.extend(item.name.as_bytes());
                all.extend(zstd::decode_all(part).unwrap());
            }
        }
    }
    all
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Without a word from the user, only what everybody can download leaves the machine.
#[test]
fn what_is_private_stays() {
    let Team { machines: [first, second], .. } =
        Team::with("registry", Kind::Folder, "private", |project| {
            project
                .env("RUSTCBUILDX_SET_ENVS", "itoa:IT_GIVEN")
                .env("IT_GIVEN", "what-is-given-to-itoa")
                .env("CARGO_REGISTRIES_OTHER_TOKEN", "the-token-of-a-registry")
        });
    first.edit("src/lib.rs", "two to the third", "the text of a private crate");
    first.ours("build").succeeds();
    let pushed = cache(&first, "push").succeeds().says("stay here: its package is in no public");
    assert!(pushed.stdout.contains("has the value of the variable IT_GIVEN"), "{pushed}");
    let all = all_bytes(&folder_of(&first));
    // What is looked for is found, where it is.
    assert!(has(&all, "bitflags") && has(&all, "serde_derive"));
    let home = first.dir().to_str().unwrap().to_owned();
    for text in
        ["the text of a private crate", "what-is-given-to-itoa", "the-token-of-a-registry", &home]
    {
        assert!(!has(&all, text), "{text}");
    }
    second.ours("build").succeeds();
    assert!(!builds(&second).is_empty(), "its own package is not there");
}

/// Nothing that a trusted key did not sign is used, and that is said once.
#[test]
fn only_what_is_signed_is_used() {
    let Team { machines: [first, second], public } = Team::new("registry", Kind::Folder, "signed");
    first.ours("build").succeeds();
    cache(&first, "push").succeeds();
    let remote = folder_of(&first);
    let head = fs::read_to_string(remote.join("head.json")).unwrap();
    let other = rustcbuildx(&[], "cache keygen").succeeds().stdout;
    let other = other.split("trust = [\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_ne!(other, public);
    let fresh = || {
        second.dir().join("cache").exists().then(|| {
            fs::remove_dir_all(second.dir().join("cache")).unwrap();
        })
    };
    let says = |why: &str| {
        let run = second.ours("build --target-dir {target}/again").succeeds();
        let line = format!("the remote `team` is not used, since {why}");
        assert_eq!(run.stderr.matches(&line).count(), 1, "{run}");
        assert!(!builds(&second).is_empty());
        fs::remove_dir_all(second.target(By::Ours).join("again")).unwrap();
    };
    // As somebody would who can write there, but has no key.
    let unsigned = head.replace("dev.rustcbuildx.signature", "dev.rustcbuildx.other");
    fs::write(remote.join("head.json"), unsigned).unwrap();
    says("nobody signed it");
    fresh();
    let forged = head.replace("\\\"generation\\\":1", "\\\"generation\\\":2");
    assert_ne!(forged, head);
    fs::write(remote.join("head.json"), forged).unwrap();
    says("it is signed by nobody who is trusted");
    fresh();
    // An earlier state, to whoever has seen a later one.
    fs::write(remote.join("head.json"), &head).unwrap();
    second.ours("build").succeeds();
    first.edit("src/lib.rs", "two to the third", "another text");
    first.ours("build --features anyhow/backtrace").succeeds();
    cache(&first, "push").succeeds();
    fresh();
    second.ours("build --target-dir {target}/again").succeeds();
    fs::remove_dir_all(second.target(By::Ours).join("again")).unwrap();
    fs::write(remote.join("head.json"), &head).unwrap();
    let store = second.dir().join("cache/rustcbuildx/store");
    fs::remove_dir_all(store).unwrap();
    says("somebody put an earlier state in its place");
}

/// Each blob is what its digest says, or it is not used.
#[test]
fn a_changed_blob_is_not_used() {
    let Team { machines: [first, second], .. } = Team::new("registry", Kind::Folder, "changed");
    first.ours("build").succeeds();
    cache(&first, "push").succeeds();
    let blobs = folder_of(&first).join("blobs/sha256");
    for entry in fs::read_dir(&blobs).unwrap().flatten() {
        let mut bytes = fs::read(entry.path()).unwrap();
        // The packs, of which one byte is enough.
        if bytes.starts_with(b"rcbxpk01") {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(entry.path(), bytes).unwrap();
        }
    }
    let run = second.ours("build").succeeds();
    assert!(run.stderr.contains("its digest is another one"), "{run}");
    assert!(!builds(&second).is_empty());
    second.plain("build").succeeds();
    second.assert_same_tree();
}

/// Of several who write at once, each adds to what the others added.
#[track_caller]
fn loses_nothing(kind: Kind) {
    let name = format!("many-{kind:?}").to_lowercase();
    let Team { machines: [first, _], .. } = Team::new("package", kind, &name);
    first.ours("build").succeeds();
    let cache_folder = first.dir().join("cache/rustcbuildx");
    let project = first.env("RUSTCBUILDX_REMOTE_TEAM_PRIVATE", "1");
    // Each has one outcome that the others do not have.
    let all: Vec<PathBuf> =
        fs::read_dir(cache_folder.join("store")).unwrap().map(|it| it.unwrap().path()).collect();
    let writers: Vec<_> = all
        .iter()
        .take(4)
        .enumerate()
        .map(|(number, outcome)| {
            let own = project.dir().join(format!("writer-{number}"));
            let folder = own.join("rustcbuildx");
            fs::create_dir_all(folder.join("store")).unwrap();
            fs::copy(outcome, folder.join("store").join(outcome.file_name().unwrap())).unwrap();
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(cache_folder.join("about")).arg(&folder);
            assert!(copy.status().unwrap().success());
            let mut command = project.command(WRAPPER, By::Ours);
            command.args(["cache", "push"]).env("XDG_CACHE_HOME", &own);
            start(command, "rustcbuildx cache push")
        })
        .collect();
    let count = writers.len();
    assert!(count > 1);
    for writer in writers {
        writer.finish().succeeds().says(" 1 outcomes added");
    }
    // Who has all of them has nothing to add.
    let pushed = cache(&project, "push").succeeds();
    let added = all.len() - count;
    assert!(pushed.stdout.contains(&format!(" {added} outcomes added")), "{pushed}");
}

#[test]
fn writers_of_a_folder_lose_nothing() {
    loses_nothing(Kind::Folder);
}

#[test]
fn writers_of_a_registry_lose_nothing() {
    loses_nothing(Kind::Registry);
}

#[test]
fn writers_of_a_web_server_lose_nothing() {
    loses_nothing(Kind::Web);
}

#[test]
fn writers_of_s3_lose_nothing() {
    loses_nothing(Kind::S3);
}
