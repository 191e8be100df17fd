//! Remotes that are gone, slow, full, closed or of another version, and processes that are killed
//! while they push and pull: a build goes on without, and nothing wrong is ever restored.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    command::{start, wait_until},
    engine::WRAPPER,
    project::{By, Project},
    team::{Kind, MODE, Team, builds, cache, folder_of, own_cache, private},
};

const URL: &str = "RUSTCBUILDX_REMOTE_TEAM_URL";

/// Builds as ever, and says once why the remote is not used.
#[track_caller]
fn goes_on_without(project: Project, why: &str) {
    let run = project.ours("build").succeeds();
    let line = "slower than it could be: the remote `team` is not used, since ";
    assert_eq!(run.stderr.matches(line).count(), 1, "{run}");
    assert!(run.stderr.contains(why), "{run}");
    project.plain("build").succeeds();
    project.assert_same_tree();
}

fn alone(name: &str) -> Project {
    let Team { machines: [_, second], .. } = Team::new("package", Kind::Folder, name);
    second
}

#[test]
fn nobody_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for scheme in ["http", "oci+http"] {
        let project = alone(&format!("nobody-{}", scheme.len()));
        let url = format!("{scheme}://127.0.0.1:{port}/cache");
        goes_on_without(project.env(URL, &url), "failed to read `");
    }
}

#[test]
fn somebody_is_there_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut stream = stream;
                let _ended = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    let began = Instant::now();
    let url = format!("http://127.0.0.1:{port}/cache");
    goes_on_without(alone("silent").env(URL, &url), "failed to read `");
    // A few attempts of fifteen seconds each.
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}

#[test]
fn a_password_is_wrong() {
    let Team { machines: [first, second], .. } = Team::new("package", Kind::Web, "password");
    let wrong = ("RUSTCBUILDX_REMOTE_TEAM_AUTHORIZATION", "Basic d3Jvbmc6d3Jvbmc=");
    goes_on_without(second.env(wrong.0, wrong.1), "failed to read `");
    let first = first.env(wrong.0, wrong.1);
    first.ours("build").succeeds();
    let pushed = cache(&first, "push").fails();
    assert!(!pushed.stderr.contains("d3Jvbmc6d3Jvbmc"), "{pushed}");
    pushed.says("failed to push to the remote `team`");
}

#[test]
fn another_version_wrote_it() {
    let project = alone("version");
    let folder = folder_of(&project);
    fs::create_dir_all(&folder).unwrap();
    let head = "{\"annotations\":{\"dev.rustcbuildx.head\":\"{\\\"format\\\":2}\"}}";
    fs::write(folder.join("head.json"), head).unwrap();
    goes_on_without(project, "it has the format 2, and this version reads 1");
}

/// What cannot be pushed is told in the next build, by which nothing is worse.
#[test]
fn it_can_only_be_read() {
    let Team { machines: [first, _], .. } = Team::new("package", Kind::Folder, "closed");
    let folder = folder_of(&first);
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    // Root may write to any folder, but to none that is no folder.
    fs::write(&folder, "").unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o444)).unwrap();
    let first = first.env(MODE, "read-write");
    first.ours("build").succeeds();
    cache(&first, "push").fails().says("failed to push to the remote `team`");
    let noted = own_cache(&first).join("push-failures");
    let is_noted = || fs::read_dir(&noted).is_ok_and(|mut all| all.next().is_some());
    assert!(wait_until(Duration::from_secs(60), is_noted));
    first.ours("build --release").succeeds().says("the last build was not added to the remote");
}

/// The packs of a remote are cut, one after the other.
#[test]
fn what_is_cut_short_is_not_used() {
    let Team { machines: [first, second], .. } =
        Team::with("package", Kind::Folder, "cut", private);
    first.ours("build").succeeds();
    cache(&first, "push").succeeds();
    for entry in fs::read_dir(folder_of(&first).join("blobs/sha256")).unwrap().flatten() {
        let bytes = fs::read(entry.path()).unwrap();
        fs::write(entry.path(), &bytes[..bytes.len() / 2]).unwrap();
    }
    goes_on_without(second, "its digest is another one");
    cache(&first, "verify").fails();
}

/// Whenever a push is killed, what is there is whole; the next one adds the rest.
#[test]
fn a_push_is_killed_at_any_time() {
    let Team { machines: [first, second], .. } =
        Team::with("package", Kind::Folder, "killed", private);
    first.ours("build").succeeds();
    let folder = folder_of(&first);
    let push = || {
        let mut command = first.command(WRAPPER, By::Ours);
        command.args(["cache", "push"]).env(MODE, "read-write");
        start(command, "rustcbuildx cache push")
    };
    let began = Instant::now();
    push().finish().succeeds();
    let whole = began.elapsed();
    let mut ended = 0;
    for number in 0..60 {
        fs::remove_dir_all(&folder).unwrap();
        // It is another remote by now.
        let _killed_before = fs::remove_dir_all(own_cache(&first).join("remotes"));
        let mut pushing = push();
        thread::sleep(whole * number / 50);
        match pushing.is_finished() {
            true => ended += 1,
            false => pushing.signal_it(Signal::KILL),
        }
        drop(pushing.finish());
        if folder.join("head.json").exists() {
            cache(&first, "verify").succeeds();
        } else {
            fs::create_dir_all(&folder).unwrap();
        }
    }
    assert!((1..60).contains(&ended), "{ended} were not killed in time");
    cache(&first, "push").succeeds();
    second.same(&["build"]);
    assert!(builds(&second).is_empty());
}

/// Whenever a build is killed that fetches, the next one is right.
#[test]
fn a_pull_is_killed_at_any_time() {
    let Team { machines: [first, second], .. } =
        Team::with("registry", Kind::Folder, "interrupted", private);
    first.ours("build").succeeds();
    cache(&first, "push").succeeds();
    // A planner may still be about to end.
    let clean = |what: &Path| {
        let is_gone = || fs::remove_dir_all(what).is_ok() || !what.exists();
        assert!(wait_until(Duration::from_secs(20), is_gone));
    };
    let own = [second.dir().join("cache"), second.target(By::Ours)];
    for number in 0..40 {
        own.iter().for_each(|folder| clean(folder));
        let mut pulling = {
            let mut command = second.command(WRAPPER, By::Ours);
            command.args(["cache", "pull"]);
            start(command, "rustcbuildx cache pull")
        };
        thread::sleep(Duration::from_millis(number * 5));
        if !pulling.is_finished() {
            pulling.signal_it(Signal::KILL);
        }
        drop(pulling.finish());
        if number % 10 == 0 {
            second.ours("build").succeeds();
        }
    }
    second.plain("build").succeeds();
    second.ours("build").succeeds();
    second.assert_same_tree();
    let builds = builds(&second);
    assert!(builds.is_empty(), "{builds:#?}");
}
