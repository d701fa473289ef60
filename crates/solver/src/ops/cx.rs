//! The context that ops, stores and exporters work in.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use oci_spec::image::Digest;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, Error, Result};
use crate::explain::Why;
use crate::graph::Graph;
use crate::ids::{Edge, SessionId};
use crate::job::Built;
use crate::ops::Wanted;
use crate::scheduler::{Mailbox, Message};
use crate::status::{Feed, Log, Progress, What};
use crate::value::Value;

/// A vertex of the active graph, for as long as it is there: places are used again, serials are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) node: petgraph::stable_graph::NodeIndex,
    pub(crate) serial: u64,
}

/// What a context asks of the scheduler, whatever the type of results.
pub(crate) trait Asks: Send + Sync {
    /// Looks for cache options from these sites on, in turn; `above` says whether their ancestors are asked, too.
    fn find(&self, sites: &[Site], above: bool, wanted: Wanted, reply: oneshot::Sender<Wanted>);
    /// Tells who has this vertex now.
    fn sessions(&self, site: Site, reply: oneshot::Sender<Vec<SessionId>>);
}

/// What is at hand while a result is loaded, an input prepared or a result given away.
#[derive(Clone)]
pub struct LoadCx {
    asks: Arc<dyn Asks>,
    sites: Arc<[Site]>,
    cancel: CancellationToken,
    feed: Arc<Feed>,
}

impl LoadCx {
    pub(crate) fn new(
        asks: Arc<dyn Asks>,
        sites: &[Site],
        cancel: CancellationToken,
        feed: Arc<Feed>,
    ) -> Self {
        Self { asks, sites: sites.into(), cancel, feed }
    }

    /// A context without a graph: nothing is found, nobody asks, what is told is told to nobody. For using a store without a
    /// solver.
    #[must_use]
    pub fn detached() -> Self {
        Self::new(Arc::new(Nobody), &[], CancellationToken::new(), Arc::new(Feed::new(0)))
    }

    /// Looks for cache options of type `T`, at this vertex and then over its ancestors, depth first and in the order of
    /// their inputs; on each path the nearest is asked first. Each vertex is visited once, those that failed are walked
    /// through but not asked, and the walk ends when there is nothing left to be found. What was not found is not in the
    /// answer.
    ///
    /// The answer is of one moment of the graph. Vertices that were merged because they are the same count as one: all of
    /// them are asked before the inputs of any.
    pub async fn find<T: Send + Sync + 'static>(&self, digests: &[Digest]) -> HashMap<Digest, Arc<T>> {
        self.look(digests, true).await
    }

    /// As [`find`](Self::find), at this vertex alone.
    pub async fn find_here<T: Send + Sync + 'static>(&self, digests: &[Digest]) -> HashMap<Digest, Arc<T>> {
        self.look(digests, false).await
    }

    async fn look<T: Send + Sync + 'static>(
        &self,
        digests: &[Digest],
        above: bool,
    ) -> HashMap<Digest, Arc<T>> {
        if digests.is_empty() {
            return HashMap::new();
        }
        let (reply, answer) = oneshot::channel();
        self.asks.find(&self.sites, above, Wanted::of::<T>(digests), reply);
        // A solver that has ended has no options.
        let Ok(wanted) = answer.await else { return HashMap::new() };
        wanted
            .into_found()
            .into_iter()
            .filter_map(|(digest, value)| Some((digest, value.downcast().ok()?)))
            .collect()
    }

    /// Who has this vertex now.
    #[must_use]
    pub fn sessions(&self) -> SessionGroup {
        SessionGroup { asks: Arc::clone(&self.asks), site: self.sites.first().copied() }
    }

    /// Cancelled when nobody wants the work any more. Work looks at it and returns.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Waits until nobody wants the work any more.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Tells how far a part of the work is.
    pub fn progress(&self, progress: Progress) {
        self.feed.tell(What::Progress(progress));
    }

    /// Hands on what the op wrote: `stream` is 1 for standard output and 2 for standard error.
    pub fn log(&self, stream: u8, data: Bytes) {
        self.feed.tell(What::Log(Log { stream, data }));
    }

    /// Tells of something that does not keep the build from going on.
    pub fn warn(&self, warning: impl Into<String>) {
        self.feed.tell(What::Warning(warning.into()));
    }
}

