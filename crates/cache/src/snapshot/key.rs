//! What a snapshot is called.

use std::fmt;

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use crate::chain::ChainId;
use crate::error::{Error, Result};

/// Names a snapshot: a chain, or the record it was made for while its diffID is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotKey(String);

impl SnapshotKey {
    /// The snapshot of the top layer of a chain.
    #[must_use]
    pub fn chain(chain: &ChainId) -> Self {
        Self(chain.digest().to_string())
    }

    /// The snapshot of a record: letters, digits, `_` and `-`, at most 128 of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything else: the key is a file name.
    pub fn record(id: &str) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if id.is_empty() || id.len() > 128 || !id.bytes().all(is_plain) {
            return Err(Error::invalid(
                "name snapshot",
                format!("{id:?}"),
                "not letters, digits, '_' and '-'",
            ));
        }
        Ok(Self(id.to_owned()))
    }

    /// The chain, where it names one.
    #[must_use]
    pub fn as_chain(&self) -> Option<ChainId> {
        self.0.contains(':').then(|| self.0.parse::<Digest>().ok()).flatten().map(ChainId::from_digest)
    }

    /// The key as text: a digest or a record's id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key that has this file name; nothing where none has.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        if let Some(id) = name.strip_prefix("record-") {
            return Self::record(id).ok();
        }
        // What may still be changed has a name that begins with `active-`.
        let (algorithm, hex) = name.split_once('-').filter(|(algorithm, _)| *algorithm != "active")?;
        format!("{algorithm}:{hex}").parse::<Digest>().ok().map(|digest| Self(digest.to_string()))
    }

    /// Its file name. An id has a prefix that no digest begins with, so that the two never meet.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.0.split_once(':') {
            Some((algorithm, hex)) => format!("{algorithm}-{hex}"),
            None => format!("record-{}", self.0),
        }
    }
}

impl TryFrom<String> for SnapshotKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        if !text.contains(':') {
            return Self::record(&text);
        }
        match text.parse::<Digest>() {
            Ok(digest) => Ok(Self(digest.to_string())),
            Err(cause) => Err(Error::invalid("name snapshot", format!("{text:?}"), cause)),
        }
    }
}

impl From<SnapshotKey> for String {
    fn from(key: SnapshotKey) -> Self {
        key.0
    }
}

impl From<&ChainId> for SnapshotKey {
    fn from(chain: &ChainId) -> Self {
        Self::chain(chain)
    }
}

impl fmt::Display for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
