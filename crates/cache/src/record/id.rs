//! The name of a record.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Names a record in one root: 128 random bits of the system, in hex. Processes that share the root do not ask each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 16];
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        // Refused by a sandbox at most: what takes its place was seeded by the system as well.
        let bits = if filled == Ok(bytes.len()) { u128::from_ne_bytes(bytes) } else { fastrand::u128(..) };
        Self(format!("{bits:032x}"))
    }

    /// Reads one as it is written.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything but 32 hex digits.
    pub fn parse(id: &str) -> Result<Self> {
        let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id {
            Ok(Self(id.to_owned()))
        } else {
            Err(Error::invalid("find record", id.escape_debug(), "not an id"))
        }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes whose generators happen to be seeded alike do not give two records one name.
    #[test]
    fn names_do_not_follow_from_a_seed() {
        let of_seed = || {
            fastrand::seed(7);
            RecordId::random()
        };
        assert_ne!(of_seed(), of_seed());
    }
}
