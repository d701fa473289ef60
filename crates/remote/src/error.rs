//! What can go wrong, as outcomes a caller handles differently.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::body::BoxError;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, and to what; part of every error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// A verb phrase: `get manifest`, `upload blob`.
    pub operation: &'static str,
    /// The object in full, never with a secret: `localhost:5000/app:1`.
    pub object: String,
}

impl What {
    /// Names an operation on an object.
    pub fn new(operation: &'static str, object: impl fmt::Display) -> Self {
        Self { operation, object: object.to_string() }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, self.object)
    }
}

/// An outcome that is not success. Every variant names operation, object and cause; none shows a credential or
/// the query of a signed address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other side does not have it. Ask for something else.
    #[error("{what}: not found{}", detail(.reason))]
    NotFound {
        /// Operation and object.
        what: What,
        /// What the other side said; may be empty.
        reason: String,
    },
    /// Credentials are missing, wrong or not sufficient. Log in, or use others.
    #[error("{what}: not authorised: {reason}")]
    Unauthorized {
        /// Operation and object.
        what: What,
        /// What was tried and what the other side said.
        reason: String,
    },
    /// The other side asks for fewer requests. Wait, or use another host.
    #[error("{what}: {}: {reason}", if *.quota { "quota used up" } else { "rate limited" })]
    RateLimited {
        /// Operation and object.
        what: What,
        /// What the other side said.
        reason: String,
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
        /// A quota is used up, so waiting for seconds will not help.
        quota: bool,
    },
    /// Size or digest differ from what was promised. Nothing of it was kept.
    #[error("{what}: {mismatch}")]
    Integrity {
        /// Operation and object.
        what: What,
        /// What differs.
        mismatch: Mismatch,
    },
    /// The input is malformed: a reference, a manifest, a layout, a configuration file. Mend the input.
    #[error("{what}: {reason}")]
    Invalid {
        /// Operation and object.
        what: What,
        /// What is wrong with it.
        reason: String,
    },
    /// A rule of ours forbids it: a limit, or a public host that leads to a private address.
    #[error("{what}: refused: {reason}")]
    Refused {
        /// Operation and object.
        what: What,
        /// Which rule, and why.
        reason: String,
    },
    /// The other side refuses or cannot do it, and asking again will not help.
    #[error("{what}: {reason}")]
    Rejected {
        /// Operation and object.
        what: What,
        /// The HTTP status.
        status: u16,
        /// The codes of the answer's error document, as in distribution-spec "Error Codes".
        codes: Vec<String>,
        /// Status, codes and messages in words.
        reason: String,
    },
    /// No answer, or a 5xx. Asking again may help.
    #[error("{what}: {reason}")]
    Unavailable {
        /// Operation and object.
        what: What,
        /// The cause in words.
        reason: String,
        /// How long the other side asked us to wait.
        retry_after: Option<Duration>,
        /// Whether another try may succeed.
        transient: bool,
    },
    /// The file system said no.
    #[error("{what}: {}: {source}", path.display())]
    Io {
        /// Operation and object.
        what: What,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The caller withdrew.
    #[error("{what}: cancelled")]
    Cancelled {
        /// Operation and object.
        what: What,
    },
    /// An error that several waiters share.
    #[error(transparent)]
    Shared(Arc<Error>),
}

/// How bytes differ from what was promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Fewer or more bytes than the descriptor says.
    #[error("size is {actual} bytes, expected {expected}")]
    Size {
        /// From the descriptor.
        expected: u64,
        /// Bytes seen; where there were too many, as many as were read.
        actual: u64,
    },
    /// Other content than the digest names.
    #[error("digest is {actual}, expected {expected}")]
    Digest {
        /// From the descriptor or the request.
        expected: String,
        /// Computed over the bytes that came.
        actual: String,
    },
    /// The uncompressed layer is not the one its config names.
    #[error("diffID is {actual}, expected {expected}")]
    DiffId {
        /// From the image config.
        expected: String,
        /// Computed over the uncompressed bytes.
        actual: String,
    },
}

impl Error {
    /// Operation and object of this error.
    #[must_use]
    pub fn what(&self) -> &What {
        match self {
            Self::NotFound { what, .. }
            | Self::Unauthorized { what, .. }
            | Self::RateLimited { what, .. }
            | Self::Integrity { what, .. }
            | Self::Invalid { what, .. }
            | Self::Refused { what, .. }
            | Self::Rejected { what, .. }
            | Self::Unavailable { what, .. }
            | Self::Io { what, .. }
            | Self::Cancelled { what } => what,
            Self::Shared(error) => error.what(),
        }
    }

