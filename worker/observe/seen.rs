//! What was seen of a task, and what of it matters.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use crate::{
    bytes::texts::Texts,
    protocol::{BY, CLOCK, HOSTS, Input, Kind, Source, Task, VARIABLES, WORKER},
    rules::{Image, OF_KERNEL, TEMPORARY, writable},
    touched::{How, Touch},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// As processes named them.
    named: Texts,
    paths: BTreeSet<(Program, How, PathBuf)>,
    /// Their names.
    programs: Vec<String>,
    addresses: BTreeSet<String>,
    variables: BTreeSet<String>,
    missed: BTreeSet<&'static str>,
}

/// The place of its name in a list.
pub type Program = usize;

impl Seen {
    /// The program of this name.
    pub fn program(&mut self, name: &str) -> Program {
        self.programs.iter().position(|known| known == name).unwrap_or_else(|| {
            self.programs.push(name.to_owned());
            self.programs.len() - 1
        })
    }

    /// Adds an absolute path.
    pub fn add(&mut self, by: Program, how: How, named: &Path) {
        let number = (by as u64) << 8 | how as u64;
        if !self.named.is_new(number, named.as_os_str().as_bytes()) {
            return;
        }
        let path = self.physical(by, named);
        let how = match how {
            How::Read if path.is_dir() => How::List,
            // A program may be gone by the time that all has ended.
            How::Run if !path.exists() => How::Lack,
            other => other,
        };
        self.paths.insert((by, how, path));
    }

    /// A path without `.` and `..`, as the kernel finds it: `..` leads up from where a link leads
    /// to, and nowhere from what is not there, which is noted.
    fn physical(&mut self, by: Program, path: &Path) -> PathBuf {
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
                        Err(_) => drop(self.paths.insert((by, How::Ask, plain.clone()))),
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
        let wanted = self.paths.iter().filter(move |(_, how, _)| *how == wanted);
        wanted.map(|(_, _, path)| path.as_path())
    }

    /// What of it is neither the image's nor the worker's. The task's home folder is `home`.
    pub fn touches(&self, task: &Task, image: &Image, home: &Path) -> BTreeSet<Touch> {
        let ours = Ours::of(self, task, image, home);
        let mut real = HashMap::new();
        let mut touches = BTreeSet::new();
        for (by, how, path) in &self.paths {
            let by = &self.programs[*by];
            touches.extend(ours.touch(by, *how, path));
            let real = match (how, path.parent(), path.file_name()) {
                // A link is made, moved or removed itself.
                (How::Write, Some(folder), Some(name)) => ours.real(folder, &mut real).join(name),
                _ => ours.real(path, &mut real),
            };
            if real != *path {
                touches.extend(ours.touch(by, *how, &real));
            }
        }
        // What one folder of `PATH` lacks, another one may have.
        let ran: HashSet<String> = self.of(How::Run).filter_map(name_of).collect();
        touches.retain(|touch| {
            touch.how != How::Lack || !ran.contains(&touch.what) && !ours.has_program(&touch.what)
        });
        let touch = |how, what: &str| Touch { by: String::new(), how, what: what.to_owned() };
        // A compiler's linker is named none that its user sets.
        if task.kind == Kind::Script {
            touches.extend(self.variables.iter().map(|name| touch(How::Variable, name)));
        }
        touches.extend(self.missed.iter().map(|what| touch(How::Unseen, what)));
        touches.extend(self.addresses.iter().map(|address| touch(How::Connect, address)));
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
            let folders = std::env::split_paths(folders).filter(|folder| folder.is_absolute());
            folders.map(|folder| without_steps_up(&folder)).collect()
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

    fn touch(&self, by: &str, how: How, path: &Path) -> Option<Touch> {
        let touch = |how, what: &str| Touch { by: by.to_owned(), how, what: what.to_owned() };
        if let Ok(name) = path.strip_prefix(VARIABLES) {
            let (how, name) = self.variable(name)?;
            return Some(touch(how, name));
        }
        if let Ok(told) = path.strip_prefix(CLOCK) {
            let (_, program) = told.to_str()?.split_once(BY)?;
            // Tools look at the clock for many a reason.
            let is_told = !self.is_tool(program) || program.rsplit('/').next() == Some("date");
            return is_told.then(|| touch(How::Clock, program));
        }
        if let Ok(name) = path.strip_prefix(HOSTS) {
            return Some(touch(How::Host, name.to_str()?));
        }
        if let Ok(below) = path.strip_prefix(self.home) {
            return Some(touch(how, Path::new("~").join(below).to_str()?));
        }
        let is_program = how == How::Lack || matches!(how, How::Ask | How::Read);
        if is_program && self.is_in_path(path) && !path.exists() {
            return Some(touch(How::Lack, &name_of(path)?));
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
        let is_made = self.is_made(path);
        if how != How::Run && (is_of_worker || is_temporary || is_made || is_library || is_of_image)
        {
            return None;
        }
        let how = match how {
            How::Lack => How::Ask,
            How::Write if !writable(self.task).any(|place| path.starts_with(place)) => How::Refuse,
            other => other,
        };
        Some(touch(how, path.to_str()?))
    }

    fn is_made(&self, path: &Path) -> bool {
        path.starts_with(&self.task.out)
            || path.ancestors().any(|folder| self.made.contains(folder))
    }

    /// Where a path leads to by links in what was made, there or not. `known` has the paths around
    /// it.
    fn real(&self, path: &Path, known: &mut HashMap<PathBuf, PathBuf>) -> PathBuf {
        let (true, Some(folder), Some(name)) =
            (self.is_made(path), path.parent(), path.file_name())
        else {
            return path.to_owned();
        };
        if let Some(real) = known.get(path) {
            return real.clone();
        }
        let mut real = self.real(folder, known).join(name);
        for _ in 0..MOST_LINKS {
            let (Ok(text), Some(folder)) = (fs::read_link(&real), real.parent()) else { break };
            real = without_steps_up(&folder.join(text));
        }
        known.insert(path.to_owned(), real.clone());
        real
    }

    fn variable<'t>(&self, told: &'t Path) -> Option<(How, &'t str)> {
        let (name, by) = told.to_str()?.split_once(BY)?;
        Some((if self.is_tool(by) { How::ToolVariable } else { How::Variable }, name))
    }

    /// Whether a program or library is the image's.
    fn is_tool(&self, program: &str) -> bool {
        self.image.has(Path::new(program)) || !program.starts_with('/')
    }

    fn is_in_path(&self, path: &Path) -> bool {
        self.programs.iter().any(|folder| path.parent() == Some(folder))
    }

    fn has_program(&self, name: &str) -> bool {
        self.programs.iter().any(|folder| folder.join(name).exists())
    }
}

/// So many links in a row are followed.
const MOST_LINKS: usize = 40;

/// A path without `..`, none of whose folders is a link.
fn without_steps_up(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// Where systems have what is theirs.
const SYSTEM: &[&str] = &["/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/var"];

fn name_of(path: &Path) -> Option<String> {
    path.file_name().and_then(OsStr::to_str).map(str::to_owned)
}
