//! Carries out a call of the engine: what turns out to be lacking is sent, and what comes back is
//! handed on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io::{self, Read, Seek},
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Result, anyhow, bail};

use super::{FALLBACK, Session, build_id, call::Call, given::Given, millis_since};
use crate::{
    config::jobs::Jobs,
    engine::{client::Event, result::each_file, worker},
    step::{
        key::Key,
        lines::on_one_line,
        plan,
        protocol::{ALONE, APART, INVENTORY, LACKING, REPORT, STORE},
        spec::Step,
    },
    util::disk::{self, OnDisk},
};

/// How often a call is made again with what it lacks. What was sent may have been evicted since.
const ATTEMPTS: usize = 4;
/// How long to wait for the engine to mount the store that is expected. While Docker measures it,
/// that is some tenths of a second, BuildKit mounts another one instead.
const WAITS: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// What the worker answers, beside outcomes.
struct Answer {
    /// The number of the store that it has.
    store: String,
    /// The names of what it lacks.
    lacking: Vec<String>,
    /// A line for each name that it has, where it was asked for that.
    inventory: Vec<String>,
}

impl Session<'_> {
    /// Has the engine carry out a call, and sends what the engine turns out to lack. `each` gets
    /// the outcomes, by their keys. `resolve` returns the step of a key, to be made again if
    /// neither the store nor the engine has its outcome any more.
    pub(super) fn perform(
        &self,
        mut call: Call,
        resolve: &dyn Fn(&str) -> Option<Step>,
        mut on_event: impl FnMut(Event),
        mut each: impl FnMut(&str, File) -> Result<()> + Send,
    ) -> Result<()> {
        self.upload(&call)?;
        let mut may_mount = true;
        for _ in 0..ATTEMPTS {
            let mut given = self.given(&mut call, resolve)?;
            if !may_mount {
                given.mounted.clear();
            }
            let lacking = match self.perform_on_store(&call, &given, &mut on_event, &mut each) {
                // Of what the engine has evicted, nothing can be mounted.
                Err(error) if !given.mounted.is_empty() => {
                    log::info!("{error:#}");
                    may_mount = false;
                    continue;
                }
                lacking => lacking?,
            };
            if self.note(&given, &lacking)? {
                return Ok(());
            }
        }
        bail!(
            "failed to build with {}: it loses what it is sent (hint: is its disk full?)",
            self.engine.name()
        )
    }

    /// What build scripts printed whose outcomes the engine has, by their keys. It is only asked if
    /// nothing is known of it: on a new machine, or if it is new itself. From then on it is known
    /// to have what it lists.
    pub fn inventory(&self) -> Result<HashMap<Key, String>> {
        if self.engine_cache.store().is_some() {
            return Ok(HashMap::new());
        }
        let call = Call { is_inventory: true, ..Call::new("inventory", Jobs::All) };
        let given = Given::new(call.name, &self.cache)?;
        let answer = self.perform_once(&call, &given, None, &mut |_| (), &mut |_, _| Ok(()))?;
        self.engine_cache.expect(&answer.store)?;
        let (mut names, mut printed) = (HashSet::new(), HashMap::new());
        for line in answer.inventory {
            let (name, text) = line.split_once(' ').unwrap_or((&line, ""));
            printed.extend(on_one_line(text).map(|text| (name.to_owned(), text)));
            names.insert(name.to_owned());
        }
        log::info!("{} has {} outcomes and packs", self.engine.name(), names.len());
        self.engine_cache.list(names);
        Ok(printed)
    }

    /// Sends the engine the heavy packs that it lacks and could mount, in a call of their own, so
    /// that the call which needs them can mount them. Whatever is still lacking then, that call is
    /// told.
    fn upload(&self, call: &Call) -> Result<()> {
        let mountable = call.mountable(|name| !self.engine_cache.has(name));
        if mountable.is_empty() {
            return Ok(());
        }
        let upload = Call::new("sources", call.jobs);
        let mut given = Given::new(upload.name, &self.cache)?;
        let packs: BTreeSet<&str> = mountable.iter().map(|mounted| mounted.pack.as_str()).collect();
        let contexts = call.contexts();
        packs.into_iter().try_for_each(|name| self.add_pack(&mut given, name, contexts[name]))?;
        if given.sent.is_empty() {
            return Ok(());
        }
        let lacking = self.perform_on_store(&upload, &given, &mut |_| (), &mut |_, _| Ok(()))?;
        self.note(&given, &lacking).map(drop)
    }

    /// Takes note of what the engine has after a call that found these names lacking; returns
    /// whether there were none.
    fn note(&self, given: &Given, lacking: &[String]) -> Result<bool> {
        if lacking.is_empty() {
            given.sent.iter().try_for_each(|name| self.engine_cache.add(name))?;
            return Ok(true);
        }
        log::info!("{} lacks {}", self.engine.name(), lacking.join(" "));
        // What a pack is based on may be what is lacking.
        lacking.iter().chain(&given.bases).for_each(|name| self.engine_cache.remove(name));
        Ok(false)
    }

    /// Takes note of what the engine has while a call is still at work.
    fn note_ready(&self, given: &Given, expected: Option<&str>, store: &str) -> Result<()> {
        if expected.is_none_or(|expected| expected == store) {
            self.engine_cache.expect(store)?;
            self.note(given, &[])?;
        }
        Ok(())
    }

    /// Makes a call on the store that is expected, or, if the engine does not mount that for a
    /// while, on the one that it has. Returns the names of what the engine lacks for the call.
    fn perform_on_store(
        &self,
        call: &Call,
        given: &Given,
        on_event: &mut impl FnMut(Event),
        each: &mut (impl FnMut(&str, File) -> Result<()> + Send),
    ) -> Result<Vec<String>> {
        let (mut expected, mut waits) = (self.engine_cache.store(), WAITS.iter());
        loop {
            let answer = self.perform_once(call, given, expected.as_deref(), on_event, each)?;
            if expected.is_none_or(|expected| expected == answer.store) {
                self.engine_cache.expect(&answer.store)?;
                return Ok(answer.lacking);
            }
            log::info!("{} has mounted another store", self.engine.name());
            expected = match waits.next() {
                Some(wait) => {
                    thread::sleep(*wait);
                    self.engine_cache.store()
                }
                None => {
                    self.engine_cache.forget()?;
                    None
                }
            };
        }
    }

    /// Makes one call, which does nothing if it does not get the store that is expected.
    fn perform_once(
        &self,
        call: &Call,
        given: &Given,
        expected: Option<&str>,
        on_event: &mut impl FnMut(Event),
        each: &mut (impl FnMut(&str, File) -> Result<()> + Send),
    ) -> Result<Answer> {
        log::info!("{} is sent {}", self.engine.name(), given.sent.join(" "));
        let path = given.folder.join("batch");
        let limit = self.config.engine_store_size;
        let batch = call.batch(&build_id(), expected.unwrap_or_default(), limit, &given.mounted);
        fs::write(&path, batch.encode()).on_disk(&path, || format!("failed to write `{path}`"))?;
        let (source, style) = (worker::source(&self.cache)?, self.style());
        let Given { folder, mounted, .. } = given;
        let plan = plan::batch(
            &self.image,
            &source,
            folder,
            mounted,
            call.secrets(),
            style,
            self.env.domain(),
        );
        let (begun, purpose) = (SystemTime::now(), call.purpose());
        let (mut messages, mut report) = (Vec::new(), BTreeMap::<String, Vec<u8>>::new());
        let mut receive = |result: &mut dyn Read| {
            each_file(result, |path, bytes| {
                if let Ok(name) = path.strip_prefix(REPORT) {
                    io::copy(bytes, report.entry(name.to_string()).or_default())?;
                    return Ok(());
                }
                let mut file = disk::temporary(tempfile::tempfile())?;
                disk::temporary(io::copy(bytes, &mut file))?;
                file.rewind()?;
                each(path.as_str(), file)
            })
        };
        let mut on_event = |event: Event| match event {
            Event::Message { text } => messages.push(text),
            event => {
                if let Event::Ready { store } = &event {
                    // What other calls are sent beside this one depends on it.
                    let noted = self.note_ready(given, expected, store);
                    noted.unwrap_or_else(|error| log::warn!("{error:#}"));
                }
                on_event(event);
            }
        };
        let variables = self.variables(call.jobs);
        let built = self.engine.build(&plan, variables, &purpose, &mut on_event, &mut receive);
        log::info!("{} took {} ms to {purpose}", self.engine.name(), millis_since(begun));
        built.map_err(|error| match messages.is_empty() {
            true => error,
            false => error.context(messages.join("\n")),
        })?;
        let lines = |name: &str| -> Vec<String> {
            let text =
                report.get(name).map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        lines(APART).iter().for_each(|line| log::info!("apart: {line}"));
        for line in lines(ALONE) {
            let (_, why) = line.split_once(' ').unwrap_or(("", &line));
            self.slow(FALLBACK, &anyhow!("{why}"));
        }
        let (lacking, inventory) = (lines(LACKING), lines(INVENTORY));
        Ok(Answer { store: lines(STORE).concat(), lacking, inventory })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use camino::Utf8Path;

    use super::*;
    use crate::{
        config::{env::Env, settings::Config},
        engine::{Engine, Receive, cache::EngineCache, result::tests::result_of},
        inputs::sources::Homes,
        report::timings::Timings,
        step::{image::Image, plan::Plan, spec::tests::step},
        util::state_dir::Cache,
    };

    /// What an engine answers: the files of its result, by their paths, or why the call fails.
    type Told = Result<Vec<(&'static str, &'static str)>, &'static str>;

    /// An engine that answers what it is told to, one call after the other.
    #[derive(Default)]
    struct Script {
        answers: Mutex<Vec<Told>>,
        /// The names of the packs that each call was given.
        given: std::sync::Arc<Mutex<Vec<Vec<String>>>>,
    }

    impl Engine for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        fn address(&self) -> &str {
            ""
        }

        fn processors(&self) -> usize {
            1
        }

        fn connects_often(&self) -> bool {
            false
        }

        fn route(&self, _: &Cache) -> Result<Option<(String, String)>> {
            Ok(None)
        }

        fn pinned(&self, image: &str) -> Result<String> {
            Ok(image.to_owned())
        }

        fn make(
            &self,
            _: &str,
            _: Option<(&str, &Utf8Path)>,
            _: bool,
            _: &Utf8Path,
        ) -> Result<String> {
            bail!("it makes no images")
        }

        fn build(
            &self,
            plan: &Plan,
            _: Vec<(String, String)>,
            _: &str,
            on_event: &mut dyn FnMut(Event),
            receive: Receive<'_>,
        ) -> Result<()> {
            let folder = &plan.contexts["given"];
            let packs = folder.join("packs").read_dir_utf8().unwrap();
            let packs = packs.map(|pack| pack.unwrap().file_name().to_owned()).collect();
            self.given.lock().unwrap().push(packs);
            let files = self.answers.lock().unwrap().remove(0).map_err(|why| {
                on_event(Event::Message { text: "the worker says".to_owned() });
                anyhow!(why)
            })?;
            receive(&mut &result_of(&files)[..])
        }
    }

    /// What became of a call for one step, which reads the pack `s1`, on an engine that answers so.
    struct Performed {
        result: Result<()>,
        outcomes: Vec<(String, String)>,
        given: Vec<Vec<String>>,
        /// The store that is expected from now on, and whether the pack is known to be there.
        known: (Option<String>, bool),
    }

    /// `known` is what was known of the engine before.
    fn perform(known: Option<&str>, answers: Vec<Told>) -> Performed {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let env = Env::with(&[("HOME", root.as_str())]);
        let config = Config::load(&env).unwrap();
        let cache = Cache::open(root.join("cache")).unwrap();
        let engine = Script { answers: Mutex::new(answers), ..Script::default() };
        let (given, engine_cache) = (engine.given.clone(), EngineCache::of(&engine, &cache));
        if let Some(store) = known {
            engine_cache.expect(store).unwrap();
            engine_cache.add("s1").unwrap();
        }
        let text = String::new;
        let image = Image {
            name: text(),
            pinned: text(),
            version: text(),
            sysroot: text(),
            path: text(),
            variables: vec![],
            libc: text(),
        };
        let session = Session {
            env: &env,
            config: &config,
            cache,
            homes: Homes::of(&env).unwrap(),
            engine: Box::new(engine),
            engine_cache,
            image,
            command: Default::default(),
            registries: Default::default(),
            timings: Timings::to(None),
        };
        let folder = root.join("sources");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("p"), "source").unwrap();
        let outcomes = Mutex::new(Vec::new());
        let result = session.perform(
            Call::of(step("u1", "s1", folder)),
            &|_| None,
            |_| (),
            |key, mut file| {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                outcomes.lock().unwrap().push((key.to_owned(), text));
                Ok(())
            },
        );
        let known = (session.engine_cache.store(), session.engine_cache.has("s1"));
        let given = std::mem::take(&mut *given.lock().unwrap());
        Performed { result, outcomes: outcomes.into_inner().unwrap(), given, known }
    }

    fn made() -> Told {
        Ok(vec![("report/store", "1"), ("u1", "outcome")])
    }

    #[test]
    fn what_the_engine_is_not_known_to_have_is_sent() {
        let performed = perform(None, vec![made()]);
        performed.result.unwrap();
        assert_eq!(performed.outcomes, [("u1".to_owned(), "outcome".to_owned())]);
        assert_eq!(performed.given, [["s1"]]);
        assert_eq!(performed.known, (Some("1".to_owned()), true));
    }

    #[test]
    fn what_it_turns_out_to_lack_is_sent() {
        let lacks = Ok(vec![("report/store", "1"), ("report/lacking", "s1\n")]);
        let performed = perform(Some("1"), vec![lacks, made()]);
        performed.result.unwrap();
        assert_eq!(performed.given, [vec![], vec!["s1".to_owned()]]);
        assert_eq!(performed.outcomes.len(), 1);
    }

    #[test]
    fn an_engine_that_loses_all_is_given_up() {
        let lacks = || Ok(vec![("report/store", "1"), ("report/lacking", "s1\n")]);
        let performed = perform(None, (0..ATTEMPTS).map(|_| lacks()).collect());
        let error = performed.result.unwrap_err().to_string();
        assert!(error.contains("loses what it is sent (hint: is its disk full?)"), "{error}");
        assert!(performed.given.len() == ATTEMPTS && !performed.known.1);
    }

    /// BuildKit mounts another store while Docker measures the one that is expected.
    #[test]
    fn another_store_is_waited_out() {
        let other = || Ok(vec![("report/store", "2")]);
        let performed = perform(Some("1"), vec![other(), made()]);
        performed.result.unwrap();
        assert_eq!(performed.given.len(), 2);
        assert_eq!(performed.known, (Some("1".to_owned()), true));
        // Until there is none but that. Then nothing is known to be in it.
        let mut answers: Vec<Told> = (0..=WAITS.len()).map(|_| other()).collect();
        answers.push(Ok(vec![("report/store", "2"), ("report/lacking", "s1\n")]));
        answers.push(Ok(vec![("report/store", "2"), ("u1", "outcome")]));
        let performed = perform(Some("1"), answers);
        performed.result.unwrap();
        assert_eq!(performed.given.last().unwrap(), &["s1"]);
        assert_eq!(performed.known, (Some("2".to_owned()), true));
    }

    #[test]
    fn an_error_says_what_the_worker_said() {
        let performed = perform(None, vec![Err("the engine says")]);
        let error = format!("{:#}", performed.result.unwrap_err());
        assert_eq!(error, "the worker says: the engine says");
        assert_eq!(performed.known, (None, false));
    }
}
