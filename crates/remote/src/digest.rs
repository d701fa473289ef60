//! Computing digests; the type itself is `oci-spec`'s.

use std::fmt::Write as _;

use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Hashes bytes with the algorithm a digest names (image-spec, descriptor "Digests").
#[derive(Clone)]
pub enum Hasher {
    /// `sha256`, which every implementation must know.
    Sha256(Sha256),
    /// `sha384`.
    Sha384(Sha384),
    /// `sha512`.
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher for `algorithm`, or nothing where we cannot compute it.
    #[must_use]
    pub fn new(algorithm: &DigestAlgorithm) -> Option<Self> {
        match algorithm {
            DigestAlgorithm::Sha256 => Some(Self::Sha256(Sha256::new())),
            DigestAlgorithm::Sha384 => Some(Self::Sha384(Sha384::new())),
            DigestAlgorithm::Sha512 => Some(Self::Sha512(Sha512::new())),
            _ => None,
        }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes taken in, as `algorithm:hex`.
    #[must_use]
    pub fn finish(self) -> String {
        let (name, sum) = match self {
            Self::Sha256(hasher) => ("sha256", hasher.finalize().to_vec()),
            Self::Sha384(hasher) => ("sha384", hasher.finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.finalize().to_vec()),
        };
        let mut text = String::with_capacity(name.len() + 1 + 2 * sum.len());
        text.push_str(name);
        text.push(':');
        for byte in sum {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Hasher(sha256)",
            Self::Sha384(_) => "Hasher(sha384)",
            Self::Sha512(_) => "Hasher(sha512)",
        })
    }
}

/// The sha256 digest of `bytes`.
#[must_use]
#[allow(clippy::missing_panics_doc, reason = "it cannot panic")]
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::Sha256(Sha256::new());
    hasher.update(bytes);
    #[allow(clippy::expect_used, reason = "what is computed here is well formed")]
    hasher.finish().parse().expect("a computed sha256 is a valid digest")
}

/// `sha256:1234567890ab`: enough of a digest for people to tell blobs apart.
#[must_use]
pub fn short(digest: &Digest) -> String {
    let hex = digest.digest();
    format!("{}:{}", digest.algorithm(), hex.get(..12).unwrap_or(hex))
}
