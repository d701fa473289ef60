//! What a build knows, in a form that can be given away: records, each with the ways that lead to it.
//!
//! ```text
//!   Job ── trace ─▶ edges of one moment ── web ─▶ nodes and links, those of the stores too
//!                        │                          │ order: which can be reached, cycles cut, one name each
//!                        └── results ───────────────┴─▶ ExportRecord …
//! ```
//!
//! A record is named by what any other solver computes, too: the op part of its keys, or the digest of a content. Names that
//! a store gives its keys stay inside. What holds for a session only never leaves, and neither does what can only be
//! reached by way of it.

mod gather;
mod order;
mod results;
mod walk;
mod web;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;

use crate::error::{Cause, Result};
use crate::ids::{Edge, VertexName};
use crate::job::Job;
use crate::key::{KeyId, Selector};
use crate::scheduler::Message;
use crate::store::ResultId;
use crate::value::Value;

/// Which results go into an exported cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportMode {
    /// That of the edge itself is made fit to be given away, and where it has none those of its inputs; of everything
    /// below, only what can be given away as it is.
    #[default]
    Min,
    /// Every result is made fit to be given away, also those that this build did not even load.
    Max,
    /// Only what can be given away as it is.
    RemoteOnly,
}

/// What an export takes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Which results.
    pub mode: ExportMode,
    /// Whether vertices without inputs have results in it: what they bring is to be had where they bring it from.
    pub roots: bool,
    /// Whether ways to the same keys are left out that the caches know but this build did not come by.
    pub ignore_backlinks: bool,
}

/// A cache that is to be given away.
#[non_exhaustive]
pub struct Exported<R: Value> {
    /// Inputs before those that have them. The same graph and the same caches make the same records in the same order.
    pub records: Vec<ExportRecord<R>>,
    /// Whatever is not in `records` though it was asked for. Its order follows from the graph.
    pub dropped: Vec<Dropped>,
    /// Imported caches that failed or were too slow, and what they said: ways that they alone know are missing.
    pub warnings: Vec<String>,
}

impl<R: Value> Exported<R> {
    /// Takes in what another export has, of another edge of the same job say. What both have is there twice; whoever writes
    /// records down knows equal ones by their digests and ways.
    pub fn join(&mut self, other: Self) {
        let before = self.records.len();
        self.records.extend(other.records.into_iter().map(|mut record| {
            record.inputs.iter_mut().flatten().for_each(|(_, below)| *below += before);
            record
        }));
        self.dropped.extend(other.dropped);
        self.warnings.extend(other.warnings);
    }
}

/// What is known under a name, and the ways there.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExportRecord<R: Value> {
    /// Which output of which op, without its inputs; or which content. Several records may have the same.
    pub digest: KeyId,
    /// For each input the ways, by the place of a record in the list: an earlier one. Empty for what has no inputs, and
    /// never empty for an input.
    pub inputs: Vec<Vec<(Option<Selector>, usize)>>,
    /// Forms of its result, with when that was computed; the best first.
    pub results: Vec<(SystemTime, R::Remote)>,
}

/// Something that an export had to leave out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dropped {
    /// The vertex that it is of.
    pub vertex: Arc<VertexName>,
    /// What the record is named by, if that is known.
    pub digest: Option<KeyId>,
    /// Why.
    pub reason: DropReason,
}

/// Why something was left out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DropReason {
    /// Its op holds for one session only. There is no record of it.
    Session,
    /// Its op did not say under which keys it is remembered. There is no record of it.
    Unnamed,
    /// No way to one of its inputs may leave, or leads anywhere. There is no record of it.
    Unreachable {
        /// The position of the input, from 0.
        input: usize,
        /// Whose output it is.
        below: Arc<VertexName>,
    },
    /// No cache has a result of it that can be given away. The record is there, without results.
    NoResult,
    /// A result could not be had. The record is there, with another result if there was one.
    Result {
        /// The cache that has it, or had it.
        source: Arc<str>,
        /// Its name there.
        result: ResultId,
        /// Whether it is gone for good; then it was dropped from its cache.
        gone: bool,
        /// What the cache said.
        cause: Cause,
    },
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.vertex, self.reason)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session => f.write_str("holds for this session only"),
            Self::Unnamed => f.write_str("its op has no cache map"),
            Self::Unreachable { input, below } => {
                write!(f, "input {input} ({below}) cannot be recognised elsewhere")
            }
            Self::NoResult => f.write_str("no cache has a result of it that can be given away"),
            Self::Result { source, result, cause, .. } => write!(f, "result {result} of {source}: {cause}"),
        }
    }
}

impl<R: Value> Job<R> {
    /// What was learned by building an edge, in a form that can be given away. The edge is built if it was not; nothing else
    /// is run. Results are looked for with the cache options of their own ancestors and of those of the edge.
    ///
    /// A result that cannot be had leaves its record without one, and is told of in [`Exported::dropped`].
    ///
    /// # Errors
    /// As for [`build`](Self::build); [`Error::Store`](crate::Error::Store) at stage [`Export`](crate::Stage::Export) if the solver's own cache
    /// fails.
    pub async fn export_cache(&self, edge: &Edge, options: ExportOptions) -> Result<Exported<R>> {
        self.build(edge).await?;
        self.export_learned(edge, options).await
    }

    /// What was learned of an edge so far, also by a build that failed: as [`export_cache`](Self::export_cache), but nothing
    /// is run. What was not computed has no result in it, and what was not looked at no record.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an edge that was never asked for;
    /// [`Error::Store`](crate::Error::Store) if the solver's own cache fails.
    pub async fn export_learned(&self, edge: &Edge, options: ExportOptions) -> Result<Exported<R>> {
        let (job, edge) = (self.id, edge.clone());
        let look = |reply: oneshot::Sender<_>| {
            Message::Look(Box::new(move |machine| {
                let _ = reply.send(machine.trace(job, &edge));
            }))
        };
        let trace = self.ask(look).await?;
        walk::Walk::new(trace, options, self.mailbox.clone()).run().await
    }
}
