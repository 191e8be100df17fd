//! Variables that look like a setting of ours but are none. The user is told, because what they
//! were meant to set has no effect.

use crate::{
    config::{
        env::{BARRIER, Env, NOTICES, RECORDER, SIGNING_KEY},
        table::{OURS, VARS, var},
        values::list,
    },
    report::notice,
    util::spelling,
};

/// Names that our scripts and tests use, and how such names begin.
const OTHERS: &[&str] = &["RUSTCBUILDX_BIN", BARRIER, NOTICES, RECORDER, SIGNING_KEY];
const OTHERS_BEGIN: &[&str] = &["RUSTCBUILDX_ENGINE_", "RUSTCBUILDX_IT_"];
/// So many letters are wrong, missing or one too many at most where a name was meant.
const FAR: usize = 3;

/// The complaint about each such variable, with its name.
pub fn complaints(env: &Env) -> Vec<(String, String)> {
    let is_set = |(name, value): &(&str, &str)| !value.is_empty() && !is_recognized(name);
    let mut complaints: Vec<(String, String)> = Vec::new();
    for (name, _) in env.iter().filter(is_set) {
        let nearest = nearest(name);
        let hint = match nearest {
            Some(nearest) => format!("is {nearest} meant?"),
            // A name that only begins like ours may be another tool's.
            None if !name.starts_with(OURS) => continue,
            None => "`rustcbuildx env` shows all settings".to_owned(),
        };
        // One that a unit is to have is for that.
        if !is_for_units(name, env) {
            complaints.push((
                name.to_owned(),
                format!(
                    "the variable {name} sets nothing: there is no such setting (hint: {hint})"
                ),
            ));
        }
    }
    complaints
}

/// Tells the user of them on this process's standard error.
pub fn complain(env: &Env) {
    for (_, complaint) in complaints(env) {
        eprintln!("rustcbuildx: {complaint}");
    }
}

/// Tells the user of them in the place of a build that begins now, and may have a name.
pub fn complain_for(env: &Env, build: Option<&str>) {
    for (name, complaint) in complaints(env) {
        notice::say_for(env, build, &name, &complaint);
    }
}

/// Tells the user of them once in a build.
pub fn complain_once(env: &Env) {
    for (name, complaint) in complaints(env) {
        notice::say(env, &name, &complaint);
    }
}

/// Quickly: this is asked of every variable in every call.
fn is_recognized(name: &str) -> bool {
    !name.starts_with("RUST")
        || var(name).is_some()
        || OTHERS.contains(&name)
        || OTHERS_BEGIN.iter().any(|begin| name.starts_with(begin))
}

fn is_for_units(name: &str, env: &Env) -> bool {
    list(env, "RUSTCBUILDX_SET_ENVS").any(|item| item.rsplit(':').next() == Some(name))
}

/// The setting whose name is the most like this one.
fn nearest(name: &str) -> Option<&'static str> {
    // Those of other tools, such as RUSTC_LOG, are no slip of a finger away.
    let far = if name.starts_with(OURS) { FAR } else { FAR - 1 };
    spelling::nearest(&name.to_ascii_uppercase(), VARS.iter().map(|var| var.name), far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(name: &str, expected: Option<&str>) {
        let env =
            Env::with(&[(name, "1"), ("RUSTCBUILDX_SET_ENVS", "RUSTCBUILDX_A,p:RUSTCBUILDX_B")]);
        let complaints = complaints(&env);
        assert_eq!(complaints.len(), usize::from(expected.is_some()), "{complaints:?}");
        if let Some(expected) = expected {
            assert!(
                complaints[0].1.contains(name) && complaints[0].1.contains(expected),
                "{complaints:?}"
            );
        }
    }

    #[test]
    fn the_nearest_setting_is_told() {
        case("RUSTCBUILDX_STRCT", Some("is RUSTCBUILDX_STRICT meant?"));
        case("RUSTCBUILDX_STRICTLY", Some("is RUSTCBUILDX_STRICT meant?"));
        case("RUSTCBUILDX_LOGPATH", Some("is RUSTCBUILDX_LOG_PATH meant?"));
        case("RUSTBUILDX_RUNNER", Some("is RUSTCBUILDX_RUNNER meant?"));
        case("RUSTCBUILDX_REGISTRY_MIRROR", Some("`rustcbuildx env`"));
        case("RUSTCBUILDX_strict", Some("is RUSTCBUILDX_STRICT meant?"));
    }

    #[test]
    fn other_names_are_nobodys_mistake() {
        for name in [
            "RUSTCBUILDX_STRICT",
            "RUSTCBUILDX",
            "RUSTCBUILDX_GATE",
            "RUSTCBUILDX_ENGINE_DIR",
            "RUSTCBUILDX_A",
            "RUSTCBUILDX_B",
            "RUSTC",
            "RUSTC_LOG",
            "RUSTFLAGS",
            "RUST_LOG_STYLE",
            "STRICT",
        ] {
            case(name, None);
        }
        assert!(complaints(&Env::with(&[("RUSTCBUILDX_STRCT", "")])).is_empty());
    }
}
