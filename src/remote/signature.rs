//! Signatures of heads: ed25519.

use anyhow::{Context, Result, anyhow, bail};
use data_encoding::BASE64;
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};

/// What a public key begins with, as settings have it.
const PUBLIC: &str = "ed25519:";
/// What a key to sign with begins with, so that nobody takes it for a public one.
const SECRET: &str = "ed25519-secret:";
const SEED: usize = 32;
/// Before what is signed: no signature is of use for anything else.
const DOMAIN: &[u8] = b"rustcbuildx remote head 1\n";

/// Who may write what is trusted.
pub struct Signer {
    seed: [u8; SEED],
    pair: Ed25519KeyPair,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl Signer {
    pub fn generate() -> Result<Self> {
        let mut seed = [0; SEED];
        let filled = SystemRandom::new().fill(&mut seed);
        filled.map_err(|_| anyhow!("failed to make a key: the system has no random numbers"))?;
        Self::of_seed(seed)
    }

    /// Reads what [`Signer::secret`] wrote. Errors do not tell it.
    pub fn parse(text: &str) -> Result<Self> {
        let seed = text.trim().strip_prefix(SECRET).and_then(|text| bytes(text).ok());
        match seed.and_then(|seed| <[u8; SEED]>::try_from(seed).ok()) {
            Some(seed) => Self::of_seed(seed),
            None => bail!("not a key (hint: `rustcbuildx cache keygen` makes one)"),
        }
    }

    fn of_seed(seed: [u8; SEED]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        let pair = pair.map_err(|error| anyhow!("failed to read a key: {error}"))?;
        Ok(Self { seed, pair })
    }

    pub fn secret(&self) -> String {
        format!("{SECRET}{}", BASE64.encode(&self.seed))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().to_vec())
    }

    pub fn sign(&self, payload: &[u8]) -> String {
        BASE64.encode(self.pair.sign(&[DOMAIN, payload].concat()).as_ref())
    }
}

impl PublicKey {
    pub fn parse(text: &str) -> Result<Self> {
        let key = text.strip_prefix(PUBLIC).and_then(|text| bytes(text).ok());
        let key = key.filter(|key| key.len() == SEED);
        key.map(Self).with_context(|| {
            format!("`{text}` is no key (hint: {PUBLIC}…, as `rustcbuildx cache keygen` prints it)")
        })
    }

    pub fn has_signed(&self, payload: &[u8], signature: &str) -> bool {
        let Ok(signature) = bytes(signature) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&[DOMAIN, payload].concat(), &signature).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PUBLIC}{}", BASE64.encode(&self.0))
    }
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    Ok(BASE64.decode(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_texts() {
        let signer = Signer::generate().unwrap();
        let again = Signer::parse(&format!("{}\n", signer.secret())).unwrap();
        assert_eq!(again.public(), signer.public());
        assert_eq!(PublicKey::parse(&signer.public().to_string()).unwrap(), signer.public());
        // Each in the place of the other.
        assert!(PublicKey::parse(&signer.secret()).is_err());
        let error = Signer::parse(&signer.public().to_string()).err().unwrap().to_string();
        assert!(!error.contains(&signer.public().to_string()), "{error}");
        for text in ["", "ed25519:", "ed25519:AAAA", "AAAA"] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
    }
}
