//! Remotes that are a repository of an OCI registry. The head is a manifest with a tag, and blobs
//! are blobs. Credentials are docker's own: those of `docker login`, and of its helpers.
//!
//! A registry cannot compare before it moves a tag, so writers take [turns](super::turns), by
//! another tag.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use docker_credential::DockerCredential;
use futures_util::TryStreamExt;
use oci_client::{
    Client, Reference,
    client::{BlobResponse, Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::OciDescriptor,
    secrets::RegistryAuth,
};
use serde_json::{Value, json};

use super::{
    network::{CONNECT, READ, brief, choose_cryptography, run},
    remote::Remote,
    turns::{Turn, in_turn},
};
use crate::remote::{
    blob::Blob,
    head::{EMPTY, MANIFEST_TYPE, descriptor_of_nothing},
};

/// The tag of the turn to write. That of the head is `latest`, unless the address has another one.
const TURN: &str = "turn";
const ANNOTATION: &str = "dev.rustcbuildx.turn";

pub struct Registry {
    client: Client,
    auth: RegistryAuth,
    /// The repository, with the tag of the head.
    head: Reference,
}

impl Registry {
    /// `REGISTRY/REPOSITORY` or `REGISTRY/REPOSITORY:TAG`.
    pub fn new(path: &str, is_plain: bool) -> Result<Self> {
        choose_cryptography();
        let head: Reference =
            path.parse().with_context(|| format!("failed to use `{path}`: no repository"))?;
        ensure!(head.digest().is_none(), "failed to use `{path}`: a digest never changes");
        let host = head.registry().to_owned();
        let config = ClientConfig {
            protocol: if is_plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: certificates(&host)?,
            connect_timeout: Some(CONNECT),
            read_timeout: Some(READ),
            use_monolithic_push: true,
            ..ClientConfig::default()
        };
        let (client, auth) = (Client::new(config), auth(&host));
        // With that, it gets the tokens that it needs.
        run(client.store_auth_if_needed(head.resolve_registry(), &auth));
        Ok(Self { client, auth, head })
    }

    fn tagged(&self, tag: &str) -> Reference {
        let (registry, repository) = (self.head.registry(), self.head.repository());
        Reference::with_tag(registry.to_owned(), repository.to_owned(), tag.to_owned())
    }

    fn manifest(&self, reference: &Reference) -> Result<Option<String>> {
        let pulled = run(self.client.pull_manifest_raw(reference, &self.auth, &[MANIFEST_TYPE]));
        match pulled {
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => {
                Err(brief(&error)).with_context(|| format!("failed to read `{reference}`"))
            }
            Ok((bytes, _)) => {
                let text = String::from_utf8(bytes.to_vec());
                text.map(Some).with_context(|| format!("failed to read `{reference}`"))
            }
        }
    }

    fn put_manifest(&self, reference: &Reference, text: &str) -> Result<()> {
        let content_type = reqwest::header::HeaderValue::from_static(MANIFEST_TYPE);
        let put =
            run(self.client.push_manifest_raw(reference, text.as_bytes().to_vec(), content_type));
        put.map_err(|error| brief(&error))
            .with_context(|| format!("failed to write `{reference}`"))
            .map(drop)
    }
}

impl Turn for Registry {
    fn read(&self) -> Result<Option<String>> {
        let Some(text) = self.manifest(&self.tagged(TURN))? else { return Ok(None) };
        let manifest: Value = serde_json::from_str(&text)?;
        Ok(manifest["annotations"][ANNOTATION].as_str().map(str::to_owned))
    }

    fn write(&self, text: &str) -> Result<()> {
        self.add(&Blob::of(EMPTY), EMPTY)?;
        let nothing = descriptor_of_nothing();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": nothing,
            "layers": [nothing],
            "annotations": { ANNOTATION: text },
        });
        self.put_manifest(&self.tagged(TURN), &manifest.to_string())
    }
}

impl Remote for Registry {
    fn head(&self) -> Result<Option<String>> {
        self.manifest(&self.head)
    }

