//! What was seen of a task, and what of it matters.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use crate::{
    protocol::{BY, HOSTS, Input, Kind, Source, Task, VARIABLES, WORKER},
    rules::{Image, OF_KERNEL, TEMPORARY, writable},
    touched::{How, Touch},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// As processes named them.
    named: HashSet<(How, PathBuf)>,
    paths: BTreeSet<(How, PathBuf)>,
    addresses: BTreeSet<String>,
    variables: BTreeSet<String>,
    missed: BTreeSet<&'static str>,
}

impl Seen {
    /// Adds an absolute path.
    pub fn add(&mut self, how: How, named: PathBuf) {
        if self.named.contains(&(how, named.clone())) {
            return;
        }
        let path = self.physical(&named);
        self.named.insert((how, named));
        let how = match how {
            How::Read if path.is_dir() => How::List,
            // A program may be gone by the time that all has ended.
            How::Run if !path.exists() => How::Lack,
            other => other,
        };
        self.paths.insert((how, path));
    }

    /// A path without `.` and `..`, as the kernel finds it: `..` leads up from where a link leads
    /// to, and nowhere from what is not there, which is noted.
    fn physical(&mut self, path: &Path) -> PathBuf {
        // Most have none.
        if !path.as_os_str().as_bytes().windows(2).any(|bytes| matches!(bytes, b"/." | b"//")) {
            return path.to_owned();
        }
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    match plain.canonicalize() {
                        Ok(there) => plain = there,
                        Err(_) => drop(self.paths.insert((How::Ask, plain.clone()))),
                    }
                    plain.pop();
                }
                other => plain.push(other),
            }
        }
        plain
    }

    /// Adds that something could not be seen.
    pub fn missed(&mut self, what: &'static str) {
        self.missed.insert(what);
    }

    /// Adds a variable that a program is named.
    pub fn named(&mut self, variable: String) {
        self.variables.insert(variable);
    }

    /// Adds the address of a socket, as the kernel takes it, if it is a network's.
    pub fn connected(&mut self, address: &[u8]) -> Option<()> {
        let family = u16::from_ne_bytes(address.get(..2)?.try_into().ok()?);
        let port = u16::from_be_bytes(address.get(2..4)?.try_into().ok()?);
        let address = match family {
            AF_INET => {
                let bytes: [u8; 4] = address.get(4..8)?.try_into().ok()?;
                format!("{}:{port}", Ipv4Addr::from(bytes))
            }
            AF_INET6 => {
                let bytes: [u8; 16] = address.get(8..24)?.try_into().ok()?;
                format!("[{}]:{port}", Ipv6Addr::from(bytes))
            }
            _ => return None,
        };
        self.addresses.insert(address);
        Some(())
    }

    fn of(&self, wanted: How) -> impl Iterator<Item = &Path> {
        self.paths.iter().filter(move |(how, _)| *how == wanted).map(|(_, path)| path.as_path())
    }

    /// What of it is neither the image's nor the worker's. The task's home folder is `home`.
    pub fn touches(&self, task: &Task, image: &Image, home: &Path) -> BTreeSet<Touch> {
        let ours = Ours::of(self, task, image, home);
        let mut touches: BTreeSet<Touch> =
            self.paths.iter().filter_map(|(how, path)| ours.touch(*how, path)).collect();
        // What one folder of `PATH` lacks, another one may have.
        let ran: HashSet<String> = self.of(How::Run).filter_map(name_of).collect();
        touches.retain(|touch| {
            touch.how != How::Lack || !ran.contains(&touch.what) && !ours.has_program(&touch.what)
        });
        let variable = |what: &String| Touch { how: How::Variable, what: what.clone() };
        // A compiler's linker is named none that its user sets.
        if task.kind == Kind::Script {
            touches.extend(self.variables.iter().map(variable));
        }
        let missed = |what: &&str| Touch { how: How::Unseen, what: (*what).to_owned() };
        touches.extend(self.missed.iter().map(missed));
        let address = |what: &String| Touch { how: How::Connect, what: what.clone() };
        touches.extend(self.addresses.iter().map(address));
        touches
    }
}

