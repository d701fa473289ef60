//! What a job tells while it runs.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::error::Error;
use crate::ids::VertexName;

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// To which vertex; `None` for the job itself.
    pub vertex: Option<Arc<VertexName>>,
    /// What.
    pub what: What,
}

impl Event {
    /// An event: for those who test what shows them.
    #[must_use]
    pub fn new(at: SystemTime, vertex: Option<Arc<VertexName>>, what: What) -> Self {
        Self { at, vertex, what }
    }
}

/// What happened. In which order, [`Status`](crate::Status) says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// The op runs.
    Started,
    /// The op has returned and nothing came of it: it was told to stop, or an input was gone. It may be started again.
    Stopped,
    /// Its result came from a cache, or was not needed since something above it did.
    Cached,
    /// Its outputs are being prepared for those that have them as inputs: that is work of this vertex.
    Preparing,
    /// None of its outputs is being prepared any more.
    Prepared,
    /// It has a result.
    Completed,
    /// It failed. A vertex whose input failed tells nothing.
    Failed(Error),
    /// Its result was gone and is computed again, if somebody needs it.
    Lost(String),
    /// How far a part of its work is. Of each part a late reader sees the last state alone.
    Progress(Progress),
    /// Its op wrote something.
    Log(Log),
    /// Here its op wrote so many bytes that are not kept any more: told to readers that come late or fall behind.
    Dropped {
        /// How many.
        bytes: u64,
    },
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
