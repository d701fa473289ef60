//! One closure's run, and who hears of its end.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tracing::{Instrument, Span};

use crate::error::{Error, Failure};
use crate::progress::Item;
use crate::table::{Cohort, Ticket};
use crate::work::{Context, Work};

/// A closure about to run, on behalf of the caller that brought it and of all present.
pub(crate) struct Leg<T, E, P: Item> {
    pub(crate) ticket: Ticket,
    pub(crate) work: Work<T, E, P>,
    pub(crate) context: Context<P>,
    pub(crate) span: Span,
}

/// How a leg ended.
pub(crate) enum Outcome<T, E> {
    /// For all present: the generation is over.
    Common(Result<T, Common<E>>),
    /// For the caller of this leg alone: the next one's turn has come.
    Personal(E),
}

/// An error that many can hold.
pub(crate) enum Common<E> {
    Failed(Arc<E>),
    Panicked(Arc<str>),
}

impl<T, E, P: Item> Leg<T, E, P> {
    /// Runs the closure to its end. The future, with all it owns, is gone when this returns: what the work held is
    /// free before anybody is told.
    pub(crate) async fn fly(self) -> (Ticket, Outcome<T, E>) {
        let Self { ticket, work, context, span } = self;
        // The closure runs inside the future, so that its own panic is caught and traced as well.
        let flight = async move { work(context).await }.instrument(span);
        // A panicked future is dropped and never polled again; what it shared with others is the work's own affair.
        let outcome = match AssertUnwindSafe(flight).catch_unwind().await {
            Ok(Ok(value)) => Outcome::Common(Ok(value)),
            Ok(Err(Failure::Shared(error))) => Outcome::Common(Err(Common::Failed(Arc::new(error)))),
            Ok(Err(Failure::Personal(error))) => Outcome::Personal(error),
            Err(panic) => Outcome::Common(Err(Common::Panicked(message(&*panic)))),
        };
        (ticket, outcome)
    }
}

impl<T: Clone, E> Outcome<T, E> {
    /// Tells those whom the table chose for it. A waiter that left in this moment hears nothing.
    pub(crate) fn tell<P: Item>(self, served: Cohort<T, E, P>) {
        let mut replies = served.into_values().map(|waiter| waiter.reply);
        match self {
            Self::Personal(error) => {
                if let Some(reply) = replies.next() {
                    let _ = reply.send(Err(Error::Personal(error)));
                }
            }
            Self::Common(result) => {
                for reply in replies {
                    let _ = reply.send(match &result {
                        Ok(value) => Ok(value.clone()),
                        Err(Common::Failed(error)) => Err(Error::Failed(Arc::clone(error))),
                        Err(Common::Panicked(message)) => Err(Error::Panicked(Arc::clone(message))),
                    });
                }
            }
        }
    }
}

/// What a panic said: `panic!` carries a `&str` or a `String`, `panic_any` whatever it likes.
fn message(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").into()
}
