//! Traces: which outcome was made where a unit, as far as it is declared, found which states at the
//! paths that it touched. They lead to an outcome from which nothing differs that its unit looked
//! at, whatever else changed beside it.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{step::key::Key, util::state_dir::Cache};

/// Of each unit, so many sets of paths are remembered at most, and of each set so many outcomes.
const MOST: usize = 16;

/// What is remembered of what is declared alike. What was used last comes first.
#[derive(Default, Serialize, Deserialize)]
struct Traces {
    sets: Vec<Set>,
}

/// The paths that a unit touched, and what it made where these were in certain states.
#[derive(Serialize, Deserialize)]
struct Set {
    touched: String,
    made: Vec<(String, Key)>,
}

fn name_of(declared: &str) -> String {
    format!("traces/{declared}")
}

/// The key of an outcome of what is `declared` that was made from the same states as there are now.
/// `states` tells them of a set of paths, if it can.
pub fn find(
    cache: &Cache,
    declared: &str,
    mut states: impl FnMut(&str) -> Option<String>,
) -> Option<Key> {
    let Traces { sets } = cache.read(&name_of(declared))?;
    sets.iter().find_map(|Set { touched, made }| {
        let states = states(touched)?;
        made.iter().find(|(known, _)| *known == states).map(|(_, key)| key.clone())
    })
}

/// Whether anything else than an outcome is remembered of what is `declared`.
pub fn are_there(cache: &Cache, declared: &str, but: &str) -> bool {
    let all: Option<Traces> = cache.read(&name_of(declared));
    let mut made = all.iter().flat_map(|all| &all.sets).flat_map(|set| &set.made);
    made.any(|(_, key)| key != but)
}

/// What is remembered of what is `declared`, without outcomes that are not there; `None` if that is
/// nothing.
pub fn of(cache: &Cache, declared: &str, is_there: impl Fn(&str) -> bool) -> Option<Value> {
    let mut traces: Traces = cache.read(&name_of(declared))?;
    traces.sets.iter_mut().for_each(|set| set.made.retain(|(_, key)| is_there(key)));
    traces.sets.retain(|set| !set.made.is_empty());
    if traces.sets.is_empty() { None } else { serde_json::to_value(traces).ok() }
}

/// Adds what another machine remembers, behind what is known here.
pub fn merge(cache: &Cache, declared: &str, others: &Value) -> Result<()> {
    let name = name_of(declared);
    let Traces { sets: others } = Traces::deserialize(others)?;
    let Traces { mut sets } = cache.read(&name).unwrap_or_default();
    for other in others {
        match sets.iter_mut().find(|set| set.touched == other.touched) {
            None => sets.push(other),
            Some(set) => {
                let is_new =
                    |(states, _): &(String, Key)| set.made.iter().all(|(known, _)| known != states);
                let new: Vec<_> = other.made.into_iter().filter(is_new).collect();
                set.made.extend(new);
                set.made.truncate(MOST);
            }
        }
    }
    sets.truncate(MOST);
    cache.write(&name, &Traces { sets })
}

/// Remembers an outcome that was made from these states of what it touched.
pub fn add(cache: &Cache, declared: &str, touched: String, states: String, key: Key) -> Result<()> {
    let name = name_of(declared);
    let Traces { mut sets } = cache.read(&name).unwrap_or_default();
    let known = sets.iter().position(|set| set.touched == touched);
    let mut set = known.map_or(Set { touched, made: vec![] }, |at| sets.remove(at));
    set.made.retain(|(known, _)| *known != states);
    set.made.insert(0, (states, key));
    set.made.truncate(MOST);
    sets.insert(0, set);
    sets.truncate(MOST);
    cache.write(&name, &Traces { sets })
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    #[test]
    fn each_set_of_paths_leads_to_what_was_made_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(Utf8Path::from_path(dir.path()).unwrap().join("cache")).unwrap();
        let add = |touched: &str, states: &str, key: &str| {
            add(&cache, "d1", touched.into(), states.into(), key.into()).unwrap();
        };
        let found = |now: &[(&str, &str)]| {
            let states = |touched: &str| {
                now.iter().find(|(set, _)| *set == touched).map(|(_, states)| (*states).to_owned())
            };
            find(&cache, "d1", states)
        };
        add("a", "1", "u1");
        add("a", "2", "u2");
        add("a b", "1 1", "u3");
        assert_eq!(found(&[("a", "1")]).as_deref(), Some("u1"));
        assert_eq!(found(&[("a", "2"), ("a b", "2 1")]).as_deref(), Some("u2"));
        assert_eq!(found(&[("a b", "1 1")]).as_deref(), Some("u3"));
        assert_eq!(found(&[("a", "3"), ("a b", "3 1")]), None);
        assert_eq!(find(&cache, "d2", |_| Some("1".to_owned())), None);
        (0..MOST).for_each(|number| add("a", &format!("n{number}"), "u4"));
        assert_eq!(found(&[("a", "2")]), None, "there are many newer ones");
        assert_eq!(found(&[("a b", "1 1")]).as_deref(), Some("u3"));
    }
}
