//! The processes that this one descends from, as the system tells of them in `/proc`.

use std::fs;

/// What the system knows of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pub id: u32,
    pub name: String,
    pub parent: u32,
    /// When it started, in ticks since the machine did: another process may get its number.
    start: String,
}

impl Process {
    /// The running process of this number.
    pub fn of(id: u32) -> Option<Self> {
        let process = parsed(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?;
        // Someone may have given the process another name than its file's.
        match has_file_of_cargo(id) {
            true => Some(Self { name: CARGO.to_owned(), ..process }),
            false => Some(process),
        }
    }

    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// An identity that no other process of this machine ever has.
    pub fn identity(&self) -> String {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Containers number their processes anew.
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{} {} {} {}", self.id, self.start, boot.trim(), space.display())
    }

    /// Whether it still runs, and still is the program that it was, if that is cargo.
    pub fn is_at_work(&self) -> bool {
        let is_there = Self::of(self.id).is_some_and(|now| now.start == self.start);
        is_there && (self.name != CARGO || self.is_cargo_still())
    }

    /// Whether it still runs, and still is the program cargo. `cargo run` becomes the program that
    /// it runs.
    pub fn is_cargo_still(&self) -> bool {
        Self::of(self.id).is_some_and(|now| now.start == self.start) && has_file_of_cargo(self.id)
    }
}

const CARGO: &str = "cargo";

/// Whether a process runs a file of cargo's name, which an update may have removed meanwhile.
///
/// Source: proc_pid_exe(5).
fn has_file_of_cargo(id: u32) -> bool {
    let Ok(file) = fs::read_link(format!("/proc/{id}/exe")) else { return false };
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(" (deleted)").unwrap_or(name) == CARGO
}

/// Source: proc_pid_stat(5). The name may hold blanks and parentheses.
fn parsed(stat: &str) -> Option<Process> {
    let (id, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let start = fields.get(19)?.to_string();
    Some(Process {
        id: id.parse().ok()?,
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        start,
    })
}

/// The nearest cargo that this process descends from. What rustdoc starts is none of its units.
pub fn nearest_cargo() -> Option<Process> {
    let own = Process::own()?;
    let cargo = nearest(&own, Process::of)?;
    let mut between = Process::of(own.parent)?;
    while between.id != cargo.id {
        if between.name == "rustdoc" {
            return None;
        }
        between = Process::of(between.parent)?;
    }
    Some(cargo)
}

/// The cargo that the user started: `cargo fix` starts itself as a compiler, so of cargos that
/// started each other, it is the first.
pub fn users_cargo() -> Option<Process> {
    first(&Process::own()?, Process::of)
}

fn nearest(of: &Process, process: impl Fn(u32) -> Option<Process>) -> Option<Process> {
    let mut ancestor = process(of.parent)?;
    while ancestor.name != CARGO {
        ancestor = process(ancestor.parent)?;
    }
    Some(ancestor)
}

fn first(of: &Process, process: impl Fn(u32) -> Option<Process>) -> Option<Process> {
    let mut cargo = nearest(of, &process)?;
    while let Some(above) = process(cargo.parent).filter(|above| above.name == CARGO) {
        cargo = above;
    }
    Some(cargo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_the_system() {
        let rest = "S 41 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        let expected =
            Process { id: 42, name: "a) (b".to_owned(), parent: 41, start: "12345".to_owned() };
        assert_eq!(parsed(&format!("42 (a) (b) {rest}")), Some(expected));
        assert_eq!(parsed("42 (a"), None);
        let own = Process::own().unwrap();
        assert!(Process::of(own.parent).is_some());
        assert!(!own.is_cargo_still(), "a test is no cargo");
        assert_eq!(own.identity(), Process::own().unwrap().identity());
        let earlier = Process { start: "0".to_owned(), ..own.clone() };
        assert_ne!(own.identity(), earlier.identity());
    }

    /// `names` are those of a process, of its parent, and so on.
    #[track_caller]
    fn case(names: &str, nearest_expected: Option<u32>, first_expected: Option<u32>) {
        let names: Vec<&str> = names.split(' ').collect();
        let process = |id: u32| {
            let name = names.get(id as usize)?.to_string();
            Some(Process { id, name, parent: id + 1, start: String::new() })
        };
        let own = process(0).unwrap();
        let id = |cargo: Option<Process>| cargo.map(|cargo| cargo.id);
        assert_eq!(id(nearest(&own, process)), nearest_expected, "{names:?}");
        assert_eq!(id(first(&own, process)), first_expected, "{names:?}");
    }

    #[test]
    fn a_build_is_the_cargo_above() {
        case("rustcbuildx cargo bash", Some(1), Some(1));
        case("rustcbuildx sh cargo bash cargo bash", Some(2), Some(2));
        case("rustcbuildx cargo cargo bash", Some(1), Some(2));
        case("rustcbuildx cargo cargo-clippy bash", Some(1), Some(1));
        case("rustcbuildx bash", None, None);
    }
}
