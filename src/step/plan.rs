//! Steps as one Dockerfile: a stage for each, and what is taken out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    step::{
        dockerfile::{Dockerfile, Instruction, Mount, Run, Stage, Style},
        key::Key,
        layout::{KEPT, OUT},
        spec::Step,
    },
    unit::path_map::all_sentinels,
};

/// A Dockerfile's text and the folders it names.
#[derive(Default)]
pub struct Plan {
    pub dockerfile: String,
    pub contexts: BTreeMap<String, Utf8PathBuf>,
    /// The names of the secrets it mounts.
    pub secrets: BTreeSet<String>,
}

/// The stage that holds only what the client gets.
const RESULT: &str = "result";

/// The stage in which the outcomes of many units come together.
const GATHER: &str = "gather";

/// Plans one unit that is made from no other stage. The result is its outcome.
pub fn unit(step: &Step, style: Style<'_>) -> Plan {
    let steps = Steps::of(std::slice::from_ref(step));
    steps.plan(vec![], &step.key, style)
}

/// Plans many units: those `wanted` among `steps`, which come after all that they are made from,
/// and those to be `left` in the engine. The result has a folder for the outcome of each.
pub fn units(steps: &[Step], wanted: &[&str], left: &[&str], style: Style<'_>) -> Plan {
    let steps = Steps::of(steps);
    let outcome = |key: &str, target: String| Mount::Bind {
        from: key.to_owned(),
        source: OUT.to_owned(),
        target,
        writable: false,
    };
    let gather = gather(wanted, left, outcome);
    let gathering = steps.bases.keys().next().map(|base| (*base, GATHER, &gather));
    steps.plan(gathering.into_iter().collect(), GATHER, style)
}

/// Takes out what an engine keeps of units, none of which is made: the result has a folder for each
/// that it keeps. A `build_id` that was never used before makes it a step that no cache holds.
pub fn take(base: &str, wanted: &[&str], left: &[&str], build_id: &str, style: Style<'_>) -> Plan {
    let mut gather =
        gather(wanted, left, |key, target| Mount::from_engine_cache(key, "/", &target));
    if let Some(script) = gather.argv.last_mut() {
        *script += ONLY_WHOLE;
    }
    gather.argv.push(build_id.to_owned());
    one(base, GATHER, &gather, BTreeMap::new(), style)
}

/// Of what was never kept, there is an empty folder; earlier versions kept files only.
const ONLY_WHOLE: &str = r#" && cd /rustcbuildx/outcome && rest= && for key in *; do
  [ -e "$key/files" ] && [ -e "$key/status" ] || rest="$rest $key"
done && rm -rf $rest"#;

/// Asks what an engine keeps of units: the result has an empty folder for each of which it keeps
/// files. A `build_id` as in [`take`].
pub fn ask(base: &str, keys: &[&str], build_id: &str, style: Style<'_>) -> Plan {
    let (name, folder) = ("ask", "/rustcbuildx/in");
    let mounts = keys
        .iter()
        .map(|key| Mount::from_engine_cache(key, "/", &format!("{folder}/{key}")))
        .collect();
    let words = ["/bin/sh", "-c", ASK, build_id, folder].map(str::to_owned);
    one(base, name, &Run { mounts, argv: words.to_vec() }, BTreeMap::new(), style)
}

const ASK: &str = r#"mkdir -p /rustcbuildx/outcome && cd "$1" && for key in *; do
  [ ! "$(ls -A "$key/files" "$key/p" 2>/dev/null)" ] || mkdir "/rustcbuildx/outcome/$key" || exit
done"#;

/// The steps of these keys and all that they are made from, each behind those; `step` gives that of
/// a key.
pub fn in_order(keys: &[&str], mut step: impl FnMut(&str) -> Result<Step>) -> Result<Vec<Step>> {
    fn add(
        key: &str,
        step: &mut dyn FnMut(&str) -> Result<Step>,
        visited: &mut HashSet<Key>,
        steps: &mut Vec<Step>,
    ) -> Result<()> {
        if !visited.insert(key.to_owned()) {
            return Ok(());
        }
        let found = step(key)?;
        found.stages.iter().try_for_each(|below| add(below, step, visited, steps))?;
        steps.push(found);
        Ok(())
    }
    let (mut visited, mut steps) = (HashSet::new(), Vec::new());
    keys.iter().try_for_each(|key| add(key, &mut step, &mut visited, &mut steps))?;
    Ok(steps)
}