/// What is whose, for one task.
struct Ours<'a> {
    task: &'a Task,
    image: &'a Image,
    home: &'a Path,
    /// What it is made from that was made before.
    made: HashSet<&'a Path>,
    /// What it is made from that was sent.
    given: HashSet<&'a Path>,
    /// What it wrote itself.
    wrote: HashSet<&'a Path>,
    /// The folders of its `PATH`.
    programs: Vec<PathBuf>,
    /// The folders in which programs look for their libraries when they start.
    libraries: Vec<PathBuf>,
}

impl<'a> Ours<'a> {
    fn of(seen: &'a Seen, task: &'a Task, image: &'a Image, home: &'a Path) -> Self {
        let is_made = |input: &&'a Input| matches!(input.from, Source::Outcome(_));
        let (made, given): (Vec<_>, Vec<_>) = task.inputs.iter().partition(is_made);
        let places = |inputs: Vec<&'a Input>| {
            inputs.into_iter().map(|input| Path::new(input.target.as_str())).collect()
        };
        let folders = |name: &str| -> Vec<PathBuf> {
            let mut set = task.env.iter().rev().filter_map(|set| set.split_once('='));
            let folders = set.find(|(known, _)| *known == name).map_or("", |(_, value)| value);
            // An empty one is the folder that a process is in.
            std::env::split_paths(folders).filter(|folder| folder.is_absolute()).collect()
        };
        Self {
            task,
            image,
            home,
            made: places(made),
            given: places(given),
            wrote: seen.of(How::Write).collect(),
            programs: folders("PATH"),
            libraries: folders("LD_LIBRARY_PATH"),
        }
    }

    fn touch(&self, how: How, path: &Path) -> Option<Touch> {
        if let Ok(name) = path.strip_prefix(VARIABLES) {
            return self.variable(name);
        }
        if let Ok(name) = path.strip_prefix(HOSTS) {
            return Some(Touch { how: How::Host, what: name.to_str()?.to_owned() });
        }
        if let Ok(below) = path.strip_prefix(self.home) {
            let what = Path::new("~").join(below).to_str()?.to_owned();
            return Some(Touch { how, what });
        }
        let is_program = how == How::Lack || matches!(how, How::Ask | How::Read);
        if is_program && self.is_in_path(path) && !path.exists() {
            return Some(Touch { how: How::Lack, what: name_of(path)? });
        }
        let is_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        let is_of_worker = is_in(OF_KERNEL) || path.starts_with(WORKER);
        // What it made there itself tells nothing.
        let is_temporary = how != How::Write
            && is_in(TEMPORARY)
            && self.wrote.contains(path)
            && !path.ancestors().any(|folder| self.given.contains(folder));
        // Of an image's system, it is no news that it is another one than this machine's.
        let is_of_image = self.image.has(path) && (is_in(SYSTEM) || path.exists());
        // There is one for each kind of processor that it tries.
        let is_library =
            self.libraries.iter().any(|folder| path.starts_with(folder)) && !path.exists();
        let is_made = path.starts_with(&self.task.out)
            || path.ancestors().any(|folder| self.made.contains(folder));
        if how != How::Run && (is_of_worker || is_temporary || is_made || is_library || is_of_image)
        {
            return None;
        }
        let how = match how {
            How::Lack => How::Ask,
            How::Write if !writable(self.task).any(|place| path.starts_with(place)) => How::Refuse,
            other => other,
        };
        Some(Touch { how, what: path.to_str()?.to_owned() })
    }

    fn variable(&self, told: &Path) -> Option<Touch> {
        let (name, by) = told.to_str()?.split_once(BY)?;
        let is_tool = self.image.has(Path::new(by)) || !by.starts_with('/');
        let how = if is_tool { How::ToolVariable } else { How::Variable };
        Some(Touch { how, what: name.to_owned() })
    }

    fn is_in_path(&self, path: &Path) -> bool {
        self.programs.iter().any(|folder| path.parent() == Some(folder))
    }

    fn has_program(&self, name: &str) -> bool {
        self.programs.iter().any(|folder| folder.join(name).exists())
    }
}

/// Where systems have what is theirs.
const SYSTEM: &[&str] = &["/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/var"];

fn name_of(path: &Path) -> Option<String> {
    path.file_name().and_then(OsStr::to_str).map(str::to_owned)
}