impl fmt::Debug for LoadCx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadCx").field("sites", &self.sites).finish_non_exhaustive()
    }
}

/// Asks nobody.
struct Nobody;

impl Asks for Nobody {
    fn find(&self, _: &[Site], _: bool, wanted: Wanted, reply: oneshot::Sender<Wanted>) {
        let _ = reply.send(wanted);
    }

    fn sessions(&self, _: Site, reply: oneshot::Sender<Vec<SessionId>>) {
        let _ = reply.send(Vec::new());
    }
}

/// The sessions of all jobs that share a vertex, as they are at the moment one asks: whoever reads bytes now does so with
/// the credentials of somebody who wants them now.
#[derive(Clone)]
pub struct SessionGroup {
    asks: Arc<dyn Asks>,
    site: Option<Site>,
}

impl SessionGroup {
    /// The sessions, in the order of their jobs, each once. Empty if nobody has the vertex any more.
    pub async fn current(&self) -> Vec<SessionId> {
        let Some(site) = self.site else { return Vec::new() };
        let (reply, answer) = oneshot::channel();
        self.asks.sessions(site, reply);
        answer.await.unwrap_or_default()
    }
}

impl fmt::Debug for SessionGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionGroup").field("site", &self.site).finish_non_exhaustive()
    }
}

/// What is at hand while an op runs: what is at hand for loading, and the solver itself for builds within the build.
#[derive(Clone)]
pub struct OpCx<R: Value> {
    load: LoadCx,
    mailbox: Option<Mailbox<R>>,
}

impl<R: Value> OpCx<R> {
    pub(crate) fn new(load: LoadCx, mailbox: Mailbox<R>) -> Self {
        Self { load, mailbox: Some(mailbox) }
    }

    /// A context without a solver ([`LoadCx::detached`]); builds within the build are refused.
    #[must_use]
    pub fn detached() -> Self {
        Self { load: LoadCx::detached(), mailbox: None }
    }

    /// Builds an edge of another graph as part of this vertex: it shares whatever is active, for the jobs and sessions
    /// that have this vertex, and stays as long as this vertex does.
    ///
    /// The op gives up its place among those of its [kind](crate::Op::kind) for as long as it waits for builds, and is told
    /// of the last of those it waits for when it has a place again. What it does beside a build that it waits for, or after
    /// it dropped the future of one, is not counted.
    ///
    /// # Errors
    /// As for a build of a job; [`Error::Cancelled`] as soon as nobody wants this vertex any more; [`Error::Cycle`] if the
    /// graph has this vertex, or another that waits for it; [`Error::Closed`] where there is no solver.
    pub async fn solve(&self, graph: Graph<R>, edge: &Edge) -> Result<Built<R>> {
        let (Some(mailbox), Some(site)) = (&self.mailbox, self.load.sites.first()) else {
            return Err(Error::Closed);
        };
        let (site, edge) = (*site, edge.clone());
        mailbox.build(|request, reply| Message::SubBuild { site, graph, edge, request, reply }).await
    }

    /// Says that the bytes of a result that was [built](Self::solve) within this vertex turned out to be gone, as
    /// [`Job::lost`](crate::Job::lost) does for a job: its record is dropped, and the next build of its edge makes it again.
    ///
    /// # Errors
    /// [`Error::Lost`] if there is no other way to have it; [`Error::UnknownJob`] if this vertex, and what was built
    /// within it, has gone; [`Error::Closed`] where there is no solver.
    pub async fn lost(&self, built: &Built<R>, cause: Cause) -> Result<()> {
        let Some(mailbox) = &self.mailbox else { return Err(Error::Closed) };
        let (job, edge, generation) = (built.job, built.edge.clone(), built.generation);
        let (reply, answer) = oneshot::channel();
        mailbox.send(Message::Lost { job, edge, generation, cause, reply });
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Takes down why this vertex was not found in the cache.
    pub(crate) fn explained(&self, site: Site, why: Why) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.send(Message::Explained { site, why });
        }
    }
}

impl<R: Value> Deref for OpCx<R> {
    type Target = LoadCx;

    fn deref(&self) -> &LoadCx {
        &self.load
    }
}
