//! What a unit's processes were seen to touch, read as what it lacked: files and folders that this
//! machine has and nobody gave it, and the names of variables and programs.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::{
    config::secrets::is_secret,
    step::touched::{How, Touch, touches},
    store::archive::Outcome,
    unit::{
        variables::{may_be_given_to_code, may_be_given_to_tools},
        work::Unit,
    },
};

/// What a unit asked for.
#[derive(Debug, Default)]
pub struct Observed {
    /// Variables that it may have, set or not.
    pub variables: BTreeSet<String>,
    /// Variables that are secrets by their names, set or not.
    pub secrets: BTreeSet<String>,
    /// Files and folders, there or not, whose own state may have been decisive.
    pub asked: BTreeSet<Utf8PathBuf>,
    /// Folders whose list may have been decisive.
    pub listed: BTreeSet<Utf8PathBuf>,
    /// Where it tried to write and was not allowed to.
    pub refused: BTreeSet<Utf8PathBuf>,
    /// Programs by names that its image lacks.
    pub programs: BTreeSet<String>,
    /// Paths in its home folder, from there.
    pub at_home: BTreeSet<Utf8PathBuf>,
}

impl Observed {
    /// Of an outcome whose paths are the host's. Empty if nobody could look.
    pub fn of(unit: &Unit, outcome: &Outcome) -> Self {
        let text = String::from_utf8_lossy(outcome.observed.as_deref().unwrap_or_default());
        let mut observed = Self::default();
        for Touch { how, what } in touches(&text) {
            match how {
                How::Ask | How::Read | How::List if what.starts_with('~') => {
                    let below = Utf8Path::new(&what).strip_prefix("~");
                    observed.at_home.extend(below.map(Utf8Path::to_owned));
                }
                How::Ask | How::Read => drop(observed.asked.insert(what.into())),
                How::List => drop(observed.listed.insert(what.into())),
                How::Refuse => drop(observed.refused.insert(what.into())),
                How::Lack => drop(observed.programs.insert(what)),
                How::Variable if may_be_given_to_code(&what, &unit.work) => {
                    observed.variables.insert(what);
                }
                How::ToolVariable if may_be_given_to_tools(&what) => {
                    observed.variables.insert(what);
                }
                How::Variable if is_secret(&what) => drop(observed.secrets.insert(what)),
                How::Variable | How::ToolVariable | How::Write | How::Run | How::Connect => {}
            }
        }
        observed
    }

    /// The files and folders that a unit asked for and that may be another thing where it ran: what
    /// `is_given` has nothing of. Only a list tells what else is in a folder around what it was
    /// given.
    pub fn paths<'a>(
        &'a self,
        unit: &'a Unit,
        is_given: impl Fn(&Utf8Path) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Utf8PathBuf> {
        let given = [&unit.package, &unit.cwd].into_iter().chain(&unit.paths);
        let given: Vec<&Utf8Path> =
            given.map(Utf8PathBuf::as_path).chain([unit.out_dir()]).collect();
        let is_around = move |path: &Utf8Path| given.iter().any(|given| given.starts_with(path));
        let asked = self.asked.iter().filter(move |path| !is_around(path));
        asked.chain(&self.listed).filter(move |path| !is_given(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::work::Work;

    fn unit() -> Unit {
        let out_dir = "/w/target/out".into();
        let work = Work::BuildScript { program: "/b".into(), out_dir, library_path: vec![] };
        Unit::new(work, "/w/member".into(), "/w/member".into())
    }

    fn observed(text: &str) -> Observed {
        Observed::of(&unit(), &Outcome { observed: Some(text.into()), ..Outcome::default() })
    }

    #[test]
    fn tools_ask_for_the_users_taste() {
        let text = "variable LANG\nvariable TMPDIR\nvariable A_TOKEN\ntool-variable TERM\n\
                    tool-variable B_TOKEN\ntool-variable CPATH\n";
        let asked = observed(text);
        assert_eq!(asked.variables, ["CPATH", "LANG"].map(str::to_owned).into());
        assert_eq!(asked.secrets, ["A_TOKEN".to_owned()].into());
    }

    #[test]
    fn folders_around_what_is_given_are_no_news_unless_listed() {
        let unit = unit();
        let paths = |text: &str| -> Vec<Utf8PathBuf> {
            let observed = observed(text);
            let is_given = |path: &Utf8Path| path.starts_with("/w/member");
            observed.paths(&unit, is_given).cloned().collect()
        };
        let text = "ask /w\nask /w/target\nask /w/other\nread /w/member/a\nread /w/b\n";
        assert_eq!(paths(text), ["/w/b", "/w/other"]);
        assert_eq!(paths("list /w\nlist /w/member\n"), ["/w"]);
    }

    #[test]
    fn what_is_at_home_is_apart() {
        let observed = observed("read ~/.config/tool\nlack adder\nwrite /w/x\n");
        assert_eq!(observed.at_home, [Utf8PathBuf::from(".config/tool")].into());
        assert_eq!(observed.programs, ["adder".to_owned()].into());
        assert!(observed.asked.is_empty());
    }
}
