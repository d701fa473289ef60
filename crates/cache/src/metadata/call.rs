//! What callers want done, on its way to the thread that does it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lazyblob_remote::What;
use tokio::sync::oneshot;

use super::guarded::said;
use super::{Read, Transaction};
use crate::error::{Error, Result};

/// What comes to the committer.
pub(super) enum Job {
    Read(Box<dyn Reader>),
    Write(Box<dyn Writer>),
    /// Answered before it is durable.
    Soon(Box<dyn Writer>),
    /// Make durable what is not, and say when it is so, or lost.
    Settle(oneshot::Sender<Result<()>>),
    /// What a batch of this number speaks of is synced, or could not be.
    Synced(u64),
    /// Do what came before, and end.
    Close,
}

/// Something all jobs have in common.
pub(super) trait Waiting: Send {
    /// Nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// It cannot be done.
    fn fail(self: Box<Self>, error: &Arc<Error>);
}

pub(super) trait Reader: Waiting {
    fn run(self: Box<Self>, state: &dyn Read);
}

pub(super) trait Writer: Waiting {
    /// Runs the closure. Only if `kept`, what it has changed counts.
    fn run(self: Box<Self>, transaction: &mut Transaction<'_>) -> Ran;
}

/// A closure that has run, and waits for the commit.
pub(super) struct Ran {
    pub(super) kept: bool,
    pub(super) answer: Box<dyn Answer>,
}

/// Says to the caller what came of it. Also an error of the closure's own waits for the commit: it may be due to changes
/// that are part of it.
pub(super) trait Answer: Send {
    fn committed(self: Box<Self>);
    fn failed(self: Box<Self>, error: &Arc<Error>);
}

/// A closure, and whom its outcome is for.
pub(super) struct Call<F, T> {
    pub(super) closure: F,
    pub(super) caller: oneshot::Sender<Result<T>>,
}

struct Outcome<T> {
    value: Result<T>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F: Send, T: Send> Waiting for Call<F, T> {
    fn is_abandoned(&self) -> bool {
        self.caller.is_closed()
    }

    fn fail(self: Box<Self>, error: &Arc<Error>) {
        // Whoever does not wait any more does not hear of it.
        let _ = self.caller.send(Err(Error::Shared(Arc::clone(error))));
    }
}

impl<F, T> Reader for Call<F, T>
where
    F: FnOnce(&dyn Read) -> Result<T> + Send,
    T: Send,
{
    fn run(self: Box<Self>, state: &dyn Read) {
        let Self { closure, caller } = *self;
        let value = caught(|| closure(state));
        let _ = caller.send(value);
    }
}

impl<F, T> Writer for Call<F, T>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T> + Send,
    T: Send + 'static,
{
    fn run(self: Box<Self>, transaction: &mut Transaction<'_>) -> Ran {
        let Self { closure, caller } = *self;
        let value = caught(|| closure(transaction));
        Ran { kept: value.is_ok(), answer: Box::new(Outcome { value, caller }) }
    }
}

impl<T: Send> Answer for Outcome<T> {
    fn committed(self: Box<Self>) {
        let _ = self.caller.send(self.value);
    }

    fn failed(self: Box<Self>, error: &Arc<Error>) {
        let value = self.value.and_then(|_| Err(Error::Shared(Arc::clone(error))));
        let _ = self.caller.send(value);
    }
}

/// A closure that panics fails alone.
fn caught<T>(closure: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(closure)).unwrap_or_else(|panic| {
        let reason = format!("the caller's closure panicked: {}", said(&*panic));
        Err(Error::Metadata { what: What::new("use", "the database"), reason })
    })
}
