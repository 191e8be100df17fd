//! The head of a remote: which segments there are, signed by who wrote that.
//!
//! Source of the manifest's form: OCI image specification, "Image Manifest", with the empty config
//! of "Guidelines for Artifact Usage".

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    blob::Blob,
    segment::{Pack, Segment},
    signature::{PublicKey, Signer},
};

/// The version of all that is in a remote. Whoever finds another one uses nothing of it.
const FORMAT: u32 = 1;

const HEAD: &str = "dev.rustcbuildx.head";
const SIGNATURE: &str = "dev.rustcbuildx.signature";
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const ARTIFACT_TYPE: &str = "application/vnd.rustcbuildx.cache.v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const BLOB_TYPE: &str = "application/vnd.rustcbuildx.blob.v1";
/// The bytes of the config that a manifest has to have.
pub const EMPTY: &[u8] = b"{}";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: u32,
    /// Is one higher in each head than in the one before it.
    pub generation: u64,
    /// In order of age, the oldest first.
    pub segments: Vec<Blob>,
}

/// A head as it was read, and who signed it.
#[derive(Debug, Default)]
pub struct SignedHead {
    pub head: Head,
    /// Of what the signature is.
    payload: String,
    signature: Option<String>,
}

impl Head {
    pub fn new(generation: u64, segments: Vec<Blob>) -> Self {
        Self { format: FORMAT, generation, segments }
    }

    /// The text of the head; `segments` are what it names.
    pub fn encode<'a>(
        &self,
        segments: impl IntoIterator<Item = &'a Segment>,
        signer: Option<&Signer>,
    ) -> Result<String> {
        let payload = serde_json::to_string(self)?;
        let packs = segments.into_iter().flat_map(|segment| &segment.packs).map(Pack::blob);
        let layers = self.segments.iter().chain(packs).map(|blob| descriptor(BLOB_TYPE, blob));
        let mut annotations = json!({ HEAD: payload });
        if let Some(signer) = signer {
            annotations[SIGNATURE] = signer.sign(payload.as_bytes()).into();
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": descriptor_of_nothing(),
            "layers": layers.collect::<Vec<_>>(),
            "annotations": annotations,
        });
        Ok(manifest.to_string())
    }
}

impl SignedHead {
    pub fn decode(text: &str) -> Result<Self> {
        let manifest: Value = serde_json::from_str(text).context("its head is no JSON")?;
        let annotation = |name: &str| manifest["annotations"][name].as_str().map(str::to_owned);
        let payload = annotation(HEAD).context("its head is not one of a cache")?;
        let version: Value = serde_json::from_str(&payload).context("its head is damaged")?;
        let format = &version["format"];
        ensure!(*format == FORMAT, "it has the format {format}, and this version reads {FORMAT}");
        let head: Head = serde_json::from_value(version).context("its head is damaged")?;
        ensure!(head.segments.iter().all(Blob::is_sound), "its head is damaged");
        Ok(Self { head, payload, signature: annotation(SIGNATURE) })
    }

    /// Fails unless one of these keys signed it.
    pub fn check(&self, trust: &[PublicKey]) -> Result<()> {
        let Some(signature) = &self.signature else { bail!("nobody signed it") };
        let is_signed = trust.iter().any(|key| key.has_signed(self.payload.as_bytes(), signature));
        ensure!(is_signed, "it is signed by nobody who is trusted");
        Ok(())
    }
}

/// What stands for nothing in a manifest: it has to have something.
pub fn descriptor_of_nothing() -> Value {
    descriptor(EMPTY_TYPE, &Blob::of(EMPTY))
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    let digest = format!("sha256:{}", blob.digest);
    json!({ "mediaType": media_type, "digest": digest, "size": blob.size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(generation: u64, signer: Option<&Signer>) -> SignedHead {
        let head = Head::new(generation, vec![Blob::of(b"segment")]);
        SignedHead::decode(&head.encode([], signer).unwrap()).unwrap()
    }

    #[test]
    fn only_what_a_trusted_key_signed_is_used() {
        let [own, other] = [0; 2].map(|_| Signer::generate().unwrap());
        let trust = [other.public(), own.public()];
        signed(1, Some(&own)).check(&trust).unwrap();
        assert!(signed(1, None).check(&trust).is_err());
        assert!(signed(1, Some(&own)).check(&[other.public()]).is_err(), "it was retired");
        assert!(signed(1, Some(&own)).check(&[]).is_err());
        // The signature of another head.
        let mut forged = signed(2, Some(&own));
        forged.signature = signed(1, Some(&own)).signature;
        assert!(forged.check(&trust).is_err());
    }

    #[test]
    fn a_head_of_another_version_is_none() {
        let text = Head { format: 2, ..Head::new(1, vec![]) }.encode([], None).unwrap();
        let error = SignedHead::decode(&text).unwrap_err().to_string();
        assert_eq!(error, "it has the format 2, and this version reads 1");
        for text in ["", "{}", "[]", "{\"annotations\":{\"dev.rustcbuildx.head\":\"{}\"}}"] {
            assert!(SignedHead::decode(text).is_err(), "{text}");
        }
    }
}