    /// The error behind any sharing.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::Shared(error) => error.root(),
            other => other,
        }
    }

    /// The same error once more, for somebody else who needs to hear of it.
    #[must_use]
    pub(crate) fn duplicate(&self) -> Self {
        let what = self.what().clone();
        match self.root() {
            Self::NotFound { reason, .. } => Self::NotFound { what, reason: reason.clone() },
            Self::Unauthorized { reason, .. } => Self::Unauthorized { what, reason: reason.clone() },
            Self::RateLimited { reason, retry_after, quota, .. } => {
                let (reason, retry_after, quota) = (reason.clone(), *retry_after, *quota);
                Self::RateLimited { what, reason, retry_after, quota }
            }
            Self::Integrity { mismatch, .. } => Self::Integrity { what, mismatch: mismatch.clone() },
            Self::Invalid { reason, .. } => Self::Invalid { what, reason: reason.clone() },
            Self::Refused { reason, .. } => Self::Refused { what, reason: reason.clone() },
            Self::Rejected { status, codes, reason, .. } => {
                Self::Rejected { what, status: *status, codes: codes.clone(), reason: reason.clone() }
            }
            Self::Unavailable { reason, retry_after, transient, .. } => {
                let (reason, retry_after, transient) = (reason.clone(), *retry_after, *transient);
                Self::Unavailable { what, reason, retry_after, transient }
            }
            Self::Io { path, source, .. } => {
                let system = source.raw_os_error().map(std::io::Error::from_raw_os_error);
                let source = system.unwrap_or_else(|| std::io::Error::new(source.kind(), source.to_string()));
                Self::Io { what, path: path.clone(), source }
            }
            Self::Cancelled { .. } => Self::Cancelled { what },
            Self::Shared(error) => Self::Shared(Arc::clone(error)),
        }
    }

    /// Whether the same request may succeed a little later. The one place that decides it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.root() {
            Self::Unavailable { transient, .. } => *transient,
            Self::RateLimited { quota, .. } => !quota,
            _ => false,
        }
    }

    /// Whether it is a [`Error::NotFound`].
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.root(), Self::NotFound { .. })
    }

    /// How long the other side asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.root() {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A malformed input.
    pub fn invalid(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Invalid { what: What::new(operation, object), reason: shown(&reason) }
    }

    /// Something that is not there.
    pub fn not_found(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::NotFound { what: What::new(operation, object), reason: shown(&reason) }
    }

    /// Something a rule of ours forbids.
    pub fn refused(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Refused { what: What::new(operation, object), reason: shown(&reason) }
    }

    /// A connection that failed or a body that ended early; another try may help.
    pub fn broken(operation: &'static str, object: impl fmt::Display, cause: &BoxError) -> Self {
        Self::Unavailable {
            what: What::new(operation, object),
            reason: shown(&chain(cause.as_ref())),
            retry_after: None,
            transient: true,
        }
    }

    /// A failed file operation; `object` is what the caller wanted, `path` what the system refused.
    pub fn io(
        operation: &'static str,
        object: impl fmt::Display,
        path: impl AsRef<Path>,
        source: std::io::Error,
    ) -> Self {
        Self::Io { what: What::new(operation, object), path: path.as_ref().to_owned(), source }
    }
}

impl From<Arc<Error>> for Error {
    fn from(error: Arc<Error>) -> Self {
        Self::Shared(error)
    }
}

/// An error and its causes in one line, each said once.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

/// Text of somebody else's as it may be shown: without what would steer a terminal or turn the direction of writing.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    if text.contains(steers) { text.chars().map(harmless).collect::<String>().into() } else { text.into() }
}

/// Control characters, and those that end a line or turn text about (UAX #9).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A reason may quote what somebody else has written.
fn shown(reason: &impl fmt::Display) -> String {
    printable(&reason.to_string()).into_owned()
}

fn detail(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_steer_no_terminal() {
        let written = "unknown variant `\u{1b}]0;x\u{7}\u{202e}`";
        let cause = BoxError::from(written);
        for error in [
            Error::invalid("read", "x", written),
            Error::not_found("read", "x", written),
            Error::refused("read", "x", written),
            Error::broken("read", "x", &cause),
        ] {
            let said = error.to_string();
            assert!(said.contains("`\u{fffd}]0;x\u{fffd}\u{fffd}`") && !said.contains(steers), "{said:?}");
        }
    }

    #[test]
    fn what_is_shown_steers_no_terminal() {
        assert_eq!(printable("\u{1b}[2Jx\r\ny\u{9b}\u{7f}"), "\u{fffd}[2Jx  y\u{fffd}\u{fffd}");
        for c in ['\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\0'] {
            assert_eq!(printable(&format!("a{c}b")), "a\u{fffd}b");
        }
        for text in ["", "plain", "größe 大 …"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }
}
