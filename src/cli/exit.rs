//! How a run ends: the one place that makes exit codes and hints of errors.

use std::path::Path;
use std::process::ExitCode;

use lazyblob::cache;
use lazyblob::remote::{Error, Mismatch};
use lazyblob::{solver, worker};

/// What to do about a host that was spoken to in the clear.
const SPEAK_TLS: &str = "speak TLS to it with --tls HOST";

/// What to do about damage in the cache.
pub(crate) const REPAIR: &str = "the cache is damaged: `lazyblob verify --repair` mends what can be mended";

/// What to do about a layer that cannot be unpacked.
const TELL_APART: &str = "the image is malformed, or the cache is damaged: `lazyblob verify` says which, and mends it with --repair";

/// What the cache says of a blob that is nowhere any more.
const NOWHERE: &str = "nothing is known of where it was";

/// What to do about what was in the cache and is nowhere any more.
const AGAIN: &str = "`lazyblob verify` says what is missing; pull or copy the image into the cache again";

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The libraries say why.
    #[error(transparent)]
    Remote(#[from] Error),
    /// The cache says why.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The build engine says why.
    #[error("{}", of_build(.0))]
    Worker(#[from] worker::Error),
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
            Self::Worker(error) => worker_code(error),
            Self::Usage(_) => 2,
            Self::Local(_) | Self::TimedOut(_) => 1,
            Self::Partly { .. } | Self::Incomplete(_) => 7,
            Self::Damaged(_) => 6,
            Self::Interrupted(signal) => 128 + signal,
            Self::ClosedPipe => 0,
        })
    }

    /// What to do about it, where there is something. `store` is where the blobs of the cache are, if it was opened.
    pub(crate) fn hint(&self, store: Option<&Path>) -> Option<String> {
        let error = match self {
            Self::Remote(error) => error,
            Self::Cache(error) => match error.root() {
                cache::Error::Remote(error) => error,
                error => return cache_hint(error),
            },
            Self::Worker(error) => match cause(error) {
                Some(Cause::Remote(error)) => error,
                Some(Cause::Cache(error)) => return cache_hint(error.root()),
                None => return None,
            },
            _ => return None,
        };
        let is_integrity = matches!(error.root(), Error::Integrity { .. });
        if is_integrity && store.is_some_and(|store| error.to_string().contains(&*store.to_string_lossy())) {
            return Some(REPAIR.to_owned());
        }
        match error.root() {
            Error::NotFound { reason, .. } if reason.contains(NOWHERE) => Some(AGAIN.to_owned()),
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

fn cache_hint(error: &cache::Error) -> Option<String> {
    match error {
        // A layer that comes from elsewhere was held against its digest on the way.
        cache::Error::Integrity { mismatch: Mismatch::DiffId { .. }, .. } => Some(TELL_APART.to_owned()),
        cache::Error::Invalid { what, .. } if what.operation == "unpack layer" => Some(TELL_APART.to_owned()),
        cache::Error::Integrity { .. } => Some(REPAIR.to_owned()),
        cache::Error::Lost { .. } => Some(AGAIN.to_owned()),
        cache::Error::NotFound { reason, .. } if reason.contains(NOWHERE) => Some(AGAIN.to_owned()),
        _ => None,
    }
}

/// Why a build failed. Whoever reads it knows a vertex by its name, not by its digest or by what the solver was doing.
fn of_build(error: &worker::Error) -> String {
    let worker::Error::Solver(solver::Error::Op { vertex, cause, .. }) = error else {
        return error.to_string();
    };
    let mut reason = cause.to_string();
    // The vertex is called like its command, or better.
    if let Some(worker::Error::Exited { .. }) = cause.downcast_ref()
        && let Some((_command, how)) = reason.rsplit_once("`: ")
    {
        reason = how.to_owned();
    }
    format!("{}: {reason}", vertex.name)
}

/// What is behind an error of a build that has a code of its own.
enum Cause<'a> {
    Remote(&'a Error),
    Cache(&'a cache::Error),
}

fn cause(error: &worker::Error) -> Option<Cause<'_>> {
    match error {
        worker::Error::Remote(error) => Some(Cause::Remote(error)),
        worker::Error::Cache(error) => match error.root() {
            cache::Error::Remote(error) => Some(Cause::Remote(error)),
            error => Some(Cause::Cache(error)),
        },
        worker::Error::Solver(
            solver::Error::Op { cause, .. }
            | solver::Error::Store { cause, .. }
            | solver::Error::Lost { cause, .. },
        ) => told(&**cause),
        _ => None,
    }
}

fn told<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<Cause<'a>> {
    if let Some(error) = cause.downcast_ref::<worker::Error>() {
        return self::cause(error);
    }
    if let Some(error) = cause.downcast_ref::<cache::Error>() {
        return Some(match error.root() {
            cache::Error::Remote(error) => Cause::Remote(error),
            error => Cause::Cache(error),
        });
    }
    cause.downcast_ref::<Error>().map(Cause::Remote)
}

fn worker_code(error: &worker::Error) -> u8 {
    match (error, cause(error)) {
        // The definition is an argument like any other.
        (worker::Error::Spec { .. }, _) => 2,
        (_, Some(Cause::Remote(error))) => remote_code(error),
        (_, Some(Cause::Cache(error))) => cache_code(error),
        (_, None) => 1,
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
