//! What the machine says is to be done, and what it is told was done.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_spec::image::Digest;

use crate::error::{LoadError, OpError, Result, StoreError};
use crate::explain::Question;
use crate::ids::VertexName;
use crate::key::{KeyId, Link};
use crate::machine::requests::{Answer, RequestId};
use crate::machine::tickets::TicketId;
use crate::ops::{CacheMap, Op, Preprocess, Site, SlowDigest};
use crate::status::Feed;
use crate::store::{CacheSource, Record, ResultId, StoredResult};
use crate::value::Value;

/// Something to be done.
pub(crate) enum Action<R: Value> {
    /// Begin this work; its end is to be told with the ticket.
    Start {
        ticket: TicketId,
        /// The vertex in whose context it runs, if it needs one.
        place: Option<Place>,
        work: Work<R>,
    },
    /// Tell work that it is not wanted any more. Its end is to be told as ever.
    Cancel { ticket: TicketId },
    /// Tell somebody what they asked for.
    Answer { request: RequestId, answer: Result<Answer<R>> },
}

/// The context of a vertex.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) name: Arc<VertexName>,
    pub(crate) feed: Arc<Feed>,
}

/// Work that takes time.
pub(crate) enum Work<R: Value> {
    CacheMap {
        op: Arc<dyn Op<R>>,
        index: usize,
        deadline: Option<Duration>,
    },
    Exec {
        op: Arc<dyn Op<R>>,
        inputs: Vec<R>,
        deadline: Option<Duration>,
        question: Option<Box<Question>>,
    },
    Preprocess {
        what: Arc<dyn Preprocess<R>>,
        input: R,
    },
    SlowDigest {
        what: Arc<dyn SlowDigest<R>>,
        input: R,
    },
    Probe {
        source: Arc<dyn CacheSource<R>>,
        from: Vec<KeyId>,
        link: Link,
        local: bool,
    },
    Records {
        source: Arc<dyn CacheSource<R>>,
        keys: Vec<KeyId>,
        local: bool,
    },
    Load {
        source: Arc<dyn CacheSource<R>>,
        record: Record,
    },
    Save {
        links: Vec<(KeyId, Link, KeyId)>,
        keys: Vec<KeyId>,
        result: Option<R>,
        /// When it was computed, if another cache says so.
        created_at: Option<SystemTime>,
    },
    Forget {
        source: Arc<dyn CacheSource<R>>,
        results: Vec<ResultId>,
    },
}

/// Why an op did not succeed.
pub(crate) enum Failure {
    /// It said so.
    Said(OpError),
    Panicked(String),
    TimedOut(Duration),
}

/// Work that ended.
pub(crate) enum Done<R: Value> {
    CacheMap(Result<CacheMap<R>, Failure>),
    Exec(Result<Vec<R>, Failure>),
    Preprocess(Result<(), Failure>),
    SlowDigest(Result<Digest, Failure>),
    Probe(Result<Vec<KeyId>, StoreError>),
    Records(Result<Vec<Record>, StoreError>),
    Load(Result<R, LoadError>),
    Save(Result<Option<StoredResult>, StoreError>),
    Forget(Result<(), StoreError>),
}
