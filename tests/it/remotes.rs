//! Outcomes that are shared between machines, by each kind of remote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustcbuildx::remote::{
    blob::Blob,
    head::{Head, SignedHead},
    pack, records,
    segment::{self, Segment},
};

use crate::{
    command::{start, wait_until},
    engine::WRAPPER,
    project::{By, Project},
    team::{
        Kind, MODE, Team, builds, cache, folder_of, own_cache, private, rustcbuildx, variables,
    },
};

/// What one machine built, another one has without any engine, from each kind of remote.
#[test]
fn each_kind_restores_all() {
    let Team { machines: [mut first, mut second], .. } =
        Team::with("registry", Kind::Folder, "all", private);
    first.ours("build").succeeds();
    second.plain("build").succeeds();
    for kind in [Kind::Folder, Kind::Registry, Kind::Web, Kind::S3] {
        for (name, value) in variables(kind, first.dir(), "all") {
            first = first.env(&name, &value);
            second = second.env(&name, &value);
        }
        cache(&first, "push").succeeds().says(" outcomes added");
        cache(&first, "push").succeeds().says(" 0 outcomes added");
        second.ours("build").succeeds();
        let builds = builds(&second);
        assert!(builds.is_empty(), "{kind:?}: {builds:#?}");
        second.assert_same_tree();
        fs::remove_dir_all(second.target(By::Ours)).unwrap();
        forget(&second);
        fs::remove_dir_all(own_cache(&first).join("remotes")).unwrap();
    }
    second.ours("build").succeeds();
    second.same(&["run", "test"]);
}

/// Removes the cache of a machine, on which a planner may still be about to end.
fn forget(project: &Project) {
    let cache = project.dir().join("cache");
    let is_gone = || fs::remove_dir_all(&cache).is_ok() || !cache.exists();
    assert!(wait_until(Duration::from_secs(20), is_gone));
}

