//! How a run ends: the one place that makes exit codes and hints of errors.

use std::process::ExitCode;

use lazyblob::cache;
use lazyblob::remote::Error;

/// What to do about a host that was spoken to in the clear.
const SPEAK_TLS: &str = "speak TLS to it with --tls HOST";

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The libraries say why.
    #[error(transparent)]
    Remote(#[from] Error),
    /// The cache says why.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The words of the command line do not fit together.
    #[error("{0}")]
    Usage(String),
    /// Something on this machine that is no library's business.
    #[error("{0}")]
    Local(String),
    /// Some items are done and others are not; each was named when it failed.
    #[error("{done} of {all} done")]
    Partly {
        /// Items complete.
        done: usize,
        /// Items in all.
        all: usize,
    },
    /// It is done as far as it could be.
    #[error("{0}")]
    Incomplete(String),
    /// Something is not what its digest or its record says.
    #[error("{0}")]
    Damaged(String),
    /// `--timeout` has passed.
    #[error("gave up after {0:.1} s (--timeout)")]
    TimedOut(f64),
    /// SIGINT or SIGTERM; the signal's number.
    #[error("interrupted")]
    Interrupted(u8),
    /// Nobody reads standard output any more.
    #[error("standard output is closed")]
    ClosedPipe,
}

impl Failure {
    /// The exit code of design §5.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Remote(error) => remote_code(error),
            Self::Cache(error) => cache_code(error),
            Self::Usage(_) => 2,
            Self::Local(_) | Self::TimedOut(_) => 1,
            Self::Partly { .. } | Self::Incomplete(_) => 7,
            Self::Damaged(_) => 6,
            Self::Interrupted(signal) => 128 + signal,
            Self::ClosedPipe => 0,
        })
    }

    /// What to do about it, where there is something.
    pub(crate) fn hint(&self) -> Option<String> {
        let error = match self {
            Self::Remote(error) => error,
            Self::Cache(error) => match error.root() {
                cache::Error::Remote(error) => error,
                _ => return None,
            },
            _ => return None,
        };
        match error.root() {
            Error::RateLimited { quota: true, .. } => {
                Some("a quota is used up: log in, wait, or use a mirror (--hosts-dir)".to_owned())
            }
            Error::RateLimited { retry_after: Some(wait), .. } => {
                Some(format!("the host asks to wait {} s; a smaller --concurrency may help", wait.as_secs()))
            }
            Error::Rejected { codes, .. } if codes.iter().any(|code| code == "MANIFEST_BLOB_UNKNOWN") => {
                Some(
                    "a registry that takes no cache in index form takes it with --cache-form manifest"
                        .to_owned(),
                )
            }
            Error::Unavailable { reason, .. } if reason.contains("does not speak TLS") => {
                Some("speak plain HTTP to it with --plain-http HOST".to_owned())
            }
            Error::Unavailable { reason, .. } if reason.contains("does not speak plain HTTP") => {
                Some(SPEAK_TLS.to_owned())
            }
            // Servers in Go and nginx say it in words.
            Error::Rejected { status: 400, reason, .. } if reason.contains("HTTPS") => {
                Some(SPEAK_TLS.to_owned())
            }
            Error::Unavailable { reason, .. } if reason.contains("UnknownIssuer") => {
                Some("trust its authority with --ca FILE".to_owned())
            }
            _ => None,
        }
    }
}

fn cache_code(error: &cache::Error) -> u8 {
    match error.root() {
        cache::Error::Remote(error) => remote_code(error),
        // What is gone for good is found no more than what never was.
        cache::Error::NotFound { .. }
        | cache::Error::NeedsRemoteProviders { .. }
        | cache::Error::Lost { .. } => 4,
        cache::Error::Integrity { .. } => 6,
        _ => 1,
    }
}

fn remote_code(error: &Error) -> u8 {
    match error.root() {
        Error::Unauthorized { .. } => 3,
        Error::NotFound { .. } => 4,
        Error::RateLimited { .. } => 5,
        Error::Integrity { .. } => 6,
        _ => 1,
    }
}
