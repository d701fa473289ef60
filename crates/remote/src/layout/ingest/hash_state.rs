//! The inside of a hasher as bytes, so that a blob is resumed without reading its beginning again.

use oci_spec::image::DigestAlgorithm;
use sha2::digest::common::hazmat::SerializableState;

use crate::digest::Hasher;

/// The state of `hasher`. Its form is that of `sha2` 0.11: one that changes it needs a new
/// [`VERSION`](super::state::VERSION).
pub(super) fn save(hasher: &Hasher) -> Vec<u8> {
    match hasher {
        Hasher::Sha256(hasher) => hasher.serialize().to_vec(),
        Hasher::Sha384(hasher) => hasher.serialize().to_vec(),
        Hasher::Sha512(hasher) => hasher.serialize().to_vec(),
    }
}

/// The hasher that was saved; nothing where the bytes are no state of one for `algorithm`.
pub(super) fn restore(algorithm: &DigestAlgorithm, saved: &[u8]) -> Option<Hasher> {
    fn of<H: SerializableState>(saved: &[u8]) -> Option<H> {
        H::deserialize(saved.try_into().ok()?).ok()
    }
    match algorithm {
        DigestAlgorithm::Sha256 => of(saved).map(Hasher::Sha256),
        DigestAlgorithm::Sha384 => of(saved).map(Hasher::Sha384),
        DigestAlgorithm::Sha512 => of(saved).map(Hasher::Sha512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [DigestAlgorithm; 3] =
        [DigestAlgorithm::Sha256, DigestAlgorithm::Sha384, DigestAlgorithm::Sha512];

    #[test]
    fn a_restored_hasher_goes_on_where_it_was() {
        let bytes: Vec<u8> = (0..1000_u32).flat_map(u32::to_le_bytes).collect();
        for algorithm in ALGORITHMS {
            for cut in [0, 1, 63, 64, 65, 127, 128, 129, 3999, 4000] {
                let mut whole = Hasher::new(&algorithm).unwrap();
                whole.update(&bytes[..cut]);
                let saved = save(&whole);
                let mut restored = restore(&algorithm, &saved).unwrap();
                whole.update(&bytes[cut..]);
                restored.update(&bytes[cut..]);
                assert_eq!(restored.finish(), whole.finish(), "{algorithm} cut at {cut}");
                assert!(restore(&algorithm, &saved[1..]).is_none(), "cut short");
            }
        }
    }

    /// Files of earlier runs must stay readable: another form than this needs another version of the state.
    #[test]
    fn the_form_is_the_one_that_is_on_disks() {
        let mut hasher = Hasher::new(&DigestAlgorithm::Sha256).unwrap();
        hasher.update(b"abc");
        let saved = save(&hasher);
        assert_eq!(saved.len(), 32 + 8 + 64);
        assert_eq!(saved[..4], 0x6a09_e667_u32.to_le_bytes(), "FIPS 180-4 §5.3.3, little-endian");
        assert_eq!(saved[32..40], [0; 8], "no whole block yet");
        assert_eq!(saved[40..45], [3, b'a', b'b', b'c', 0], "three bytes wait for the rest of their block");
        let mut hasher = Hasher::new(&DigestAlgorithm::Sha512).unwrap();
        hasher.update(&[0; 129]);
        let saved = save(&hasher);
        assert_eq!(saved.len(), 64 + 16 + 128);
        assert_eq!((saved[64], saved[80]), (1, 1), "a block and a byte");
    }
}
