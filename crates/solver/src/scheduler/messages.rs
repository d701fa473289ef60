//! What is done about what the scheduler is told, and how it answers.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::ids::{Edge, JobId};
use crate::job::{Built, JobOptions};
use crate::machine::{Answer, RequestId};
use crate::ops::LoadCx;
use crate::scheduler::{Mailbox, Message, Scheduler};
use crate::status::Journal;
use crate::value::Value;

pub(super) enum Reply<R: Value> {
    Loaded(oneshot::Sender<Result<()>>),
    Built(Edge, oneshot::Sender<Result<Built<R>>>),
}

impl<R: Value> Scheduler<R> {
    pub(super) fn receive(&mut self, message: Message<R>) {
        match message {
            Message::Open { options, journal, reply } => {
                let JobOptions { session, sources, explain } = options;
                let job = self.machine.open(session, sources, explain, journal);
                if reply.send(job).is_err() {
                    self.machine.discard(job);
                }
            }
            Message::Load { job, graph, reply } => {
                let request = self.request(Reply::Loaded(reply));
                self.machine.load(job, graph, request);
            }
            Message::Build { job, edge, request, reply } => {
                self.replies.insert(request, Reply::Built(edge.clone(), reply));
                self.machine.build(job, &edge, request);
            }
            Message::SubBuild { site, graph, edge, request, reply } => {
                self.replies.insert(request, Reply::Built(edge.clone(), reply));
                self.machine.build_within(site, graph, &edge, request);
            }
            Message::Withdraw { request } => {
                self.replies.remove(&request);
                self.machine.withdraw(request, None);
            }
            Message::Lost { job, edge, generation, cause, reply } => {
                let _ = reply.send(self.machine.lost(job, &edge, generation, &cause));
            }
            Message::Journal { job, reply } => {
                let _ = reply.send(self.journal(job));
            }
            Message::Find { sites, above, mut wanted, reply } => {
                self.machine.find_options(&sites, above, &mut wanted);
                let _ = reply.send(wanted);
            }
            Message::Sessions { site, reply } => {
                let sessions =
                    if self.machine.is_there(site) { self.machine.sessions(site.node) } else { Vec::new() };
                let _ = reply.send(sessions);
            }
            Message::Explained { site, why } => self.machine.explained(site, &why),
            Message::Look(look) => look(&self.machine),
            Message::Discard { job } => self.discard(job),
            Message::Close => self.close(),
        }
    }

    fn request(&mut self, reply: Reply<R>) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.replies.insert(request, reply);
        request
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Result<Answer<R>>) {
        match (self.replies.remove(&request), answer) {
            (Some(Reply::Loaded(reply)), answer) => {
                let _ = reply.send(answer.map(|_| ()));
            }
            (
                Some(Reply::Built(edge, reply)),
                Ok(Answer::Built { result, job, vertex, cached, generation, place }),
            ) => {
                let Some(mailbox) = self.mailbox() else { return };
                let cx = LoadCx::new(Arc::new(mailbox), &[place.site], CancellationToken::new(), place.feed);
                let _ = reply.send(Ok(Built { result, vertex, cached, job, edge, generation, cx }));
            }
            (Some(Reply::Built(_, reply)), Err(error)) => {
                let _ = reply.send(Err(error));
            }
            (Some(Reply::Built(..)), Ok(Answer::Loaded)) | (None, _) => {}
        }
    }

    pub(super) fn mailbox(&self) -> Option<Mailbox<R>> {
        Some(Mailbox { sender: self.sender.upgrade()?, requests: Arc::clone(&self.requests) })
    }

    /// Ends all jobs; what is sent from now on is answered as to a solver that has ended.
    pub(super) fn close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.closed.cancel();
        self.inbox.close();
        for job in self.machine.open_jobs() {
            self.machine.discard(job);
        }
    }

    /// Ends a job, and keeps what it told for a time.
    fn discard(&mut self, job: JobId) {
        let journal = self.machine.journal(job);
        self.machine.discard(job);
        if let Ok(journal) = journal {
            self.told.push_back((Instant::now() + self.settings.status_grace, job, journal));
        }
    }

    /// What a job tells, or has told.
    fn journal(&self, job: JobId) -> Result<Arc<Journal>> {
        let now = Instant::now();
        let kept = self.told.iter().find(|(until, told, _)| *told == job && *until > now);
        kept.map_or_else(|| self.machine.journal(job), |(.., journal)| Ok(Arc::clone(journal)))
    }
}
