//! Builds that share a lifetime.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Cause, Error, OpError, Result, Stage};
use crate::explain::Why;
use crate::graph::{Graph, GraphView};
use crate::ids::{Edge, JobId, SessionId, VertexName};
use crate::ops::LoadCx;
use crate::scheduler::{Mailbox, Message};
use crate::status::{Journal, Status};
use crate::store::CacheSource;
use crate::value::Value;

/// What a job is made of.
pub struct JobOptions<R: Value> {
    /// Who asks.
    pub session: Option<SessionId>,
    /// Caches to look in besides the solver's own. The solver's own comes first where both have a result.
    pub sources: Vec<Arc<dyn CacheSource<R>>>,
    /// Whether it is written down why each vertex that ran was not found in the cache ([`Job::why`]). It costs look-ups in
    /// the solver's own cache before each op that runs.
    pub explain: bool,
}

impl<R: Value> Default for JobOptions<R> {
    fn default() -> Self {
        Self { session: None, sources: Vec::new(), explain: false }
    }
}

/// A job: it holds the vertices of the graphs it was given until it is discarded.
///
/// Dropping it discards it; work that nobody else wants is cancelled and awaited by the solver, not here.
#[must_use = "a job that is dropped is discarded"]
pub struct Job<R: Value> {
    pub(crate) id: JobId,
    pub(crate) mailbox: Mailbox<R>,
    pub(crate) journal: Arc<Journal>,
}

/// A result of a build.
#[derive(Clone)]
pub struct Built<R: Value> {
    /// The result.
    pub result: R,
    /// The vertex that computed it, or whose record it is.
    pub vertex: Arc<VertexName>,
    /// Whether it came from a cache.
    pub cached: bool,
    /// The job it was built for.
    pub(crate) job: JobId,
    pub(crate) edge: Edge,
    /// Which of the results that this edge had, one after the other.
    pub(crate) generation: u32,
    pub(crate) cx: LoadCx,
}

impl<R: Value> Built<R> {
    /// The context of its vertex: what the result lacks is found with it, as long as the job is there.
    #[must_use]
    pub fn cx(&self) -> &LoadCx {
        &self.cx
    }

    /// The edge it was asked for as.
    #[must_use]
    pub fn edge(&self) -> &Edge {
        &self.edge
    }
}

impl<R: Value> Job<R> {
    /// What other calls name it by.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Adds the vertices of a graph to the job. Those that are active already are shared.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::Closed`].
    pub async fn load(&self, graph: Graph<R>) -> Result<()> {
        self.ask(|reply| Message::Load { job: self.id, graph, reply }).await
    }

    /// Builds an edge of what was loaded. Dropping the future withdraws the interest in it.
    ///
    /// # Errors
    /// What kept its vertex, or one below it, from having a result; [`Error::Invalid`] if it was not loaded.
    pub async fn build(&self, edge: &Edge) -> Result<Built<R>> {
        let (job, edge) = (self.id, edge.clone());
        self.mailbox.build(|request, reply| Message::Build { job, edge, request, reply }).await
    }

    /// Builds an edge and gives its result to `export`. If that says [`OpError::InputLost`], the result is made again
    /// and given to it again. The job stays open meanwhile.
    ///
    /// # Errors
    /// As for [`build`](Self::build); [`Error::Op`] at stage [`Export`](Stage::Export) for what `export` fails with;
    /// [`Error::Lost`] if the result cannot be had again.
    pub async fn export<T, F>(&self, edge: &Edge, mut export: impl FnMut(Built<R>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, OpError>>,
    {
        loop {
            let built = self.build(edge).await?;
            match export(built.clone()).await {
                Ok(done) => return Ok(done),
                Err(OpError::InputLost { cause, .. }) => self.lost(&built, cause).await?,
                Err(OpError::Cancelled) => return Err(Error::Cancelled { job: self.id }),
                Err(OpError::Failed(cause)) => {
                    let vertex = VertexName::clone(&built.vertex);
                    return Err(Error::Op { vertex, stage: Stage::Export, cause: cause.into() });
                }
            }
        }
    }

    /// Says that the bytes of a result turned out to be gone: its record is dropped, and the next build of the edge makes
    /// it again. A result that was made again meanwhile is left alone.
    ///
    /// # Errors
    /// [`Error::Lost`] if there is no other way to have it.
    pub async fn lost(&self, built: &Built<R>, cause: Cause) -> Result<()> {
        let (edge, generation) = (built.edge.clone(), built.generation);
        self.ask(|reply| Message::Lost { job: self.id, edge, generation, cause, reply }).await
    }

    /// Why the vertices that ran were not found in the cache, in the order in which they began: those of builds within
    /// them, and those that another job began while this one had them, included. Nothing if the job was not opened to
    /// [explain](JobOptions::explain).
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn why(&self) -> Result<Vec<Why>> {
        let job = self.id;
        self.ask(|reply| {
            Message::Look(Box::new(move |machine| {
                let _ = reply.send(machine.whys(job));
            }))
        })
        .await
    }

    /// What there is of the job at this moment, to be looked at: its vertices, those that stand for them, and what is built
    /// within them.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], [`Error::Closed`].
    pub async fn graph(&self) -> Result<GraphView> {
        let job = self.id;
        self.ask(|reply| {
            Message::Look(Box::new(move |machine| {
                let _ = reply.send(machine.view(job));
            }))
        })
        .await
    }

    /// What the job tells, from its beginning.
    pub fn status(&self) -> Status {
        Status::of(Arc::clone(&self.journal))
    }

    /// Lets go of everything. Work that nobody else wants is cancelled; the solver waits for it to return.
    pub fn discard(self) {
        drop(self);
    }

    pub(crate) async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T>>) -> Message<R>,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(message(reply));
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

impl<R: Value> Drop for Job<R> {
    fn drop(&mut self) {
        self.mailbox.send(Message::Discard { job: self.id });
    }
}
