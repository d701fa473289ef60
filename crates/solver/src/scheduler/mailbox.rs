//! The way to the scheduler, and what it is told from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, Error, Result};
use crate::explain::Why;
use crate::graph::Graph;
use crate::ids::{Edge, JobId, SessionId};
use crate::job::{Built, JobOptions};
use crate::machine::{Machine, RequestId};
use crate::ops::{Asks, Site, Wanted};
use crate::status::Journal;
use crate::value::Value;

/// A look at the machine.
type Look<R> = Box<dyn FnOnce(&Machine<R>) + Send>;

/// What the scheduler is told from outside.
pub(crate) enum Message<R: Value> {
    Open {
        options: JobOptions<R>,
        journal: Arc<Journal>,
        reply: oneshot::Sender<JobId>,
    },
    Load {
        job: JobId,
        graph: Graph<R>,
        reply: oneshot::Sender<Result<()>>,
    },
    Build {
        job: JobId,
        edge: Edge,
        request: RequestId,
        reply: oneshot::Sender<Result<Built<R>>>,
    },
    SubBuild {
        site: Site,
        graph: Graph<R>,
        edge: Edge,
        request: RequestId,
        /// That of the work it is built within.
        cancel: CancellationToken,
        reply: oneshot::Sender<Result<Built<R>>>,
    },
    Withdraw {
        request: RequestId,
    },
    Lost {
        job: JobId,
        edge: Edge,
        generation: u32,
        cause: Cause,
        reply: oneshot::Sender<Result<()>>,
    },
    Journal {
        job: JobId,
        reply: oneshot::Sender<Result<Arc<Journal>>>,
    },
    Find {
        sites: Vec<Site>,
        above: bool,
        wanted: Wanted,
        reply: oneshot::Sender<Wanted>,
    },
    Sessions {
        site: Site,
        reply: oneshot::Sender<Vec<SessionId>>,
    },
    Explained {
        site: Site,
        why: Why,
    },
    /// Anything that only looks at, or is answered by, the machine.
    Look(Look<R>),
    Discard {
        job: JobId,
    },
    Close,
}

/// The way to the scheduler.
pub(crate) struct Mailbox<R: Value> {
    pub(super) sender: mpsc::UnboundedSender<Message<R>>,
    pub(super) requests: Arc<AtomicU64>,
}

impl<R: Value> Clone for Mailbox<R> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), requests: Arc::clone(&self.requests) }
    }
}

impl<R: Value> Mailbox<R> {
    /// Sends a message. To a scheduler that has ended it is lost, and so is the way to answer it: whoever waits learns that.
    pub(crate) fn send(&self, message: Message<R>) {
        let _ = self.sender.send(message);
    }

    /// Asks for a result; dropping the future withdraws the question.
    pub(crate) async fn build(
        &self,
        message: impl FnOnce(RequestId, oneshot::Sender<Result<Built<R>>>) -> Message<R>,
    ) -> Result<Built<R>> {
        let request = RequestId(self.requests.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.send(message(request, reply));
        let mut asking = Asking { mailbox: self, request, answered: false };
        let answer = answer.await;
        asking.answered = true;
        answer.unwrap_or(Err(Error::Closed))
    }
}

/// A question that is withdrawn if it is dropped before it was answered.
struct Asking<'a, R: Value> {
    mailbox: &'a Mailbox<R>,
    request: RequestId,
    answered: bool,
}

impl<R: Value> Drop for Asking<'_, R> {
    fn drop(&mut self) {
        if !self.answered {
            self.mailbox.send(Message::Withdraw { request: self.request });
        }
    }
}

impl<R: Value> Asks for Mailbox<R> {
    fn find(&self, sites: &[Site], above: bool, wanted: Wanted, reply: oneshot::Sender<Wanted>) {
        self.send(Message::Find { sites: sites.to_vec(), above, wanted, reply });
    }

    fn sessions(&self, site: Site, reply: oneshot::Sender<Vec<SessionId>>) {
        self.send(Message::Sessions { site, reply });
    }
}
