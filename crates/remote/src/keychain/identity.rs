//! Who asks, told apart without knowing the secret.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use super::{Credential, Secret};

/// SHA-256 works on blocks of so many bytes (FIPS 180-4); a shorter HMAC key is filled up with zeroes.
const BLOCK: usize = 64;

/// Known to this process alone and never shown: a fingerprint that leaks is of no use to guess passwords with.
static KEY: LazyLock<[u8; BLOCK]> = LazyLock::new(|| {
    let mut key = [0; BLOCK];
    for (at, part) in key.chunks_exact_mut(size_of::<u64>()).take(4).enumerate() {
        // The keys of every `RandomState` come from the system's source of randomness.
        part.copy_from_slice(&RandomState::new().hash_one(at).to_ne_bytes());
    }
    key
});

/// The fingerprint of a credential: equal for equal credentials of this process, and nothing can be learned from it.
/// Being anonymous is an identity, too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    /// The fingerprint of `credential`: an HMAC-SHA-256 (RFC 2104) under a key that is random in each process.
    #[must_use]
    pub fn of(credential: &Credential) -> Self {
        Self(keyed(0x5c, &keyed(0x36, &message(credential))))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

impl Credential {
    /// Tells whose credential it is, without the credential.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::of(self)
    }
}

/// One of HMAC's two passes: the hash of the key, masked, and what follows it.
fn keyed(mask: u8, message: &[u8]) -> [u8; 32] {
    let key = KEY.map(|byte| byte ^ mask);
    Sha256::new().chain_update(key).chain_update(message).finalize().into()
}

/// A credential as bytes that no other credential has: its kind, and the length of what another part follows.
fn message(credential: &Credential) -> Vec<u8> {
    let secret = |kind: u8, secret: &Secret| [&[kind], secret.expose().as_bytes()].concat();
    match credential {
        Credential::Anonymous => vec![0],
        Credential::Basic { username, password } => {
            let length = (username.len() as u64).to_be_bytes();
            [&[1], &length[..], username.as_bytes(), password.expose().as_bytes()].concat()
        }
        Credential::IdentityToken(token) => secret(2, token),
        Credential::RegistryToken(token) => secret(3, token),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn different_credentials_have_different_identities() {
        let all = [
            Credential::Anonymous,
            Credential::basic("", ""),
            Credential::basic("jo", "ab"),
            Credential::basic("joa", "b"),
            Credential::basic("jo", "abc"),
            Credential::IdentityToken(Secret::new("ab")),
            Credential::RegistryToken(Secret::new("ab")),
        ];
        let identities: HashSet<_> = all.iter().map(Credential::identity).collect();
        assert_eq!(identities.len(), all.len());
        assert!(all.iter().all(|credential| identities.contains(&credential.clone().identity())));
    }

    #[test]
    fn nothing_of_a_credential_shows() {
        let identity = Credential::basic("jo", "hunter2").identity();
        assert_eq!(format!("{identity:?}"), "Identity(…)");
        // Without the key anybody could try passwords against it.
        let plain: [u8; 32] = Sha256::digest(message(&Credential::basic("jo", "hunter2"))).into();
        assert_ne!(identity.0, plain);
        assert!(KEY[..32].chunks(8).all(|part| part != [0; 8]));
    }
}
