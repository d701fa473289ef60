//! What a job tells while it runs.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::error::Error;
use crate::ids::VertexName;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// To which vertex; `None` for the job itself.
    pub vertex: Option<Arc<VertexName>>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// The op runs, or a record of it is being loaded.
    Started,
    /// Its result came from a cache, or was not needed since something above it did.
    Cached,
    /// An input of somebody's is being prepared; it is work of this vertex, whose output it is.
    Preparing,
    /// The preparation ended.
    Prepared,
    /// It has a result.
    Completed,
    /// It failed. A vertex whose input failed tells nothing.
    Failed(Error),
    /// Its result was gone and is computed again.
    Lost(String),
    /// How far a part of its work is. Of each part a late reader sees the last state alone.
    Progress(Progress),
    /// Its op wrote something.
    Log(Log),
    /// Something that does not keep the build from going on.
    Warning(String),
}

/// The state of a part of a vertex' work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which part: the digest of a layer, say. Unique within the vertex.
    pub id: Arc<str>,
    /// What is being done.
    pub action: Arc<str>,
    /// How far it is, in whatever unit the op counts, bytes as a rule.
    pub current: u64,
    /// How far it goes, if that is known.
    pub total: Option<u64>,
    /// Whether it is over.
    pub done: bool,
}

/// Bytes that an op wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// 1 for its standard output, 2 for its standard error.
    pub stream: u8,
    /// What it wrote: whole writes, not whole lines.
    pub data: Bytes,
}
