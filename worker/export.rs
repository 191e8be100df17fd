//! What the client gets of outcomes: each in one file, packed and compressed.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use crate::{
    bytes::lz4::Compressor,
    files,
    outcome::{self, Made, is_dep_info},
    pack::{Writer, names_in},
    process::Ended,
    protocol::{
        BUILD_ID, Batch, DEFERRED, DURATION, EMBEDDED, FILES, Kind, LACKING, OBSERVED, PRIVATE,
        STATUS, STDERR, STDOUT, Task, WRITTEN, Wanted,
    },
    report::{Explain, Report, Result},
    store::{Store, listing},
};

/// Exports what the client of a batch wants.
pub struct Exporter<'a> {
    pub batch: &'a Batch,
    pub store: &'a Store,
    pub report: &'a Report,
    /// The folder for the files.
    pub outcomes: &'a Path,
}

impl Exporter<'_> {
    /// Exports a success that was stored just now, if it is wanted.
    pub fn success(&self, key: &str) -> Result<()> {
        let wanted = self.batch.wanted.iter().find(|wanted| wanted.key == key);
        wanted.map_or(Ok(()), |wanted| self.export(wanted))
    }

    /// Exports a failure with what it left, which nobody else is to find.
    pub fn failure(&self, task: &Task, ended: &Ended, made: &[Made]) -> Result<()> {
        let place = self.path(&task.key);
        let folder = place.with_extension("folder");
        let export = || -> io::Result<()> {
            outcome::write_report(&folder, ended, &self.batch.id)?;
            let files = folder.join(FILES);
            match task.kind {
                Kind::Script => files::copy_tree(Path::new(&task.out), &files)?,
                Kind::Compile => {
                    fs::create_dir(&files)?;
                    for Made { name, mode } in made {
                        let (from, to) = (Path::new(&task.out).join(name), files.join(name));
                        fs::rename(from, &to)?;
                        outcome::set_mode(&to, *mode)?;
                    }
                }
            }
            self.pack_up(&folder, false, &place)?;
            fs::remove_dir_all(&folder)
        };
        export().explain(|| format!("failed to export what {} left", task.name))
    }

    /// Exports what is wanted and stored, and was not exported yet, on so many processors. Every
    /// byte of it is looked at first.
    pub fn rest(&self, processors: usize) -> Result<()> {
        let is_left = |wanted: &&Wanted| {
            self.store.has_outcome(&wanted.key) && !self.path(&wanted.key).exists()
        };
        let left = Mutex::new(self.batch.wanted.iter().filter(is_left));
        let next = || left.lock().expect("no thread panics while it has this lock").next();
        let serve = || -> Result<()> {
            while let Some(wanted) = next() {
                if self.store.has_whole_outcome(&wanted.key) {
                    self.export(wanted)?;
                } else {
                    self.report.add(LACKING, &wanted.key)?;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..processors).map(|_| scope.spawn(serve)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })
    }

    fn export(&self, wanted: &Wanted) -> Result<()> {
        let folder = self.store.outcome(&wanted.key);
        self.pack_up(&folder, wanted.is_deferred, &self.path(&wanted.key))
            .explain(|| format!("failed to export the outcome {}", wanted.key))
    }

    fn path(&self, key: &str) -> PathBuf {
        self.outcomes.join(key)
    }

    /// Writes what is in the folder of an outcome into one file. Files that may stay in the engine
    /// do, but for dep-info, unless one embeds a sentinel.
    fn pack_up(&self, folder: &Path, is_deferred: bool, place: &Path) -> io::Result<()> {
        let files = folder.join(FILES);
        let embedded = outcome::embedded(&files, &self.batch.sentinels)?;
        let is_whole = !is_deferred || !embedded.is_empty();
        let compressor = Compressor::new(File::create(place)?)?;
        let mut pack = Writer::with_modes(compressor, listing::modes(folder));
        // These come first, and then dep-info: that is all that a client looks at.
        for name in [STATUS, STDOUT, STDERR, DURATION, BUILD_ID, PRIVATE, OBSERVED, WRITTEN] {
            let path = folder.join(name);
            if path.exists() {
                pack.below(&path, name.as_ref(), None)?;
            }
        }
        if !is_whole {
            pack.file(DEFERRED.as_ref(), 0o644, 0, io::empty())?;
        }
        if !embedded.is_empty() {
            let text = embedded.join("\n");
            pack.file(EMBEDDED.as_ref(), 0o644, text.len() as u64, text.as_bytes())?;
        }
        let (dep_infos, others): (Vec<_>, Vec<_>) =
            names_in(&files)?.into_iter().partition(|name| is_dep_info(Path::new(name)));
        pack.folder_at(&files, FILES.as_ref())?;
        for name in dep_infos.iter().chain(others.iter().filter(|_| is_whole)) {
            pack.below(&files.join(name), &Path::new(FILES).join(name), None)?;
        }
        pack.finish()?.finish().map(drop)
    }
}
