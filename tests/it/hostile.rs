//! Build scripts and macros that try to get at what is another unit's, or the engine's, while that
//! one runs in the same call.

use std::fs;
use std::time::SystemTime;

use crate::command::start;
use crate::engine::Engine;
use crate::planned::with_green;
use crate::project::{By, Project};

#[test]
fn docker_keeps_units_apart() {
    get_at_nothing(Engine::docker());
}

#[test]
fn podman_keeps_units_apart() {
    get_at_nothing(Engine::podman());
}

fn get_at_nothing(engine: &Engine) {
    let project = Project::on(engine, "hostile");
    let path = project.path();
    let project = with_green(project, &path)
        .env("IT_VICTIM_TOKEN", "hush")
        .env("RUSTCBUILDX_SET_ENVS", "IT_ROUND,IT_VICTIM_TOKEN,IT_GREEDY");
    let temporary = project.dir().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let project = project.env("TMPDIR", temporary.to_str().unwrap());
    let args = "run -j3 -p after";
    // All of it can be got at.
    let plain = project.plain(args).succeeds();
    for what in ["environment", "memory", "output", "signal", "temporary file", "write", "spoilt"] {
        assert!(plain.stdout.contains(what), "{what}: {plain}");
    }
    assert!(!plain.stdout.contains("left: 0"), "{plain}");

    // Nor does it help to take what others need to run. They run beside each other where the other
    // tests leave two processors to them.
    let mut met = [false; 2];
    let is_tried = (0..8).any(|round| {
        // No call finds them done.
        let now = format!("{:?}", SystemTime::now());
        let mut cargo = project.cargo(By::Ours, &format!("green {args}"));
        cargo.env_remove("RUSTC_WRAPPER").env("IT_ROUND", &now);
        if round % 2 == 0 {
            cargo.env("IT_GREEDY", &now);
        }
        let ours = start(cargo, "cargo green").finish().succeeds();
        fs::remove_dir_all(project.target(By::Ours)).unwrap();
        // That much everybody may see.
        let said = ours.stdout.replace("neighbour", "");
        assert_eq!(said, "script: \nmacro: \nleft: 0, victim: whole\n", "{ours}");
        let said = ["script: neighbour", "macro: neighbour"].map(|met| ours.stdout.contains(met));
        met = [met[0] || said[0], met[1] || said[1]];
        met == [true; 2]
    });
    assert!(is_tried, "they did not run beside each other");
}
