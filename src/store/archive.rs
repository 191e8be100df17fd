//! A unit's outcome as the engine hands it over and the store has it: a compressed pack. What is
//! known of the unit's process comes first in there, then dep-info, then the other files.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use lz4_flex::frame::FrameDecoder;

use crate::{
    step::{
        pack::{Entry, Reader},
        protocol::{
            BUILD_ID, DEFERRED, DURATION, EMBEDDED, FILES, INDEX, OBSERVED, STATUS, STDERR, STDOUT,
            WRITTEN,
        },
        touched::{self, FileState, Written},
    },
    store::staging::{Unpacked, beside},
    util::disk::OnDisk,
};

/// An outcome's pack, read once from its start.
pub struct Archive<R: Read> {
    pack: Reader<FrameDecoder<R>>,
}

/// How a unit's process ended, and what it printed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The exit status as a shell gives it: 128 and the signal's number for a killed process.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The number of the call in which it ran.
    pub build_id: String,
    /// How long its process took, in milliseconds.
    pub millis: u64,
    /// What its processes touched, as [`touches`](crate::step::touched::touches) reads
    /// it; `None` if nobody could look.
    pub observed: Option<Vec<u8>>,
    /// What it wrote outside of its output folder.
    pub written: Vec<WrittenFile>,
    /// Whether its artifacts stayed in the engine.
    pub is_deferred: bool,
    /// The sentinels that its files hold in any place, be it one that does not matter.
    pub embedded: Vec<String>,
}

impl Outcome {
    /// Whether its call began after a time of this machine's clock.
    pub fn was_made_since(&self, time: SystemTime) -> bool {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let made = self.build_id.split('-').next().and_then(|nanos| nanos.parse().ok());
        made.is_some_and(|made: u128| made >= since)
    }
}

/// Something that a unit wrote outside of its output folder, with its content, if it is a file.
#[derive(Clone, Debug)]
pub struct WrittenFile {
    pub at: Written,
    pub content: Vec<u8>,
}

/// A unit's outcome and its files.
pub struct Received {
    pub outcome: Outcome,
    pub files: Unpacked,
}

impl<R: Read> Archive<R> {
    pub fn new(compressed: R) -> Self {
        Self { pack: Reader::new(FrameDecoder::new(compressed)) }
    }

    /// The outcome, and the text of the dep-info among its files. The rest is not read.
    pub fn outcome_and_dep_info(mut self) -> Result<(Outcome, String)> {
        let outcome = self.outcome()?;
        let mut dep_info = Vec::new();
        while let Some((path, Entry::File { .. })) = self.pack.next_entry().context(DAMAGED)? {
            if path.extension().is_none_or(|extension| extension != "d") {
                break;
            }
            self.pack.copy_to(&mut dep_info).context(DAMAGED)?;
        }
        Ok((outcome, String::from_utf8_lossy(&dep_info).into_owned()))
    }

    /// The outcome, its files unpacked beside `out_dir`, whose folder is made where it is missing.
    pub fn receive(mut self, out_dir: &Utf8Path) -> Result<Received> {
        let outcome = self.outcome()?;
        let (temp, parent) = beside(out_dir)?;
        let files = Unpacked::in_folder(temp)?;
        let unpacked = self.unpack(files.root.as_std_path());
        unpacked.on_disk(parent, || format!("failed to unpack files into `{parent}`"))?;
        Ok(Received { outcome, files })
    }

    /// What comes before the files. Fails unless there is all of it.
    pub fn outcome(&mut self) -> Result<Outcome> {
        let mut said: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        loop {
            let (path, entry) = self.pack.next_entry().context(DAMAGED)?.context(DAMAGED)?;
            if path == Path::new(FILES) {
                break;
            }
            if matches!(entry, Entry::File { .. }) {
                self.pack.copy_to(said.entry(path).or_default()).context(DAMAGED)?;
            }
        }
        let written = written(&mut said)?;
        let mut file = |name: &str| said.remove(Path::new(name));
        let is_deferred = file(DEFERRED).is_some();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        let observed = file(OBSERVED);
        let millis = text(file(DURATION).unwrap_or_default()).parse().unwrap_or_default();
        let embedded = text(file(EMBEDDED).unwrap_or_default());
        let mut file = |name| file(name).with_context(|| format!("{DAMAGED}: no `{name}` in it"));
        let status = text(file(STATUS)?);
        let status =
            status.parse().with_context(|| format!("failed to read the exit status `{status}`"))?;
        Ok(Outcome {
            status,
            stdout: file(STDOUT)?,
            stderr: file(STDERR)?,
            build_id: text(file(BUILD_ID)?),
            millis,
            observed,
            written,
            is_deferred,
            embedded: embedded.lines().map(str::to_owned).collect(),
        })
    }

    /// Unpacks the files into a folder, which is made.
    fn unpack(&mut self, root: &Path) -> Result<()> {
        fs::create_dir(root)?;
        let mut folders = Vec::new();
        while let Some((path, mut entry)) = self.pack.next_entry()? {
            let path = path.strip_prefix(FILES).context(DAMAGED)?;
            let place = root.join(path);
            if let Entry::Folder { mode } = &mut entry {
                // It may be closed to its owner, once all is in it.
                folders.push((place.clone(), std::mem::replace(mode, 0o700)));
            }
            self.pack.unpack(&entry, &place)?;
        }
        folders.into_iter().rev().try_for_each(|(place, mode)| {
            Ok(fs::set_permissions(place, fs::Permissions::from_mode(mode))?)
        })
    }
}

/// What was written, taken from the files that an outcome begins with.
fn written(said: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<Vec<WrittenFile>> {
    let folder = Path::new(WRITTEN);
    let Some(index) = said.remove(&folder.join(INDEX)) else { return Ok(vec![]) };
    let all = touched::written(&String::from_utf8_lossy(&index));
    let all = all.map_err(anyhow::Error::msg).context(DAMAGED)?;
    let with_content = all.into_iter().enumerate().map(|(number, at)| {
        let content = said.remove(&folder.join(number.to_string()));
        match (&at.what, content) {
            (FileState::File { .. }, None) => bail!("{DAMAGED}: `{}` has no content", at.path),
            (_, content) => Ok(WrittenFile { at, content: content.unwrap_or_default() }),
        }
    });
    with_content.collect()
}

const DAMAGED: &str = "failed to read a unit's outcome";
