//! Cache keys: under what a result is remembered.
//!
//! An op answers with a *map digest* M. Output `o` of it is an [op key], `sha256("M@o")`; of an op without inputs that is
//! the cache key itself. With inputs, a key is reached from the keys of the inputs over [links]: (op key, input position,
//! selector). A key may be reached in several ways: an input may have several keys, of which the content of the input, its
//! slow digest C, is one more, `sha256("C@-1")`, linked without selector. One way for each input is enough for a hit, if
//! all lead to the same key. The formulas are those of BuildKit's caches (docs/adr/0013-cache-keys.md).
//!
//! [op key]: KeyId::of_output
//! [links]: Link

use std::fmt;
use std::str::FromStr;

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

/// The prefix of digests that mean nothing beyond a session; their keys are never exported.
const RANDOM: &str = "random";

/// The identity of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId {
    random: bool,
    hash: [u8; 32],
}

impl KeyId {
    /// How many bytes it has [encoded](Self::encode).
    pub const ENCODED: usize = 33;

    /// The key of output `output` of an op with this map digest: the key of an op without inputs, and the op part of every
    /// link to a key of one with inputs. A digest that begins `random:` makes a random key.
    #[must_use]
    pub fn of_output(map_digest: &Digest, output: u32) -> Self {
        Self::hash(map_digest, i64::from(output))
    }

    /// The key of an input's content, given its slow digest.
    #[must_use]
    pub fn of_content(slow_digest: &Digest) -> Self {
        Self::hash(slow_digest, -1)
    }

    fn hash(digest: &Digest, output: i64) -> Self {
        let random = digest.algorithm().as_ref() == RANDOM;
        Self { random, hash: Self::of_text(digest.as_ref().as_bytes(), output) }
    }

    fn of_text(digest: &[u8], output: i64) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(digest);
        hasher.update(b"@");
        hasher.update(output.to_string().as_bytes());
        hasher.finalize().into()
    }

    /// [`of_output`](Self::of_output) of the digest that is written as this key is.
    pub(crate) fn output_of_digest(&self, output: u32) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        if self.random {
            text[..6].copy_from_slice(RANDOM.as_bytes());
        }
        for (pair, byte) in text[7..].chunks_exact_mut(2).zip(self.hash) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        Self { random: self.random, hash: Self::of_text(&text, i64::from(output)) }
    }

    /// A key with inputs that no store knows yet: the same ways make the same key in every process.
    #[must_use]
    pub fn derived<'a>(op: KeyId, ways: impl IntoIterator<Item = (Option<&'a Digest>, KeyId)>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(op.hash);
        for (selector, from) in ways {
            if let Some(selector) = selector {
                hasher.update(selector.as_ref().as_bytes());
            }
            hasher.update(b"\0");
            hasher.update(from.hash);
        }
        Self { random: false, hash: hasher.finalize().into() }
    }

    /// A key from a digest of 32 bytes that another store wrote.
    #[must_use]
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self { random: false, hash }
    }

    /// All of it, for a store that keeps it: whether it is random, 0 or 1, and the hash.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::ENCODED] {
        let mut bytes = [u8::from(self.random); Self::ENCODED];
        bytes[1..].copy_from_slice(&self.hash);
        bytes
    }

    /// The key that was [encoded](Self::encode); none of bytes that are no key.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (random, hash) = bytes.split_first()?;
        let random = match random {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { random, hash: hash.try_into().ok()? })
    }

    /// Whether it means nothing beyond its session.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.random
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.hash
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.random { "random:" } else { "sha256:" })?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is `sha256:` or `random:` and 64 hexadecimal digits")]
pub struct NotAKey;

impl FromStr for KeyId {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let (prefix, digits) = text.split_once(':').ok_or(NotAKey)?;
        let random = match prefix {
            "sha256" => false,
            RANDOM => true,
            _ => return Err(NotAKey),
        };
        if digits.len() != 64 || !digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(NotAKey);
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| NotAKey)?;
        }
        Ok(Self { random, hash })
    }
}

/// A way from a key of an input to a key of the op that has it as input.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Which output of which op.
    pub op: KeyId,
    /// The position of the input, from 0.
    pub input: u32,
    /// What part of the input the op reads, as a digest of its paths; `None` for all of it and for content keys.
    pub selector: Option<Selector>,
}

/// A digest that stands for the part of an input which an op reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector(pub Digest);

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_ref().cmp(other.0.as_ref())
    }
}
