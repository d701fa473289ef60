//! What can go wrong, as outcomes a caller handles differently.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use lazyblob_remote::What;
use lazyblob_solver::{OpError, VertexName};

use crate::llb::Fault;
use crate::session::Entitlement;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An outcome that is not success. Every variant names operation, object and cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a build definition: cut short, or something else altogether. Ask for it again.
    #[error("build definition: {what}: {reason}")]
    Malformed {
        /// Which part of it.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A build definition is larger than anything that is meant to be built ([`llb::limits`](crate::llb::limits)). Do not
    /// take it.
    #[error("build definition: {found} {what}, at most {limit} are taken")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much is taken.
        limit: usize,
        /// How much there is, or more.
        found: usize,
    },
    /// A vertex works on something that the definition does not have. It was put together wrongly.
    #[error("build definition: {vertex}: input {input}: {missing}: not in the definition")]
    MissingInput {
        /// Whose input it is.
        vertex: VertexName,
        /// Its position, from 0.
        input: usize,
        /// What is not there.
        missing: String,
    },
    /// A vertex contradicts itself. The definition was put together wrongly.
    #[error("build definition: {vertex}: {fault}")]
    Invalid {
        /// The vertex.
        vertex: VertexName,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A vertex asks for what this builder does not do. Another builder may.
    #[error("build definition: {vertex}: {what} are not supported")]
    Unsupported {
        /// The vertex.
        vertex: VertexName,
        /// What is not done, in the plural.
        what: String,
    },
    /// A user wrote what cannot be meant: where results or caches go, say. Write it otherwise.
    #[error("{what} `{spec}`: {reason}")]
    Spec {
        /// What it says: `output`, say.
        what: &'static str,
        /// What was written.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An op failed at what it does: the command, the files, the network. The cause says which.
    #[error("{what}: {reason}")]
    Failed {
        /// Operation and object.
        what: What,
        /// What went wrong.
        reason: String,
    },
    /// A command has run and did not succeed. It is for whoever wrote the build to look at what it said.
    #[error("run `{command}`: the command did not succeed: exit code {code}{}", signal(*.code))]
    Exited {
        /// The command as a shell takes it, with nothing expanded, cut short if it is very long.
        command: String,
        /// Its status; 128 and the signal's number if a signal ended it.
        code: u32,
    },
    /// Commands cannot be run here: the runtime is missing, died, or may not do what it needs.
    #[error("{what}: {reason}")]
    Executor {
        /// Operation and object.
        what: What,
        /// What is missing, and what to do about it.
        reason: String,
    },
    /// A build asks for something that its session does not allow. Allow it, or do not build it.
    #[error("{vertex}: {entitlement} is not allowed: add `--allow {entitlement}`")]
    NotAllowed {
        /// The vertex.
        vertex: VertexName,
        /// What it asks for.
        entitlement: Entitlement,
    },
    /// The caller withdrew.
    #[error("{what}: cancelled")]
    Cancelled {
        /// Operation and object.
        what: What,
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
    /// In the cache.
    #[error(transparent)]
    Cache(#[from] lazyblob_cache::Error),
    /// On the way to another place.
    #[error(transparent)]
    Remote(#[from] lazyblob_remote::Error),
    /// While the graph was solved.
    #[error(transparent)]
    Solver(#[from] lazyblob_solver::Error),
}

impl Error {
    /// Something that went wrong, in words.
    pub fn failed(operation: &'static str, object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Failed { what: What::new(operation, object), reason: reason.to_string() }
    }

    /// A file system that said no to `operation`.
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: What::new(operation, path.display()), path: path.to_owned(), source }
    }
}

/// What ended a command that did not end by itself.
fn signal(code: u32) -> String {
    match code.checked_sub(128) {
        Some(9) => " (killed by signal 9: the machine may be out of memory)".to_owned(),
        Some(signal @ 1..=64) => format!(" (ended by signal {signal})"),
        _ => String::new(),
    }
}

/// What an op says of an error of the cache about its input: bytes that nobody can bring any more are lost, and the solver
/// makes them again; anything else is a failure.
pub(crate) fn gone(input: usize, error: lazyblob_cache::Error) -> OpError {
    use lazyblob_cache::Error as Cache;
    match error.root() {
        Cache::Cancelled { .. } => OpError::Cancelled,
        Cache::NeedsRemoteProviders { .. } | Cache::Lost { .. } | Cache::Integrity { .. } => {
            OpError::lost(input, error)
        }
        _ if error.is_not_found() => OpError::lost(input, error),
        _ => OpError::failed(error),
    }
}
