//! Work as futures: of ops in the context of their vertex, of stores without one.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use smallvec::SmallVec;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::error::{LoadError, StoreError};
use crate::explain;
use crate::ids::VertexName;
use crate::machine::{Done, Failure, Place, TicketId, Work};
use crate::ops::{LoadCx, OpCx, Site};
use crate::scheduler::Scheduler;
use crate::scheduler::caught::{message, within};
use crate::scheduler::running::{Running, Timer};
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    CacheMap,
    Exec,
    Preprocess,
    SlowDigest,
    Load,
    Probe,
    Records,
    Save,
    Forget,
}

impl Kind {
    fn of<R: Value>(work: &Work<R>) -> Self {
        match work {
            Work::CacheMap { .. } => Self::CacheMap,
            Work::Exec { .. } => Self::Exec,
            Work::Preprocess { .. } => Self::Preprocess,
            Work::SlowDigest { .. } => Self::SlowDigest,
            Work::Load { .. } => Self::Load,
            Work::Probe { .. } => Self::Probe,
            Work::Records { .. } => Self::Records,
            Work::Save { .. } => Self::Save,
            Work::Forget { .. } => Self::Forget,
        }
    }

    /// The span of work for a vertex.
    fn span(self, vertex: &VertexName) -> tracing::Span {
        let VertexName { digest, name } = vertex;
        tracing::debug_span!("vertex", stage = ?self, %digest, %name)
    }

    /// Whether it is polled where it stands.
    fn is_store(self) -> bool {
        matches!(self, Self::Load) || self.is_patient()
    }

    /// Whether it is not given up on: stores that are not imported, and imported ones have a deadline of their own.
    fn is_patient(self) -> bool {
        matches!(self, Self::Probe | Self::Records | Self::Save | Self::Forget)
    }

    /// How work ends that failed.
    pub(super) fn failed<R: Value>(self, failure: Failure) -> Done<R> {
        let cause = match &failure {
            Failure::Said(said) => said.to_string(),
            Failure::Panicked(message) => format!("panicked: {message}"),
            Failure::TimedOut(after) => format!("not done {after:?} after it was told to stop"),
        };
        match self {
            Self::CacheMap => Done::CacheMap(Err(failure)),
            Self::Exec => Done::Exec(Err(failure)),
            Self::Preprocess => Done::Preprocess(Err(failure)),
            Self::SlowDigest => Done::SlowDigest(Err(failure)),
            Self::Load => Done::Load(Err(LoadError::failed(cause))),
            Self::Probe => Done::Probe(Err(StoreError::new(cause))),
            Self::Records => Done::Records(Err(StoreError::new(cause))),
            Self::Save => Done::Save(Err(StoreError::new(cause))),
            Self::Forget => Done::Forget(Err(StoreError::new(cause))),
        }
    }

    /// How work ends that did not, if it is given up on.
    pub(super) fn abandoned<R: Value>(self, after: Duration) -> Option<Done<R>> {
        (!self.is_patient()).then(|| self.failed(Failure::TimedOut(after)))
    }

    /// How work ends that ended too late.
    pub(super) fn given_up<R: Value>(self, after: Duration, done: Done<R>) -> Done<R> {
        self.abandoned(after).unwrap_or(done)
    }
}

impl<R: Value> Scheduler<R> {
    pub(super) fn begin(&mut self, ticket: TicketId, place: Option<Place>, work: Work<R>) {
        let cancel = CancellationToken::new();
        let kind = Kind::of(&work);
        let deadline = match &work {
            Work::CacheMap { deadline, .. }
            | Work::Exec { deadline, .. }
            | Work::Preprocess { deadline, .. }
            | Work::SlowDigest { deadline, .. } => deadline.or(self.settings.deadline),
            _ => None,
        };
        let mut done = match (place, self.mailbox()) {
            (Some(place), Some(mailbox)) => {
                let load = LoadCx::new(Arc::new(mailbox.clone()), &[place.site], cancel.clone(), place.feed);
                let span = kind.span(&place.name);
                caught(kind, self.in_place(OpCx::new(load, mailbox), place.site, work).instrument(span))
            }
            _ => caught(kind, self.in_store(work)),
        };
        if kind.is_store() {
            let mut now = Context::from_waker(Waker::noop());
            if let Poll::Ready(done) = done.as_mut().poll(&mut now) {
                self.ended.push((ticket, done));
                return;
            }
        }
        let mut timers = SmallVec::new();
        if let Some(deadline) = deadline {
            let at = Instant::now() + deadline;
            timers.push(at);
            self.timers.insert((at, ticket), Timer::Deadline(deadline));
        }
        let task = self.work.spawn(async move { (ticket, done.await) }).id();
        self.running.insert(ticket, Running { cancel, kind, task, overdue: None, timers });
    }

