//! Why a unit was made anew: what of its step is no longer as it was, in words.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::{
    inputs::states::SentFiles,
    snapshot::copy,
    step::{
        protocol::{Source, Task},
        spec::Step,
        touched::{How, touches},
    },
    store::provenance::Observation,
    util::state_dir::Cache,
};

/// What differs between how a file was made before and how it is made now, a line each. `name_of`
/// returns the name of what was made under a key.
pub fn between(
    before: &Step,
    now: &Step,
    observation: &Observation,
    cache: &Cache,
    name_of: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut changes = Vec::new();
    if before.base != now.base {
        changes.push(format!("the image was {}", before.base));
    }
    changes.extend(of_words(&before.task.words, &now.task.words));
    changes.extend(of_variables(&before.task, &now.task));
    changes.extend(of_dependencies(&before.task, &now.task, name_of));
    changes.extend(of_files(before, now, observation, cache));
    let rest = |task: &Task| {
        let (words, env, inputs) = Default::default();
        Task { words, env, inputs, ..task.clone() }.identity()
    };
    if rest(&before.task) != rest(&now.task) {
        let (before, now) = (rest(&before.task), rest(&now.task));
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let (before, now) = (lines(&before), lines(&now));
        changes.extend(now.difference(&before).map(|line| format!("`{line}` is new")));
        changes.extend(before.difference(&now).map(|line| format!("`{line}` is gone")));
    }
    changes
}

fn of_words(before: &[String], now: &[String]) -> Vec<String> {
    let is_in = |words: &[String], word: &&String| words.contains(word);
    let new = now.iter().filter(|word| !is_in(before, word));
    let gone = before.iter().filter(|word| !is_in(now, word));
    let new = new.map(|word| format!("the argument `{word}` is new"));
    let changes: Vec<String> =
        new.chain(gone.map(|word| format!("the argument `{word}` is gone"))).collect();
    match changes.is_empty() && before != now {
        true => vec!["the arguments are in another order".to_owned()],
        false => changes,
    }
}

fn of_variables(before: &Task, now: &Task) -> Vec<String> {
    // Of two of a name, the last counts.
    let variables = |task: &Task| -> BTreeMap<String, String> {
        let pairs = task.env.iter().filter_map(|variable| variable.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let (before, now) = (variables(before), variables(now));
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let change = |name: &&String| match (before.get(*name), now.get(*name)) {
        (Some(before), Some(now)) if before != now => {
            Some(format!("the variable {name} was `{before}` and is `{now}`"))
        }
        (None, Some(now)) => Some(format!("the variable {name} is set to `{now}`")),
        (Some(before), None) => Some(format!("the variable {name} is not set; it was `{before}`")),
        _ => None,
    };
    names.iter().filter_map(change).collect()
}

fn of_dependencies(
    before: &Task,
    now: &Task,
    name_of: impl Fn(&str) -> Option<String>,
) -> BTreeSet<String> {
    let made = |task: &Task| -> BTreeMap<String, String> {
        let made = task.inputs.iter().filter_map(|input| match &input.from {
            Source::Outcome(key) => Some((input.target.clone(), key.clone())),
            Source::Pack(_) => None,
        });
        made.collect()
    };
    let (before, now) = (made(before), made(now));
    let named = |target: &str, key: &str| name_of(key).unwrap_or_else(|| format!("`{target}`"));
    let anew = now.iter().filter_map(|(target, key)| match before.get(target) {
        Some(known) if known == key => None,
        Some(_) => Some(format!("{} was made anew", named(target, key))),
        None => Some(format!("{} is new", named(target, key))),
    });
    let gone = before.iter().filter(|(target, _)| !now.contains_key(*target));
    anew.chain(gone.map(|(target, key)| format!("{} is gone", named(target, key)))).collect()
}

/// The files that changed among those that were looked at; all that changed if nobody could see
/// that, or if they do not make the difference.
fn of_files(before: &Step, now: &Step, observation: &Observation, cache: &Cache) -> Vec<String> {
    let sent = |step: &Step| SentFiles::of(&step.task, |name| copy::listing(name, cache));
    let (Some(before), Some(now)) = (sent(before), sent(now)) else {
        return vec!["sources changed, of which no more is known".to_owned()];
    };
    let all = now.changes_since(&before);
    let touched: Vec<_> = touches(observation.touched.as_deref().unwrap_or_default()).collect();
    let is_decisive = |path: &Utf8Path| {
        touched.iter().any(|touch| match touch.how {
            How::List => path.parent() == Some(Utf8Path::new(&touch.what)),
            How::Ask | How::Read | How::Run | How::Write => path == touch.what,
            _ => false,
        })
    };
    let decisive = || all.iter().filter(|(path, _)| is_decisive(path));
    let are_decisive = decisive().next().is_some();
    let shown = all.iter().filter(|(path, _)| !are_decisive || is_decisive(path));
    shown.map(|(path, change)| format!("`{path}` {change}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{protocol::Input, spec::tests::step};

    #[test]
    fn each_kind_of_change_has_words() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let cache = Cache::open(root.join("cache")).unwrap();
        let input = |target: &str, from| Input {
            target: target.to_owned(),
            from,
            path: "p".to_owned(),
            is_writable: false,
        };
        let made = |key: &str| Source::Outcome(key.to_owned());
        let mut before = step("u1", "f1", "/p".into());
        before.task.words = vec!["rustc".to_owned(), "-O".to_owned()];
        before.task.env = vec!["A=1".to_owned(), "B=1".to_owned()];
        before.task.inputs.push(input("/a.rmeta", made("u2")));
        let mut now = before.clone();
        assert_eq!(explained(&before, &now, &cache), [""; 0]);
        now.base = "other".to_owned();
        now.task.words[1] = "-g".to_owned();
        now.task.env = vec!["A=2".to_owned(), "C=1".to_owned()];
        now.task.umask = 0o77;
        now.task.inputs =
            vec![input("/p", Source::Pack("f2".to_owned())), input("/a.rmeta", made("u3"))];
        assert_eq!(
            explained(&before, &now, &cache),
            [
                "the image was image",
                "the argument `-g` is new",
                "the argument `-O` is gone",
                "the variable A was `1` and is `2`",
                "the variable B is not set; it was `1`",
                "the variable C is set to `1`",
                "name of u3 was made anew",
                "`/p` was edited",
                "`umask 77` is new",
                "`umask 22` is gone",
            ]
        );
    }

    fn explained(before: &Step, now: &Step, cache: &Cache) -> Vec<String> {
        let observation = Observation { package: "/p".into(), touched: None };
        between(before, now, &observation, cache, |key| Some(format!("name of {key}")))
    }
}
