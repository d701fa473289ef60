//! The digest of a cache map as it is kept: of the usual form it takes a third of the memory of its text.

use std::str::FromStr;

use oci_spec::image::Digest;

use crate::key::KeyId;

pub(super) enum MapDigest {
    /// 32 bytes of `sha256` or `random`, in lower case: as a key is written.
    Short(KeyId),
    Long(Box<Digest>),
}

impl MapDigest {
    pub(super) fn of(digest: Digest) -> Self {
        KeyId::from_str(digest.as_ref()).map_or_else(|_| Self::Long(Box::new(digest)), Self::Short)
    }

    /// The key of an output ([`KeyId::of_output`]).
    pub(super) fn key(&self, output: u32) -> KeyId {
        match self {
            Self::Short(digest) => digest.output_of_digest(output),
            Self::Long(digest) => KeyId::of_output(digest, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_digest() {
        let hex = "0123456789abcdef".repeat(4);
        let texts = [
            (format!("sha256:{hex}"), true),
            (format!("random:{hex}"), true),
            (format!("sha512:{hex}{hex}"), false),
            ("other:Some-Thing".to_owned(), false),
        ];
        for (text, short) in texts {
            let digest = Digest::from_str(&text).unwrap();
            let kept = MapDigest::of(digest.clone());
            assert_eq!(matches!(kept, MapDigest::Short(_)), short, "{text}");
            for output in [0, 1, 10, u32::MAX] {
                assert_eq!(kept.key(output), KeyId::of_output(&digest, output), "{text}@{output}");
            }
        }
    }
}