/// Has an engine keep the outcomes of stages that it did not make: those in folders of these names
/// below `folder`. A `build_id` that was never used before makes it a step that no cache holds.
pub fn supply(
    base: &str,
    folder: &Utf8Path,
    stages: &[&str],
    build_id: &str,
    style: Style<'_>,
) -> Plan {
    let (from, name, given) = ("given", "supply", "/rustcbuildx/given");
    let source = Mount::Bind {
        from: from.into(),
        source: "/".into(),
        target: given.into(),
        writable: false,
    };
    let keep = |key: &&str| Mount::into_engine_cache(key, &format!("{KEPT}/{key}"));
    let words = ["/bin/sh", "-c", SUPPLY, build_id]
        .into_iter()
        .chain(stages.iter().copied())
        .map(str::to_owned);
    let run = Run {
        mounts: [source].into_iter().chain(stages.iter().map(keep)).collect(),
        argv: words.collect(),
    };
    one(base, name, &run, BTreeMap::from([(from.to_owned(), folder.to_owned())]), style)
}

/// As a step leaves its own outcome; not over one that is there already, from another machine,
/// which others may be reading.
const SUPPLY: &str = r#"mkdir -p /rustcbuildx/outcome || exit
for key; do
  kept=/rustcbuildx/kept/$key; given=/rustcbuildx/given/$key
  [ "$(ls -A "$kept/files" 2>/dev/null)" = "$(ls -A "$given/files")" ] && [ -e "$kept/files" ] && continue
  new=$(mktemp -d "$kept/XXXXXX") && cp -a "$given/." "$new" && rm -rf "$kept/files" || exit
  mv -T "$new/files" "$kept/files" || [ -e "$kept/files" ] || exit
  mv "$new"/* "$kept" && rm -rf "$new"
done"#;

/// Has an engine keep contexts: those of these names, in these folders. A `build_id` that was never
/// used before makes it a step that no cache holds.
pub fn give(base: &str, contexts: &[(&str, &Utf8Path)], build_id: &str, style: Style<'_>) -> Plan {
    let given = "/rustcbuildx/given";
    let source = |name: &str| Mount::Bind {
        from: name.to_owned(),
        source: "/".to_owned(),
        target: format!("{given}/{name}"),
        writable: false,
    };
    let mounts = contexts.iter().flat_map(|(name, _)| {
        [source(name), Mount::into_engine_cache(name, &format!("{KEPT}/{name}"))]
    });
    let names = contexts.iter().map(|(name, _)| *name);
    let words = ["/bin/sh", "-c", GIVE, build_id].into_iter().chain(names).map(str::to_owned);
    let run = Run { mounts: mounts.collect(), argv: words.collect() };
    let folders =
        contexts.iter().map(|(name, folder)| (name.to_string(), folder.to_path_buf())).collect();
    one(base, "give", &run, folders, style)
}

/// Each folder appears whole, and only once: others may be reading it.
const GIVE: &str = r#"mkdir -p /rustcbuildx/outcome || exit
for name; do
  kept=/rustcbuildx/kept/$name
  [ -e "$kept/p" ] && continue
  new=$(mktemp -d "$kept/XXXXXX") && cp -a "/rustcbuildx/given/$name/p" "$new" || exit
  mv -T "$new/p" "$kept/p" || [ -e "$kept/p" ] || exit
  rm -rf "$new"
done"#;

/// Plans a step that is no unit's. The result is what it left.
fn one(
    base: &str,
    name: &str,
    run: &Run,
    contexts: BTreeMap<String, Utf8PathBuf>,
    style: Style<'_>,
) -> Plan {
    let bases = BTreeMap::from([(base, "base0".to_owned())]);
    Steps { bases, contexts, ..Steps::default() }.plan(vec![(base, name, run)], name, style)
}

/// One step that copies all outcomes, instead of a `COPY` for each: those take BuildKit three times
/// as long, and podman hands the result out anew after every instruction of its stage.
///
/// `outcome` mounts that of a key at a path.
fn gather(wanted: &[&str], left: &[&str], outcome: impl Fn(&str, String) -> Mount) -> Run {
    let (all, told) = ("/rustcbuildx/in", "/rustcbuildx/left");
    let mount = |folder: &str, key: &str| outcome(key, format!("{folder}/{key}"));
    let mut script = format!("mkdir -p {OUT}");
    if !wanted.is_empty() {
        script += &format!(" && cp -a {all}/. {OUT}/");
    }
    if !left.is_empty() {
        let marks: Vec<String> = all_sentinels().iter().map(|mark| format!("-e {mark}")).collect();
        script += &GATHER_LEFT.replace("MARKS", &marks.join(" "));
    }
    let mounts =
        wanted.iter().map(|key| mount(all, key)).chain(left.iter().map(|key| mount(told, key)));
    Run { mounts: mounts.collect(), argv: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec() }
}

/// Of a success, all but the artifacts; whole, if one of them holds a sentinel of its unit's paths,
/// for a closer look. Few processes: there may be hundreds of units.
const GATHER_LEFT: &str = r#" && cd /rustcbuildx/left || exit
marked=$(find . -path './*/files/*' ! -name '*.d' -type f -exec /bin/sh -c 'grep -lF MARKS "$@"; [ $? -lt 2 ]' sh {} +) || exit
left= whole=
for key in *; do
  status=; { read -r status <"$key/status"; } 2>/dev/null
  case $status:$marked in
    0:*"/$key/files/"* | [!0]*) whole="$whole $key" ;;
    *) left="$left $key" ;;
  esac
done
[ ! "$whole" ] || cp -a $whole /rustcbuildx/outcome/ || exit
[ ! "$left" ] || mkdir -p $(printf '/rustcbuildx/outcome/%s/files ' $left) || exit
for key in $left; do
  to=/rustcbuildx/outcome/$key
  : >"$to/left" && cp "$key/status" "$key/stdout" "$key/stderr" "$key/nonce" "$to" || exit
  for file in "$key"/files/*.d; do
    [ ! -e "$file" ] || cp "$file" "$to/files" || exit
  done
done"#;

/// Steps, each with its base and name, and all that they need.
#[derive(Default)]
struct Steps<'a> {
    steps: Vec<(&'a str, &'a str, &'a Run)>,
    /// The stages that the base images are given as.
    bases: BTreeMap<&'a str, String>,
    contexts: BTreeMap<String, Utf8PathBuf>,
    secrets: BTreeSet<String>,
}

impl<'a> Steps<'a> {
    fn of(steps: &'a [Step]) -> Self {
        let mut all = Self::default();
        for Step { key, base, run, contexts, .. } in steps {
            all.contexts.extend(contexts.clone());
            all.secrets.extend(run.mounts.iter().filter_map(|mount| match mount {
                Mount::Secret { id } => Some(id.clone()),
                _ => None,
            }));
            let count = all.bases.len();
            all.bases.entry(base).or_insert_with(|| format!("base{count}"));
            all.steps.push((base, key, run));
        }
        all
    }

    /// A stage for each base, each step and each of `more`; what the stage `from` left is the
    /// result.
    fn plan(self, more: Vec<(&'a str, &'a str, &'a Run)>, from: &str, style: Style<'_>) -> Plan {
        let bases =
            self.bases.iter().map(|(base, name)| Stage { from: base, name, instructions: vec![] });
        let step = |(base, name, run): &(&'a str, &'a str, &'a Run)| Stage {
            from: &self.bases[base],
            name,
            instructions: vec![Instruction::Run(run)],
        };
        let copy = Instruction::Copy { from, source: OUT, target: "/" };
        let result = Stage { from: "scratch", name: RESULT, instructions: vec![copy] };
        let stages =
            bases.chain(self.steps.iter().chain(&more).map(step)).chain([result]).collect();
        let dockerfile = Dockerfile { style, stages }.to_string();
        Plan { dockerfile, contexts: self.contexts, secrets: self.secrets }
    }
}