    fn replace_head(&self, known: Option<&str>, new: &str) -> Result<bool> {
        self.add(&Blob::of(EMPTY), EMPTY)?;
        in_turn(self, || {
            if self.head()?.as_deref() != known {
                return Ok(false);
            }
            self.put_manifest(&self.head, new).map(|()| true)
        })
    }

    fn read(&self, blob: &Blob, part: Option<Range<u64>>) -> Result<Vec<u8>> {
        let layer = OciDescriptor {
            digest: format!("sha256:{}", blob.digest),
            size: i64::try_from(blob.size)?,
            ..OciDescriptor::default()
        };
        let read = async {
            let (offset, length) = match &part {
                None => (0, None),
                Some(part) => (part.start, Some(part.end - part.start)),
            };
            let mut bytes = Vec::new();
            let (mut stream, is_whole) = match part {
                None => (self.client.pull_blob_stream(&self.head, &layer).await?, true),
                Some(_) => {
                    let pulled =
                        self.client.pull_blob_stream_partial(&self.head, &layer, offset, length);
                    match pulled.await? {
                        BlobResponse::Full(stream) => (stream, true),
                        BlobResponse::Partial(stream) => (stream, false),
                    }
                }
            };
            while let Some(chunk) = stream.try_next().await? {
                bytes.extend_from_slice(&chunk);
            }
            // One that knows no parts sends all.
            if let (Some(part), true) = (part, is_whole) {
                let [start, end] = [part.start, part.end].map(|at| usize::try_from(at).ok());
                let own = start.zip(end).and_then(|(start, end)| bytes.get(start..end));
                bytes = own.context("it is shorter than it was")?.to_vec();
            }
            anyhow::Ok(bytes)
        };
        run(read)
            .map_err(|error| brief(&error))
            .with_context(|| format!("failed to read {} of `{}`", blob.digest, self.head))
    }

    fn add(&self, blob: &Blob, bytes: &[u8]) -> Result<()> {
        let digest = format!("sha256:{}", blob.digest);
        let add = async {
            if self.client.blob_exists(&self.head, &digest).await.unwrap_or_default() {
                return Ok(());
            }
            self.client.push_blob(&self.head, bytes.to_vec(), &digest).await.map(drop)
        };
        run(add)
            .map_err(|error| brief(&error))
            .with_context(|| format!("failed to add {digest} to `{}`", self.head))
    }

    fn remove(&self, _: &Blob) -> Result<()> {
        // A registry collects what no manifest names.
        Ok(())
    }

    fn list(&self) -> Result<Option<Vec<(Blob, u64)>>> {
        Ok(None)
    }
}

fn is_absence(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::ImageManifestNotFoundError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 404,
        OciDistributionError::RegistryError { envelope, .. } => {
            let text = envelope.to_string();
            text.contains("MANIFEST_UNKNOWN")
                || text.contains("NAME_UNKNOWN")
                || text.contains("manifest unknown")
        }
        _ => false,
    }
}

/// What docker would send to this registry.
fn auth(host: &str) -> RegistryAuth {
    match docker_credential::get_credential(host) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            RegistryAuth::Basic(user, password)
        }
        Ok(DockerCredential::IdentityToken(token)) => RegistryAuth::Bearer(token),
        Err(error) => {
            log::info!("no credentials for {host}: {error}");
            RegistryAuth::Anonymous
        }
    }
}

/// The certificates that docker trusts for this registry, too.
///
/// Source: docker docs, "Verify repository client with certificates".
fn certificates(host: &str) -> Result<Vec<Certificate>> {
    let folder = camino::Utf8Path::new("/etc/docker/certs.d").join(host);
    let Ok(entries) = folder.read_dir_utf8() else { return Ok(vec![]) };
    let mut certificates = Vec::new();
    for entry in entries.flatten() {
        if entry.path().extension() == Some("crt") {
            let Ok(data) = std::fs::read(entry.path()) else {
                bail!("failed to read `{}`", entry.path());
            };
            certificates.push(Certificate { encoding: CertificateEncoding::Pem, data });
        }
    }
    Ok(certificates)
}
