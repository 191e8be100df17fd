//! Copies of artifacts that are sent as they are. Each copy is named by the digest of its own
//! bytes, whatever happens meanwhile to the original.

use std::fs;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;

use super::{Finder, version_control};
use crate::{
    snapshot::content::{bytes_digest, file_digest},
    step::spec::Output,
    store::provenance::Provenance,
    target::{deferred, shim::Shim},
    util::{digest::digest, disk::OnDisk, state_dir::Cache},
};

/// Whether a folder is such a copy.
pub fn are_in(cache: &Cache, folder: &Utf8Path) -> bool {
    folder.starts_with(cache.path("artifacts"))
}

impl Finder<'_> {
    /// An artifact as it is.
    pub(super) fn copy(&mut self, path: &Utf8Path) -> Result<Provenance> {
        match Shim::open(path)? {
            Some(shim) => self.copy_program(shim),
            None if path.is_dir() => self.copy_folder(path),
            None => self.copy_file(path),
        }
    }

    fn copy_folder(&mut self, path: &Utf8Path) -> Result<Provenance> {
        let copies = std::mem::replace(&mut self.reader.copies, true);
        let sources = self.reader.everything(path);
        self.reader.copies = copies;
        let part = &sources?.parts[0];
        let outputs = vec![Output { host: path.to_owned(), source: "p".to_owned() }];
        Ok(Provenance::of_copy(part.name.clone(), part.context.clone(), outputs))
    }

    pub(super) fn copy_file(&self, path: &Utf8Path) -> Result<Provenance> {
        if version_control::is_config(path) {
            let text =
                fs::read_to_string(path).with_context(|| format!("failed to read `{path}`"))?;
            let text = version_control::without_secrets(&text);
            return self
                .copied(path, &bytes_digest(text.as_bytes()), |to| Ok(fs::write(to, &text)?));
        }
        let content =
            file_digest(path.as_std_path()).with_context(|| format!("failed to read `{path}`"))?;
        self.copied(path, &content, |to| Ok(fs::copy(path, to).map(drop)?))
    }

    fn copy_program(&self, mut shim: Shim) -> Result<Provenance> {
        let content = shim.digest()?;
        let compiled = shim.compiled.clone();
        self.copied(&compiled, &content, |to| shim.unpack(to))
    }

    /// A file in a folder of the cache, under its content's name: if it is no longer the content
    /// that it was, under that of the copy.
    fn copied(
        &self,
        path: &Utf8Path,
        content: &str,
        copy: impl FnOnce(&Utf8Path) -> Result<()>,
    ) -> Result<Provenance> {
        if deferred::maker(path).is_some() {
            bail!(
                "failed to send `{path}`: it was left in the engine (hint: run the command again)"
            );
        }
        let name = path.file_name().context("an artifact has a name")?;
        let key_of = |content: &str| format!("f{}", digest([name, content]));
        let context = match self.cache.used(&format!("artifacts/{}", key_of(content))) {
            Some(context) => context,
            None => self.cache.folder_named_by("artifacts", |new| {
                let to = new.join("p").join(name);
                let copied =
                    fs::create_dir(new.join("p")).map_err(Into::into).and_then(|()| copy(&to));
                copied.on_disk(new, || format!("failed to copy `{path}` into the cache"))?;
                Ok(key_of(&file_digest(to.as_std_path())?))
            })?,
        };
        let key = context.file_name().unwrap_or_default().to_owned();
        let outputs = vec![Output { host: path.to_owned(), source: format!("p/{name}") }];
        Ok(Provenance::of_copy(key, context, outputs))
    }
}
