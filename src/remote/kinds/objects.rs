//! Remotes that are object stores: S3 and what speaks its protocol, and plain HTTP with `GET`,
//! `HEAD` and `PUT`.
//!
//! The variables of AWS's own tools give S3's credentials, region and endpoint. A plain server
//! cannot compare before it replaces a head, so writers take [turns](super::turns).

use std::{ops::Range, time::SystemTime};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion, aws::AmazonS3Builder, http::HttpBuilder, path::Path,
};

use super::{
    network::{CONNECT, READ, brief, choose_cryptography, run},
    remote::{BLOBS, HEAD, Remote},
    turns::{Turn, in_turn},
};
use crate::remote::blob::Blob;

const TURN: &str = "turn";

pub struct Objects {
    store: Box<dyn ObjectStore>,
    folder: Path,
    /// Whether it compares before it replaces.
    compares: bool,
    /// For errors.
    url: String,
}

impl Objects {
    /// `BUCKET` or `BUCKET/FOLDER` of S3.
    pub fn of_bucket(path: &str) -> Result<Self> {
        let (bucket, folder) = path.split_once('/').unwrap_or((path, ""));
        choose_cryptography();
        let builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry())
            .with_client_options(options().with_allow_http(true));
        let url = format!("s3://{path}");
        let store = builder.build().with_context(|| format!("failed to use `{url}`"))?;
        Ok(Self { store: Box::new(store), folder: Path::from(folder), compares: true, url })
    }

    /// A folder of a server; `authorization` is the header of that name.
    pub fn of_server(url: &str, authorization: Option<&str>) -> Result<Self> {
        choose_cryptography();
        let mut options = options().with_allow_http(url.starts_with("http://"));
        if let Some(value) = authorization {
            let mut value = reqwest::header::HeaderValue::from_str(value)
                .context("the authorization is no header")?;
            value.set_sensitive(true);
            let name = reqwest::header::AUTHORIZATION;
            options = options.with_default_headers([(name, value)].into_iter().collect());
        }
        let builder =
            HttpBuilder::new().with_url(url).with_retry(retry()).with_client_options(options);
        let store = builder.build().with_context(|| format!("failed to use `{url}`"))?;
        let url = url.to_owned();
        Ok(Self { store: Box::new(store), folder: Path::default(), compares: false, url })
    }

    fn path(&self, name: &str) -> Path {
        Path::from_iter(self.folder.parts().chain(Path::from(name).parts()))
    }

    fn blob(&self, blob: &Blob) -> Path {
        self.path(&format!("{BLOBS}/{}", blob.digest))
    }

    /// What is at a path, with how the store tells it from what will be there later.
    fn get(&self, name: &str) -> Result<Option<(String, UpdateVersion)>> {
        let path = self.path(name);
        let get = async {
            let got = self.store.get(&path).await?;
            let version =
                UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok((got.bytes().await?, version))
        };
        match run(get) {
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(brief(&error)).with_context(|| self.failed("read", name)),
            Ok((bytes, version)) => {
                let text = String::from_utf8(bytes.to_vec());
                Ok(Some((text.with_context(|| self.failed("read", name))?, version)))
            }
        }
    }

    fn put(&self, name: &str, bytes: &[u8], mode: PutMode) -> object_store::Result<()> {
        let payload = PutPayload::from(bytes.to_vec());
        let options = PutOptions { mode, ..PutOptions::default() };
        run(self.store.put_opts(&self.path(name), payload, options)).map(drop)
    }

    fn failed(&self, what: &str, name: &str) -> String {
        format!("failed to {what} `{}/{name}`", self.url)
    }

    fn replace_in_turn(&self, known: Option<&str>, new: &str) -> Result<bool> {
        in_turn(self, || {
            if self.head()?.as_deref() != known {
                return Ok(false);
            }
            let put = self.put(HEAD, new.as_bytes(), PutMode::Overwrite);
            put.map_err(|error| brief(&error))
                .with_context(|| self.failed("write", HEAD))
                .map(|()| true)
        })
    }
}

impl Turn for Objects {
    fn read(&self) -> Result<Option<String>> {
        Ok(self.get(TURN)?.map(|(text, _)| text))
    }

    fn write(&self, text: &str) -> Result<()> {
        let put = self.put(TURN, text.as_bytes(), PutMode::Overwrite);
        put.map_err(|error| brief(&error)).with_context(|| self.failed("write", TURN))
    }
}

impl Remote for Objects {
    fn head(&self) -> Result<Option<String>> {
        Ok(self.get(HEAD)?.map(|(text, _)| text))
    }

    fn replace_head(&self, known: Option<&str>, new: &str) -> Result<bool> {
        if !self.compares {
            return self.replace_in_turn(known, new);
        }
        let (text, version) = self.get(HEAD)?.unzip();
        if text.as_deref() != known {
            return Ok(false);
        }
        let mode = version.map_or(PutMode::Create, PutMode::Update);
        match self.put(HEAD, new.as_bytes(), mode) {
            Ok(()) => Ok(true),
            Err(Error::Precondition { .. } | Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(brief(&error)).with_context(|| self.failed("write", HEAD)),
        }
    }

    fn read(&self, blob: &Blob, part: Option<Range<u64>>) -> Result<Vec<u8>> {
        let path = self.blob(blob);
        let read = async {
            Ok::<_, Error>(match part {
                None => self.store.get(&path).await?.bytes().await?,
                Some(part) => self.store.get_range(&path, part).await?,
            })
        };
        let bytes = run(read)
            .map_err(|error| brief(&error))
            .with_context(|| self.failed("read", path.as_ref()))?;
        Ok(bytes.to_vec())
    }

    fn add(&self, blob: &Blob, bytes: &[u8]) -> Result<()> {
        let path = self.blob(blob);
        if run(self.store.head(&path)).is_ok_and(|there| there.size == blob.size) {
            return Ok(());
        }
        let put = run(self.store.put(&path, PutPayload::from(bytes.to_vec())));
        put.map_err(|error| brief(&error))
            .with_context(|| self.failed("write", path.as_ref()))
            .map(drop)
    }

    fn remove(&self, blob: &Blob) -> Result<()> {
        let path = self.blob(blob);
        match run(self.store.delete(&path)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(brief(&error)).with_context(|| self.failed("remove", path.as_ref())),
        }
    }

    fn list(&self) -> Result<Option<Vec<(Blob, u64)>>> {
        if !self.compares {
            return Ok(None);
        }
        let folder = self.path(BLOBS);
        let listed: Vec<_> = run(self.store.list(Some(&folder)).try_collect())
            .map_err(|error| brief(&error))
            .with_context(|| self.failed("list", BLOBS))?;
        let now = SystemTime::now();
        let blobs = listed.into_iter().filter_map(|object| {
            let blob = Blob { digest: object.location.filename()?.to_owned(), size: object.size };
            let age = now.duration_since(object.last_modified.into()).unwrap_or_default();
            blob.is_sound().then_some((blob, age.as_secs()))
        });
        Ok(Some(blobs.collect()))
    }
}

/// A build goes on without a remote that does not answer.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(READ)
        .with_timeout_disabled()
}

fn retry() -> RetryConfig {
    RetryConfig { max_retries: 2, retry_timeout: READ, ..RetryConfig::default() }
}
