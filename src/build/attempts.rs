//! A unit may be built several times, each time with more of what it lacked before. If all attempts
//! fail, this decides whose messages the user reads.

use std::collections::BTreeSet;

use crate::{rustc::dep_info, store::archive::Outcome, unit::work::Unit, util::path::normalised};

/// Whether the user can read a later attempt's messages instead of the first one's, which failed.
/// The later one may fail, too, but not because it misses a file that the first one had, and not
/// with further errors on top of the same ones. With the same errors it may quote more sources.
pub(super) fn is_as_good(later: &Outcome, first: &Outcome, unit: &Unit) -> bool {
    if later.status == 0 {
        return true;
    }
    let is_lost = |file: &String| normalised(&unit.cwd.join(file)).exists();
    let lost = &unreadable(later) - &unreadable(first);
    let (before, now) = (complaints(first), complaints(later));
    !lost.iter().any(is_lost) && (before == now || !before.is_subset(&now))
}

fn unreadable(outcome: &Outcome) -> BTreeSet<String> {
    dep_info::unreadable_files(&String::from_utf8_lossy(&outcome.stderr)).into_iter().collect()
}

/// The errors without their numbers: those of threads, for example, differ each time.
fn complaints(outcome: &Outcome) -> BTreeSet<String> {
    let said = [&outcome.stdout[..], &outcome.stderr[..]].concat();
    let errors = dep_info::errors(&String::from_utf8_lossy(&said));
    errors.into_iter().map(|text| text.chars().filter(|c| !c.is_ascii_digit()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;
    use crate::{
        rustc::{args::RustcArgs, tool::Tool},
        unit::work::Work,
    };

    #[track_caller]
    fn case(first: &str, later: &str, expected: bool) {
        let dir = tempfile::tempdir().unwrap();
        let cwd = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::write(cwd.join("main.rs"), "").unwrap();
        let work = Work::Compile {
            tool: Tool::Rustc,
            args: RustcArgs::parse(vec![]),
            out_dir: cwd.into(),
        };
        let outcome = |said: &str| Outcome {
            status: 1,
            stderr: said.as_bytes().to_vec(),
            ..Outcome::default()
        };
        let unit = Unit::new(work, cwd.into(), cwd.into());
        assert_eq!(
            is_as_good(&outcome(later), &outcome(first), &unit),
            expected,
            "{first} {later}"
        );
    }

    #[test]
    fn an_attempt_that_does_not_help_is_not_shown() {
        let missing = "error: couldn't read `a.rs`: No such file";
        case(missing, "error: couldn't read `b.rs`: No such file", true);
        case(missing, "error[E0308]: mismatched types", true);
        case(missing, missing, true);
        case(missing, &format!("{missing}\nerror: another"), false);
        case(missing, "error: couldn't read `main.rs`: No such file", false);
        case("thread 'main' (12) panicked", "thread 'main' (13) panicked", true);
        let linker = r#"{"message":"linker `x` not found","level":"error","code":null}"#;
        case(linker, "error: couldn't read `main.rs`: No such file", false);
        case(linker, linker, true);
        case(linker, &format!("{linker}\nerror: couldn't read `c.rs`: No such file"), false);
    }
}