/// Where the settings say so, a build adds what it made once it has ended.
#[test]
fn a_build_pushes_by_itself() {
    let Team { machines: [first, second], .. } =
        Team::with("package", Kind::Folder, "by-itself", private);
    let first = first.env(MODE, "read-write");
    for project in [&second, &first] {
        assert!(!folder_of(project).exists());
        project.ours("build").succeeds();
    }
    let head = folder_of(&first).join("head.json");
    assert!(wait_until(Duration::from_secs(60), || head.exists()));
    cache(&first, "verify").succeeds();
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
    let Team { machines: [first, second], public } =
        Team::with("package", Kind::Folder, "signed", private);
    first.ours("build").succeeds();
    cache(&first, "push").succeeds();
    let remote = folder_of(&first);
    let head = fs::read_to_string(remote.join("head.json")).unwrap();
    let other = rustcbuildx(&[], "cache keygen").succeeds().stdout;
    let other = other.split("trust = [\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_ne!(other, public);
    let fresh = || forget(&second);
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
    first.ours("build --release").succeeds();
    cache(&first, "push").succeeds();
    fresh();
    second.ours("build --target-dir {target}/again").succeeds();
    fs::remove_dir_all(second.target(By::Ours).join("again")).unwrap();
    fs::write(remote.join("head.json"), &head).unwrap();
    fs::remove_dir_all(own_cache(&second).join("store")).unwrap();
    says("somebody put an earlier state in its place");
}

/// Whoever cannot sign, or whom nobody trusts, shuts nobody out of a remote.
#[test]
fn only_who_is_trusted_writes() {
    let Team { machines: [first, second], .. } =
        Team::with("package", Kind::Folder, "writers", private);
    for project in [&first, &second] {
        project.ours("build").succeeds();
    }
    cache(&first, "push").succeeds();
    let head = || fs::read_to_string(folder_of(&first).join("head.json")).unwrap();
    let before = head();
    let keys = rustcbuildx(&[], "cache keygen").succeeds().stdout;
    let other = keys.lines().find_map(|line| line.strip_prefix("RUSTCBUILDX_SIGNING_KEY="));
    for command in ["push", "compact"] {
        cache(&second, command).fails().says("set RUSTCBUILDX_SIGNING_KEY");
    }
    let second = second.env("RUSTCBUILDX_SIGNING_KEY", other.unwrap());
    for command in ["push", "compact"] {
        cache(&second, command).fails().says("signed by a key that `trust` names");
    }
    assert_eq!(head(), before);
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
        if bytes.starts_with(b"rcbxpk01") {
            // One byte of each outcome is enough.
            for (_, part) in pack::items(&bytes).unwrap() {
                bytes[part.start as usize] ^= 1;
            }
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
    let cache_folder = own_cache(&first);
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
            let below = cache_folder.strip_prefix(project.dir().join("cache")).unwrap();
            let folder = own.join(below);
            fs::create_dir_all(folder.join("store")).unwrap();
            fs::copy(outcome, folder.join("store").join(outcome.file_name().unwrap())).unwrap();
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(cache_folder.join("about")).arg(&folder);
            assert!(copy.status().unwrap().success());
            let mut command = project.command(WRAPPER, By::Ours);
            command.args(["cache", "push"]).env("XDG_CACHE_HOME", &own).env(MODE, "read-write");
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

/// What a remote has is copied, made small and checked by commands, and travels in a file.
#[test]
fn commands_care_for_remotes() {
    let with_a_copy = |project: Project| {
        let copy = folder_of(&project).with_file_name("copy");
        private(project)
            .env("RUSTCBUILDX_REMOTE_COPY_URL", &format!("file://{}", copy.display()))
            .env("RUSTCBUILDX_REMOTE_COPY_PRIVATE", "1")
    };
    let Team { machines: [first, second], .. } =
        Team::with("package", Kind::Folder, "commands", with_a_copy);
    first.ours("build").succeeds();
    cache(&first, "push team").succeeds();
    first.ours("build --release").succeeds();
    cache(&first, "push team").succeeds();
    let stats = cache(&first, "stats --json").succeeds().stdout;
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    let units = |came: &str| stats["units"][came]["units"].as_u64().unwrap_or_default();
    let made: u64 = ["new", "changed", "gone"].map(units).iter().sum();
    assert!(made > 1 && stats["store"]["outcomes"] == made, "{stats}");
    let team = &stats["remotes"][1];
    let shared = team["outcomes"].as_u64().unwrap();
    assert!(team["name"] == "team" && (2..=made).contains(&shared), "{stats}");
    let compacted = cache(&first, "compact team").succeeds();
    assert!(
        compacted.stdout.contains(&format!("are now 2 packs with {shared} outcomes")),
        "{compacted}"
    );
    cache(&first, "verify team").succeeds().says(&format!("{shared} outcomes are what they were"));
    cache(&first, "copy team copy").fails().says("the remote `copy` is only read");
    let first = first.env("RUSTCBUILDX_REMOTE_COPY_MODE", "read-write");
    cache(&first, "copy team copy").succeeds().says(" copied");
    cache(&first, "copy team copy").succeeds().says("nothing to copy");
    cache(&first, "verify copy").succeeds();
    let file = first.dir().join("all.tar");
    cache(&first, &format!("export {}", file.display())).succeeds();
    let second =
        second.env("RUSTCBUILDX_REMOTE_TEAM_URL", "").env("RUSTCBUILDX_REMOTE_COPY_URL", "");
    cache(&second, &format!("import {}", file.display())).succeeds().says("outcomes brought");
    second.same(&["build", "build --release"]);
    let builds = builds(&second);
    assert!(builds.is_empty(), "{builds:#?}");
    // Nothing is left of what is too much.
    cache(&first, "push team").succeeds();
    cache(&first, "compact team --max-size 0").succeeds().says("are now 0 packs with 0 outcomes");
}

/// What is stored here is told and removed by its package, its unit or its key.
#[test]
fn commands_care_for_the_store() {
    let Team { machines: [first, _], .. } = Team::new("package", Kind::Folder, "store");
    first.ours("build").succeeds();
    let listed = cache(&first, "list --json").succeeds().stdout;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let entry = &listed[0];
    let (key, package) =
        (entry["key"].as_str().unwrap(), entry["about"]["package"].as_str().unwrap());
    cache(&first, &format!("show {key}")).succeeds().says(package);
    cache(&first, &format!("list {package}")).succeeds().says(key);
    cache(&first, "show u0").fails().says("`rustcbuildx cache list`");
    cache(&first, &format!("rm {package}")).succeeds().says("outcomes removed");
    cache(&first, &format!("rm {package}")).fails().says("nothing of that package or key");
    cache(&first, "gc --max-size 0 --dry-run").succeeds().says("would be removed");
    cache(&first, "gc --max-age x").fails().says("a number and h, d or w");
    cache(&first, "pull nowhere").fails().says("there is no remote `nowhere`");
    cache(&first, "push").succeeds();
    cache(&first, "frobnicate").fails();
}

/// Whoever changes whose outcomes a workspace trusts gives nothing to those who do not.
#[test]
fn a_poisoned_remote_reaches_nobody_else() {
    let Team { machines: [first, second], .. } =
        Team::with("registry", Kind::Folder, "poisoned", |project| {
            private(project).env("RUSTCBUILDX_REMOTE_TEAM_TRUST", "")
        });
    first.ours("build").succeeds();
    cache(&first, "push").succeeds();
    // As somebody can who writes there.
    poison(&folder_of(&first), b"the end", b"the END");
    second.ours("run").says("the END");
    let second = second.env("RUSTCBUILDX_REMOTE_TEAM_URL", "");
    second.ours("run --target-dir {target}/again").says("the end");
}

/// Replaces a text in all outcomes of a remote.
fn poison(remote: &Path, from: &[u8], to: &[u8]) {
    let text = fs::read_to_string(remote.join("head.json")).unwrap();
    let blobs = remote.join("blobs/sha256");
    let write = |bytes: &[u8]| {
        let blob = Blob::of(bytes);
        fs::write(blobs.join(&blob.digest), bytes).unwrap();
        blob
    };
    let head = SignedHead::decode(&text).unwrap().head;
    let mut poisoned = Segment::default();
    for segment in &head.segments {
        let bytes = fs::read(blobs.join(&segment.digest)).unwrap();
        for own in Segment::decode(&bytes).unwrap().packs {
            let bytes = fs::read(blobs.join(&own.blob.digest)).unwrap();
            if own.is_of_records {
                let names = records::decode(&bytes).unwrap();
                poisoned.add(own, names.keys().map(String::as_str));
                continue;
            }
            let mut writer = pack::Writer::default();
            for (item, part) in pack::items(&bytes).unwrap() {
                let part = &bytes[part.start as usize..part.end as usize];
                let mut outcome = zstd::decode_all(part).unwrap();
                let mut at = 0;
                while let Some(found) =
                    outcome[at..].windows(from.len()).position(|window| window == from)
                {
                    at += found;
                    outcome[at..at + to.len()].copy_from_slice(to);
                }
                writer.add(&item.name, &zstd::encode_all(&outcome[..], 3).unwrap(), 0);
            }
            let (bytes, list, items) = writer.finish().unwrap();
            let own = segment::Pack { blob: write(&bytes), list, ..own };
            poisoned.add(own, items.iter().map(|item| item.name.as_str()));
        }
    }
    let segment = write(&poisoned.encode().unwrap());
    let head = Head::new(head.generation + 1, vec![segment]).encode([&poisoned], None).unwrap();
    fs::write(remote.join("head.json"), head).unwrap();
}
