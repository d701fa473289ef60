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

use crate::error::LoadError;
use crate::explain::{self};
use crate::ids::VertexName;
use crate::machine::{Done, Failure, Place, TicketId, Work};
use crate::ops::{LoadCx, OpCx, Site};
use crate::scheduler::Scheduler;
use crate::scheduler::caught::{caught, message, said, within};
use crate::scheduler::running::{Running, Timer};
use crate::store::KeyStore;
use crate::value::Value;

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    CacheMap,
    Exec,
    Preprocess,
    SlowDigest,
    Load,
    /// Stores are not given up on.
    Store,
}

impl Kind {
    fn of<R: Value>(work: &Work<R>) -> Self {
        match work {
            Work::CacheMap { .. } => Self::CacheMap,
            Work::Exec { .. } => Self::Exec,
            Work::Preprocess { .. } => Self::Preprocess,
            Work::SlowDigest { .. } => Self::SlowDigest,
            Work::Load { .. } => Self::Load,
            Work::Probe { .. } | Work::Records { .. } | Work::Save { .. } | Work::Forget { .. } => {
                Self::Store
            }
        }
    }

    /// The span of work for a vertex.
    fn span(self, vertex: &VertexName) -> tracing::Span {
        let VertexName { digest, name } = vertex;
        tracing::debug_span!("vertex", stage = ?self, %digest, %name)
    }

    /// Whether it is polled where it stands.
    fn is_store(self) -> bool {
        matches!(self, Self::Store | Self::Load)
    }

    /// How work ends that did not.
    pub(super) fn abandoned<R: Value>(self, after: Duration) -> Option<Done<R>> {
        Some(match self {
            Self::CacheMap => Done::CacheMap(Err(Failure::TimedOut(after))),
            Self::Exec => Done::Exec(Err(Failure::TimedOut(after))),
            Self::Preprocess => Done::Preprocess(Err(Failure::TimedOut(after))),
            Self::SlowDigest => Done::SlowDigest(Err(Failure::TimedOut(after))),
            Self::Load => {
                Done::Load(Err(LoadError::failed(format!("not done {after:?} after it was told to stop"))))
            }
            Self::Store => return None,
        })
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
            Work::CacheMap { deadline, .. } | Work::Exec { deadline, .. } => {
                deadline.or(self.settings.deadline)
            }
            _ => None,
        };
        let mut done = match (place, self.mailbox()) {
            (Some(place), Some(mailbox)) => {
                let load = LoadCx::new(Arc::new(mailbox.clone()), &[place.site], cancel.clone(), place.feed);
                let keys = Arc::clone(self.cache.keys());
                let span = kind.span(&place.name);
                Box::pin(in_place(OpCx::new(load, mailbox), place.site, keys, work).instrument(span))
            }
            _ => self.in_store(work),
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
        self.running.insert(ticket, Running { cancel, kind, overdue: None, timers });
        self.work.spawn(async move { (ticket, done.await) });
    }

    /// Work of a store that needs no context.
    fn in_store(&self, work: Work<R>) -> Pin<Box<dyn Future<Output = Done<R>> + Send>> {
        let (patience, closed) = (self.settings.source_deadline, self.closed.clone());
        match work {
            Work::Probe { source, from, link, local } => Box::pin(async move {
                let asked = caught(source.targets(&from, &link));
                Done::Probe(if local { asked.await } else { within(patience, &closed, asked).await })
            }),
            Work::Records { source, keys, local } => Box::pin(async move {
                let asked = async {
                    let mut records = Vec::new();
                    for key in keys {
                        records.extend(caught(source.records(key)).await?);
                    }
                    Ok(records)
                };
                Done::Records(if local { asked.await } else { within(patience, &closed, asked).await })
            }),
            Work::Save { links, keys, result, created_at } => {
                let cache = Arc::clone(&self.cache);
                Box::pin(async move {
                    Done::Save(caught(cache.save(links, &keys, result.as_ref(), created_at)).await)
                })
            }
            Work::Forget { source, results } => {
                Box::pin(async move { Done::Forget(caught(source.forget(&results)).await) })
            }
            // Nobody is left to ask, so nothing is run for them.
            work => {
                let done = Kind::of(&work).abandoned(Duration::ZERO);
                Box::pin(async move { done.unwrap_or(Done::Forget(Ok(()))) })
            }
        }
    }
}

/// Work in the context of a vertex.
fn in_place<R: Value>(
    cx: OpCx<R>,
    site: Site,
    keys: Arc<dyn KeyStore>,
    work: Work<R>,
) -> Pin<Box<dyn Future<Output = Done<R>> + Send>> {
    match work {
        Work::CacheMap { op, index, .. } => {
            Box::pin(async move { Done::CacheMap(said(op.cache_map(&cx, index)).await) })
        }
        Work::Exec { op, inputs, question, .. } => Box::pin(async move {
            if let Some(question) = question {
                let why = explain::answer(keys.as_ref(), *question).await;
                cx.explained(site, why);
            }
            Done::Exec(said(op.exec(&cx, inputs)).await)
        }),
        Work::Preprocess { what, input } => {
            Box::pin(async move { Done::Preprocess(said(what.preprocess(&cx, &input)).await) })
        }
        Work::SlowDigest { what, input } => {
            Box::pin(async move { Done::SlowDigest(said(what.slow_digest(&cx, &input)).await) })
        }
        Work::Load { source, record } => {
            Box::pin(async move {
                let loaded = AssertUnwindSafe(source.load(&cx, &record)).catch_unwind().await;
                Done::Load(loaded.unwrap_or_else(|panic| {
                    Err(LoadError::failed(format!("panicked: {}", message(&*panic))))
                }))
            })
        }
        Work::Probe { .. } | Work::Records { .. } | Work::Save { .. } | Work::Forget { .. } => {
            Box::pin(std::future::ready(Done::Forget(Ok(()))))
        }
    }
}
