//! What can go wrong, as outcomes a caller handles differently.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Edge, JobId, VertexName};
use crate::store::ResultId;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of somebody else's, shared by all who wait for the same thing.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// What the solver was doing with a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Asking the op for a cache map.
    CacheMap,
    /// Looking up keys and records.
    Lookup,
    /// Loading a record.
    Load,
    /// Preparing an input for use.
    Preprocess,
    /// Computing the key of an input's content.
    SlowDigest,
    /// Running the op.
    Exec,
    /// Remembering a result.
    Save,
    /// Giving a result away.
    Export,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CacheMap => "cache map",
            Self::Lookup => "cache look-up",
            Self::Load => "load",
            Self::Preprocess => "preprocess",
            Self::SlowDigest => "content key",
            Self::Exec => "exec",
            Self::Save => "save",
            Self::Export => "export",
        })
    }
}

/// An outcome that is not success. Every variant names operation, object and cause. It is shared by all who waited for
/// the same vertex; therefore it can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The vertices of a graph lead back to themselves. Mend the graph.
    #[error("graph: cycle: {}", arrows(.path))]
    Cycle {
        /// From a vertex over its inputs back to it; the first is repeated at the end.
        path: Vec<VertexName>,
    },
    /// A vertex has an input that the graph does not have. Mend the graph.
    #[error("{vertex}: input {input}: {missing}: not in the graph")]
    MissingInput {
        /// Whose input it is.
        vertex: VertexName,
        /// Its position, from 0.
        input: usize,
        /// What is not there.
        missing: Edge,
    },
    /// Two different vertices have the same digest, or what is asked for is not in the graph. Mend the graph.
    #[error("graph: {vertex}: {reason}")]
    Invalid {
        /// The vertex.
        vertex: String,
        /// What is wrong.
        reason: String,
    },
    /// The op, or what it brought to prepare its inputs, failed.
    #[error("{vertex}: {stage}: {cause}")]
    Op {
        /// The vertex.
        vertex: VertexName,
        /// What it was doing.
        stage: Stage,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// The op, or a store, panicked. The solver goes on.
    #[error("{vertex}: {stage}: panicked: {message}")]
    Panicked {
        /// The vertex.
        vertex: VertexName,
        /// What it was doing.
        stage: Stage,
        /// What the panic said.
        message: String,
    },
    /// It took longer than its vertex or the settings allow.
    #[error("{vertex}: {stage}: not done after {after:?}")]
    TimedOut {
        /// The vertex.
        vertex: VertexName,
        /// What it was doing.
        stage: Stage,
        /// How long it was given.
        after: Duration,
    },
    /// The op does not keep to what its trait promises: too few outputs, another number of inputs in its cache map.
    #[error("{vertex}: {stage}: {reason}")]
    Contract {
        /// The vertex.
        vertex: VertexName,
        /// What it was doing.
        stage: Stage,
        /// What it did.
        reason: String,
    },
    /// The cache failed where that cannot be taken for a miss.
    #[error("{vertex}: {stage}: cache {store}: {cause}")]
    Store {
        /// The vertex.
        vertex: VertexName,
        /// What the solver was doing.
        stage: Stage,
        /// Which cache.
        store: Arc<str>,
        /// Why it failed.
        #[source]
        cause: Cause,
    },
    /// What a vertex computed is gone, and there is no other way to have it again.
    #[error(
        "{vertex}: the result is gone, and computing it again does not bring it back: {}{cause}",
        listed(.tried)
    )]
    Lost {
        /// The vertex whose result it was.
        vertex: VertexName,
        /// What came to nothing before, oldest first: records that could not be loaded, and results that were lost.
        tried: Arc<[Tried]>,
        /// Who asked for the last result where.
        #[source]
        cause: Cause,
    },
    /// The job was cancelled or discarded while somebody waited for it.
    #[error("{job}: cancelled")]
    Cancelled {
        /// The job.
        job: JobId,
    },
    /// The solver does not know the job any more.
    #[error("{job}: unknown: discarded, or of another solver")]
    UnknownJob {
        /// The job.
        job: JobId,
    },
    /// The solver was closed.
    #[error("the solver is closed")]
    Closed,
    /// The solver would wait for ever: a bug of its own, told rather than hung upon.
    #[error("the solver cannot go on: {}", .waiting.join("; "))]
    Stalled {
        /// The edges that are asked for and that nothing is done about.
        waiting: Vec<String>,
    },
}

/// A way to have a result, and why it has come to nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Tried {
    /// A record could not be loaded, or what was loaded from it turned out to be gone.
    Record {
        /// The cache that has it.
        cache: Arc<str>,
        /// Which of its results it was.
        result: ResultId,
        /// Why it cannot be had.
        cause: Cause,
    },
    /// The op ran, and what it made turned out to be gone.
    Exec {
        /// Who asked for it where.
        cause: Cause,
    },
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { cache, result, cause } => write!(f, "cache {cache}: {result}: {cause}"),
            Self::Exec { cause } => write!(f, "{}: {cause}", Stage::Exec),
        }
    }
}

/// Each with a separator after it.
fn listed(tried: &[Tried]) -> String {
    tried.iter().map(|tried| format!("{tried}; ")).collect()
}

/// The way, or how it begins and ends if it is long.
fn arrows(vertices: &[VertexName]) -> String {
    const ENDS: usize = 10;
    let names = |vertices: &[VertexName]| {
        let names: Vec<_> = vertices.iter().map(VertexName::to_string).collect();
        names.join(" → ")
    };
    match vertices.len().checked_sub(2 * ENDS) {
        None | Some(0) => names(vertices),
        Some(more) => {
            let (first, last) = (&vertices[..ENDS], &vertices[ENDS + more..]);
            format!("{} → … {more} more … → {}", names(first), names(last))
        }
    }
}

/// Why an op, a preprocess or a slow digest did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// It failed, and so does everything that needs it.
    #[error(transparent)]
    Failed(Box<dyn StdError + Send + Sync>),
    /// The bytes of an input are gone. The solver has it made again and runs the op again. For a preprocess or a slow
    /// digest, which have one input, the position counts for nothing.
    #[error("input {input} is gone: {cause}")]
    InputLost {
        /// Its position, from 0.
        input: usize,
        /// Who was asked for it, and what they said.
        cause: Cause,
    },
    /// It stopped because it was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl OpError {
    /// A failure, whatever its type.
    pub fn failed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(cause.into())
    }

    /// An input whose bytes are gone.
    pub fn lost(input: usize, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::InputLost { input, cause: Cause::from(cause.into()) }
    }
}

/// Why a record could not be loaded. Either way the next record is tried, or the op run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The result is gone for good: the record is dropped from its store.
    #[error("gone: {0}")]
    Gone(Box<dyn StdError + Send + Sync>),
    /// It cannot be had now: the record is kept for others.
    #[error(transparent)]
    Failed(Box<dyn StdError + Send + Sync>),
}

impl LoadError {
    /// A result that is gone for good.
    pub fn gone(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Gone(cause.into())
    }

    /// A result that cannot be had now.
    pub fn failed(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Failed(cause.into())
    }
}

/// Why a store failed; only its own words are known.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<dyn StdError + Send + Sync>);

impl StoreError {
    /// A store's failure, whatever its type.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
