//! What a unit looked for and nobody gives it, although this machine has it, and what it was not
//! allowed to write: its outcome may be another one than plain cargo's, and the user is told.

use camino::Utf8PathBuf;

use crate::{
    build::{Built, Session, missing_tools::without_sandbox},
    inputs::{
        observed::{Observed, is_named_input},
        sources::Given,
        writes,
    },
    report::notice,
    unit::work::Unit,
};

/// Where units have no place in common with others, and mostly look for none.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// What git looks for in a home folder, and what decides little of what it says.
const OF_TOOLS: &[&str] =
    &[".config/git/attributes", ".config/git/config", ".config/git/ignore", ".gitconfig"];

const BLIND: &str = "what units touch beyond what cargo declares cannot be seen: the engine's kernel \
                     or its security profile allows no seccomp notifications (hint: \
                     RUSTCBUILDX_OBSERVE=0 if it is to be so)";

impl Session<'_> {
    /// Tells the user of programs that the image lacks, and of files in the home folder.
    pub(super) fn tell_of_lacking(&self, unit: &Unit, observed: &Observed, built: &Built) {
        let Built { step, outcome, .. } = built;
        if unit.is_observed && outcome.observed.is_none() {
            notice::say(self.env, BLIND, BLIND);
        }
        let Observed { programs, refused, hosts, .. } = observed;
        if let Some(host) = hosts.first() {
            let text = format!(
                "{} tried to reach `{host}`, and no container has a network (hint: {})",
                unit.name(),
                without_sandbox(unit)
            );
            notice::say(self.env, &text, &text);
        }
        let is_shared =
            |path: &&Utf8PathBuf| TEMPORARY.iter().any(|folder| path.starts_with(folder));
        if let Some(text) = self.why_refused(unit, refused.iter().filter(|path| !is_shared(path))) {
            notice::say(self.env, &text, &text);
        }
        let path = self.env.get("PATH").unwrap_or_default();
        let is_here = |name: &String| which::which_in(name, Some(path), "/").is_ok();
        for name in programs.iter().filter(|name| is_here(name)) {
            let text = format!(
                "{} looked for the program `{name}`, which this machine has and the image `{}` has \
                 not (hint: RUSTCBUILDX_BASE_IMAGE=docker-image://NAME for an image that has it)",
                unit.name(),
                self.image.name
            );
            notice::say(self.env, &format!("lacks {name}"), &text);
        }
        let home = self.homes.user.as_deref();
        let at_home = observed.at_home.iter().filter_map(|below| Some(home?.join(below)));
        let reach = self.homes.reach_of(&unit.package);
        let given = Given::of(unit);
        // Sources of others are looked for to be quoted.
        let is_beyond = |path: &Utf8PathBuf| {
            !path.starts_with(&reach)
                && !path.starts_with(&self.homes.cargo)
                && path.extension() != Some("rs")
                && !given.is_made(path)
        };
        let beyond = observed.asked.iter().filter(|path| is_beyond(path)).cloned();
        let is_of_tools = |path: &Utf8PathBuf| {
            let below = home.and_then(|home| path.strip_prefix(home).ok());
            below.is_some_and(|below| OF_TOOLS.contains(&below.as_str()))
        };
        let is_given =
            |path: &Utf8PathBuf| given.has(path) || is_named_input(unit, &step.task.inputs, path);
        let is_told = |path: &Utf8PathBuf| path.is_file() && !is_of_tools(path) && !is_given(path);
        if let Some(path) = at_home.chain(beyond).find(is_told) {
            let text = format!(
                "{} looked for `{path}`, which this machine has and no container: it is not in the \
                 repository or workspace (hint: {})",
                unit.name(),
                without_sandbox(unit)
            );
            notice::say(self.env, &text, &text);
        }
    }

    /// What to tell the user of paths that a unit was not allowed to write to, if there are any.
    pub(super) fn why_refused<'p>(
        &self,
        unit: &Unit,
        mut paths: impl Iterator<Item = &'p Utf8PathBuf>,
    ) -> Option<String> {
        let path = paths.next()?;
        let more = match paths.count() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let (name, package) = (unit.name(), unit.package_name());
        let is_own = writes::is_of_member(unit, &self.homes);
        let why = if is_own && writes::is_within_reach(unit, path, &self.homes) {
            "macros from elsewhere run in it"
        } else if is_own {
            "it is out of the workspace, behind a link, or something that runs by itself"
        } else {
            "only members of the workspace may write there"
        };
        let hint = if unit.is_build_script() {
            without_sandbox(unit)
        } else {
            format!("RUSTCBUILDX_ALLOW_WRITES={package} allows it within the workspace")
        };
        Some(format!(
            "{name} tried to write `{path}`{more} and was not allowed to: {why} (hint: {hint})"
        ))
    }
}
