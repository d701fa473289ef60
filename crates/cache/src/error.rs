//! What can go wrong, as outcomes a caller handles differently.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use lazyblob_remote as remote;
use lazyblob_remote::provider::Origin;
pub use lazyblob_remote::{Mismatch, What};
use oci_spec::image::Descriptor;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A blob that is not here and that no handler of the asker's can bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The blob.
    pub descriptor: Descriptor,
    /// Where it was seen: enough to make a handler of, with the asker's credentials.
    pub hints: Vec<Origin>,
}

/// An outcome that is not success. Every variant names operation, object and cause; none shows a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such record, image, blob or snapshot.
    #[error("{what}: not found{}", detail(reason))]
    NotFound {
        /// Operation and object.
        what: What,
        /// What was looked for where; may be empty.
        reason: String,
    },
    /// Somebody else has it for themselves: a mutable ref that is in use. Wait until it is let go.
    #[error("{what}: in use: {reason}")]
    Locked {
        /// Operation and object.
        what: What,
        /// By whom.
        reason: String,
    },
    /// Blobs are not here and the asker brought no handler for them. Ask again with handlers.
    #[error("{} missing and nobody given to bring {}: {}", count(missing), them(missing), listed(missing))]
    NeedsRemoteProviders {
        /// All of them, over all ancestors, each once.
        missing: Vec<Missing>,
    },
    /// Size, digest or diffID differ from what was promised. Nothing of it was kept.
    #[error("{what}: {mismatch}")]
    Integrity {
        /// Operation and object.
        what: What,
        /// What differs.
        mismatch: Mismatch,
    },
    /// The input is malformed, or of the wrong kind for what was asked. Mend the input.
    #[error("{what}: {reason}")]
    Invalid {
        /// Operation and object.
        what: What,
        /// What is wrong with it.
        reason: String,
    },
    /// A rule of ours forbids it: a limit, a path that leads out, a root that is somebody else's.
    #[error("{what}: refused: {reason}")]
    Refused {
        /// Operation and object.
        what: What,
        /// Which rule, and why.
        reason: String,
    },
    /// What there was is gone, and nothing is known to make it anew of.
    #[error("{what}: lost: {reason}")]
    Lost {
        /// Operation and object.
        what: What,
        /// What is gone.
        reason: String,
    },
    /// The database failed.
    #[error("{what}: {reason}")]
    Metadata {
        /// Operation and object.
        what: What,
        /// The cause in words.
        reason: String,
    },
    /// The file system said no.
    #[error("{what}: {}: {source}", path.display())]
    Io {
        /// Operation and object.
        what: What,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The caller withdrew, or what it asked is closed.
    #[error("{what}: cancelled")]
    Cancelled {
        /// Operation and object.
        what: What,
    },
    /// On the way to another place, or in the content store.
    #[error(transparent)]
    Remote(#[from] remote::Error),
    /// An error that several waiters share.
    #[error(transparent)]
    Shared(Arc<Error>),
}

impl Error {
    /// The error behind any sharing.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::Shared(error) => error.root(),
            other => other,
        }
    }

    /// Whether it says that there is no such thing, here or at the other place.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self.root() {
            Self::NotFound { .. } => true,
            Self::Remote(error) => error.is_not_found(),
            _ => false,
        }
    }

    /// Something that is not there.
    pub fn not_found(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::NotFound { what: What::new(operation, object), reason: reason.to_string() }
    }

    /// A malformed input.
    pub fn invalid(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Invalid { what: What::new(operation, object), reason: reason.to_string() }
    }

    /// A rule of ours.
    pub fn refused(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Refused { what: What::new(operation, object), reason: reason.to_string() }
    }
}

/// Gives an error of the file system the operation, the object and the file that it lacks.
pub(crate) trait IoContext<T> {
    fn during(self, operation: &'static str, object: impl fmt::Display, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn during(self, operation: &'static str, object: impl fmt::Display, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { what: What::new(operation, object), path: path.to_owned(), source })
    }
}

fn count(missing: &[Missing]) -> String {
    match missing.len() {
        1 => "1 blob is".to_owned(),
        many => format!("{many} blobs are"),
    }
}

fn them(missing: &[Missing]) -> &'static str {
    if missing.len() == 1 { "it" } else { "them" }
}

fn listed(missing: &[Missing]) -> String {
    missing.iter().map(|blob| blob.descriptor.digest().to_string()).collect::<Vec<_>>().join(", ")
}

fn detail(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}
