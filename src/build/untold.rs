//! What a unit looked for and nobody gives it, although this machine has it: its outcome may be
//! another one than plain cargo's, and the user is told.

use crate::{
    build::Session, inputs::observed::Observed, report::notice, store::archive::Outcome,
    unit::work::Unit,
};

impl Session<'_> {
    /// Tells the user of programs that the image lacks, and of files in the home folder.
    pub(super) fn tell_of_lacking(&self, unit: &Unit, outcome: &Outcome) {
        let Observed { programs, at_home, .. } = Observed::of(unit, outcome);
        let path = self.env.get("PATH").unwrap_or_default();
        let is_here = |name: &String| which::which_in(name, Some(path), "/").is_ok();
        let unit = unit.name();
        for name in programs.iter().filter(|name| is_here(name)) {
            let text = format!(
                "{unit} looked for the program `{name}`, which this machine has and the image \
                 `{}` has not (hint: RUSTCBUILDX_BASE_IMAGE=docker-image://NAME for an image that \
                 has it)",
                self.image.name
            );
            notice::say(self.env, &text, &text);
        }
        let Some(home) = &self.homes.user else { return };
        for path in at_home.iter().map(|below| home.join(below)).filter(|path| path.is_file()) {
            let text = format!(
                "{unit} looked for `{path}`, which no container has: it is in your home folder \
                 (hint: RUSTCBUILDX_RUNNER=none builds locally)"
            );
            notice::say(self.env, &text, &text);
        }
    }
}