    /// Work of a store that needs no context.
    fn in_store(&self, work: Work<R>) -> Ending<R> {
        let (patience, closed) = (self.settings.source_deadline, self.closed.clone());
        match work {
            Work::Probe { source, from, link, local } => Box::pin(async move {
                let asked = source.targets(&from, &link);
                Done::Probe(if local {
                    asked.await
                } else {
                    within(patience, &closed, asked).await.flatten()
                })
            }),
            Work::Records { source, keys, local } => Box::pin(async move {
                let asked = async {
                    let mut records = Vec::new();
                    for key in keys {
                        records.extend(source.records(key).await?);
                    }
                    Ok(records)
                };
                Done::Records(if local {
                    asked.await
                } else {
                    within(patience, &closed, asked).await.flatten()
                })
            }),
            Work::Save { links, keys, result, created_at } => {
                let cache = Arc::clone(&self.cache);
                Box::pin(
                    async move { Done::Save(cache.save(links, &keys, result.as_ref(), created_at).await) },
                )
            }
            Work::Forget { source, results, local } => Box::pin(async move {
                let asked = source.forget(&results);
                Done::Forget(if local {
                    asked.await
                } else {
                    within(patience, &closed, asked).await.flatten()
                })
            }),
            // Nobody is left to ask, so nothing is run for them.
            work => {
                let done = Kind::of(&work).abandoned(Duration::ZERO);
                Box::pin(async move { done.unwrap_or(Done::Forget(Ok(()))) })
            }
        }
    }

    /// Work in the context of a vertex.
    fn in_place(&self, cx: OpCx<R>, site: Site, work: Work<R>) -> Ending<R> {
        match work {
            Work::CacheMap { op, index, .. } => {
                Box::pin(async move { Done::CacheMap(op.cache_map(&cx, index).await.map_err(Failure::Said)) })
            }
            Work::Exec { op, inputs, question, .. } => {
                let keys = Arc::clone(self.cache.keys());
                Box::pin(async move {
                    if let Some(question) = question {
                        let why = explain::answer(keys.as_ref(), *question).await;
                        cx.explained(site, why);
                    }
                    Done::Exec(op.exec(&cx, inputs).await.map_err(Failure::Said))
                })
            }
            Work::Preprocess { what, input, .. } => Box::pin(async move {
                Done::Preprocess(what.preprocess(&cx, &input).await.map_err(Failure::Said))
            }),
            Work::SlowDigest { what, input, .. } => Box::pin(async move {
                Done::SlowDigest(what.slow_digest(&cx, &input).await.map_err(Failure::Said))
            }),
            Work::Load { source, record, local } => {
                let (patience, closed) = (self.settings.source_deadline, self.closed.clone());
                Box::pin(async move {
                    let loads = source.load(&cx, &record);
                    if local {
                        return Done::Load(loads.await);
                    }
                    let loaded = within(patience, &closed, loads).await;
                    Done::Load(loaded.unwrap_or_else(|late| {
                        cx.cancellation().cancel();
                        Err(LoadError::failed(late))
                    }))
                })
            }
            work => self.in_store(work),
        }
    }
}

/// Work as it ends.
type Ending<R> = Pin<Box<dyn Future<Output = Done<R>> + Send>>;

/// Work as it ends, be it in a panic. All code of others is called within it: it may panic before there is a future.
fn caught<R: Value>(kind: Kind, work: impl Future<Output = Done<R>> + Send + 'static) -> Ending<R> {
    let ends = AssertUnwindSafe(work).catch_unwind();
    Box::pin(
        ends.map(move |end| end.unwrap_or_else(|panic| kind.failed(Failure::Panicked(message(&*panic))))),
    )
}
