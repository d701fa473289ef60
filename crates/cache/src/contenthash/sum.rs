//! A sha256, kept as what it is.

use std::fmt;

use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256};

/// A sha256. It goes into other hashes as it is written: `sha256:` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sum([u8; 32]);

impl Sum {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest, if it is a sha256.
    #[must_use]
    pub fn from_digest(digest: &Digest) -> Option<Self> {
        let hex = digest.digest().as_bytes();
        if *digest.algorithm() != DigestAlgorithm::Sha256 || hex.len() != 64 {
            return None;
        }
        let mut sum = [0; 32];
        for (byte, pair) in sum.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(sum))
    }

    /// The same as the rest of the world writes it.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "it cannot panic")]
    pub fn digest(&self) -> Digest {
        #[allow(clippy::expect_used, reason = "what is written here is well formed")]
        self.to_string().parse().expect("a sum is a valid digest")
    }

    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// As it is written.
    pub(super) fn text(&self) -> [u8; 71] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        for (pair, byte) in text[7..].chunks_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        text
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_digests() {
        let empty = Sum::of(b"");
        let written = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((empty.to_string().as_str(), empty.digest().to_string().as_str()), (written, written));
        assert_eq!(Sum::from_digest(&empty.digest()), Some(empty));
        let other: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        assert_eq!(Sum::from_digest(&other), None);
    }
}
