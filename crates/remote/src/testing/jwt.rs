//! JSON web tokens as Docker's registry wants them (distribution, "Token Authentication Specification"): ES256, with
//! the key named as libtrust names it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::tokens::Access;

/// How long a token is good where nobody says otherwise.
const TTL: Duration = Duration::from_secs(300);

/// Signs tokens with a key of its own.
pub struct Signer {
    issuer: String,
    certificate: String,
    key: EcdsaKeyPair,
    key_id: String,
    random: SystemRandom,
}

impl Signer {
    /// A signer with a new key; `issuer` is the registry's setting of that name.
    ///
    /// # Panics
    /// Where no key can be made.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        let random = SystemRandom::new();
        let pair = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, issuer);
        let certificate = params.self_signed(&pair).expect("a key signs its certificate").pem();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random);
        let key = key.expect("a P-256 key");
        let key_id = key_id(&pair.subject_public_key_info());
        Self { issuer: issuer.to_owned(), certificate, key, key_id, random }
    }

    /// The certificate for the registry's `rootcertbundle`, as PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A token for `service` that lets `subject` do to each repository what `access` says, for five minutes unless
    /// `ttl` says else.
    ///
    /// # Panics
    /// Where the system has no random numbers.
    #[must_use]
    pub fn mint(&self, service: &str, subject: &str, access: &Access, ttl: Option<Duration>) -> String {
        let access: Vec<_> = access
            .iter()
            .map(|(name, actions)| {
                let actions: Vec<_> = actions.iter().map(|action| action.name()).collect();
                json!({ "type": "repository", "name": name, "actions": actions })
            })
            .collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256", "kid": self.key_id });
        let claims = json!({
            "iss": self.issuer,
            "sub": subject,
            "aud": service,
            // Clocks differ by a little.
            "nbf": now - 10,
            "iat": now,
            "exp": now + ttl.unwrap_or(TTL).as_secs(),
            "jti": format!("{:016x}", fastrand::u64(..)),
            "access": access,
        });
        let encoded = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).expect("a key signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// libtrust's name of a key: base32 of the first 240 bits of the sha256 of its SubjectPublicKeyInfo, in groups of four.
fn key_id(public_key: &[u8]) -> String {
    let sum = Sha256::digest(public_key);
    let encoded = base32(&sum[..30]);
    let groups: Vec<_> = encoded.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    groups.join(":")
}

/// Base32 (RFC 4648) of a whole number of 40-bit groups.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for at in (0..8).rev() {
            text.push(char::from(ALPHABET[(bits >> (5 * at) & 31) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_are_libtrust_s() {
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
        let id = key_id(b"any key");
        assert_eq!((id.len(), id.split(':').count()), (59, 12));
    }
}
