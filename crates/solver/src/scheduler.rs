//! The task that owns all state: the one place that waits.
//!
//! It tells the machine what happened and does what the machine says. Stores are polled once where they stand and get a
//! task only if they are not ready; ops, which are not ours, always get one. Work that does not stop when it is told to
//! is given up on after a time, but never aborted: the task ends only when all of its work has returned.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::error::{Cause, Error, LoadError, Result, StoreError};
use crate::explain::{self, Why};
use crate::graph::Graph;
use crate::ids::{Edge, JobId, SessionId, VertexName};
use crate::job::{Built, JobOptions};
use crate::machine::{Action, Answer, Done, Failure, Machine, Place, RequestId, TicketId, Work};
use crate::ops::{Asks, LoadCx, OpCx, Site, Wanted};
use crate::settings::Settings;
use crate::status::Journal;
use crate::store::CacheIndex;
use crate::value::Value;

/// How many edges are advanced before anything else is looked at.
const TURN: usize = 64;

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
    sender: mpsc::UnboundedSender<Message<R>>,
    requests: Arc<AtomicU64>,
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

/// Starts a scheduler.
pub(crate) fn start<R: Value>(
    cache: Arc<CacheIndex<R>>,
    settings: Settings,
    tasks: &TaskTracker,
) -> Mailbox<R> {
    let (sender, inbox) = mpsc::unbounded_channel();
    let mailbox = Mailbox { sender, requests: Arc::new(AtomicU64::new(1 << 32)) };
    let scheduler = Scheduler {
        machine: Machine::new(Arc::clone(&cache) as _, &settings),
        cache,
        settings,
        inbox,
        sender: mailbox.sender.downgrade(),
        requests: Arc::clone(&mailbox.requests),
        work: JoinSet::new(),
        running: HashMap::new(),
        timers: BTreeMap::new(),
        ended: Vec::new(),
        replies: HashMap::new(),
        told: VecDeque::new(),
        next: 0,
        closing: false,
        closed: CancellationToken::new(),
        drained: false,
    };
    tasks.spawn(scheduler.run());
    mailbox
}

/// Work that has a task, or is about to have one.
struct Running {
    cancel: CancellationToken,
    /// What it is, to say how it ended if it does not.
    kind: Kind,
    /// How long it was given, if it took longer.
    overdue: Option<Duration>,
    /// When it is looked after.
    timers: SmallVec<[Instant; 1]>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    CacheMap,
    Exec,
    Preprocess,
    SlowDigest,
    Load,
    /// Stores are not given up on.
    Store,
}

/// How a task of work ended.
type Joined<R> = Result<(TicketId, Done<R>), tokio::task::JoinError>;

/// What a wait ended with.
enum Woken<R: Value> {
    Told(Option<Message<R>>),
    Joined(Joined<R>),
    Due,
}

enum Timer {
    /// It was to be done by now.
    Deadline(Duration),
    /// It was to have stopped by now.
    Grace,
}

enum Reply<R: Value> {
    Loaded(oneshot::Sender<Result<()>>),
    Built(Edge, oneshot::Sender<Result<Built<R>>>),
}

struct Scheduler<R: Value> {
    machine: Machine<R>,
    cache: Arc<CacheIndex<R>>,
    settings: Settings,
    inbox: mpsc::UnboundedReceiver<Message<R>>,
    /// Weak: the scheduler must not keep itself alive.
    sender: mpsc::WeakUnboundedSender<Message<R>>,
    requests: Arc<AtomicU64>,
    work: JoinSet<(TicketId, Done<R>)>,
    running: HashMap<TicketId, Running>,
    timers: BTreeMap<(Instant, TicketId), Timer>,
    /// Work that was ready at once.
    ended: Vec<(TicketId, Done<R>)>,
    replies: HashMap<RequestId, Reply<R>>,
    /// What discarded jobs told, and until when it is kept: the next to go first.
    told: VecDeque<(Instant, JobId, Arc<Journal>)>,
    next: u64,
    /// All jobs were ended.
    closing: bool,
    /// Cancelled when it closes: nobody waits for imported caches any more.
    closed: CancellationToken,
    /// Nothing can be sent any more, and all that was sent was received.
    drained: bool,
}

impl<R: Value> Scheduler<R> {
    async fn run(mut self) {
        loop {
            self.machine.clock(SystemTime::now());
            for _ in 0..TURN {
                let Ok(message) = self.inbox.try_recv() else { break };
                self.receive(message);
            }
            // All that has ended: no more than the last turns began, and a job with little waits for none of it longer.
            while let Some(joined) = self.work.try_join_next() {
                self.joined(joined);
            }
            for (ticket, done) in std::mem::take(&mut self.ended) {
                self.machine.step(ticket, done);
            }
            let more = self.machine.turn(TURN);
            self.perform();
            if more || !self.ended.is_empty() {
                tokio::task::yield_now().await;
                continue;
            }
            if self.work.is_empty() {
                self.machine.stalled();
                self.perform();
                if self.drained {
                    return;
                }
            }
            self.wait().await;
        }
    }

    /// Waits until something happens.
    async fn wait(&mut self) {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        let timer = timer.into_iter().chain(self.told.front().map(|(until, ..)| *until)).min();
        let due = async {
            match timer {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let idle = self.work.is_empty();
        let woken = tokio::select! {
            biased;
            message = self.inbox.recv(), if !self.drained => Woken::Told(message),
            Some(joined) = self.work.join_next(), if !idle => Woken::Joined(joined),
            () = due => Woken::Due,
        };
        // It happens now, not when the wait began.
        self.machine.clock(SystemTime::now());
        match woken {
            Woken::Told(Some(message)) => self.receive(message),
            // Nobody is left to ask.
            Woken::Told(None) => {
                self.drained = true;
                self.close();
            }
            Woken::Joined(joined) => self.joined(joined),
            Woken::Due => self.strike(),
        }
    }

    fn joined(&mut self, joined: Joined<R>) {
        // Panics are caught in the task, and nothing is aborted; only a runtime that ends drops tasks.
        let Ok((ticket, done)) = joined else { return };
        let Some(running) = self.running.remove(&ticket) else { return };
        for at in &running.timers {
            self.timers.remove(&(*at, ticket));
        }
        let done = match running.overdue {
            Some(after) => running.kind.given_up(after, done),
            None => done,
        };
        self.machine.step(ticket, done);
    }

    /// Looks after work that takes too long.
    fn strike(&mut self) {
        let now = Instant::now();
        while self.told.front().is_some_and(|(until, ..)| *until <= now) {
            self.told.pop_front();
        }
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((_, ticket), timer) = entry.remove_entry();
            let Some(running) = self.running.get_mut(&ticket) else { continue };
            match timer {
                Timer::Deadline(after) => {
                    running.overdue = Some(after);
                    self.stop(ticket);
                }
                Timer::Grace => {
                    let after = running.overdue.unwrap_or(self.settings.cancel_grace);
                    let Some(done) = running.kind.abandoned(after) else { continue };
                    self.running.remove(&ticket);
                    self.machine.step(ticket, done);
                }
            }
        }
    }

    /// Tells work to stop, and gives it time to.
    fn stop(&mut self, ticket: TicketId) {
        let Some(running) = self.running.get_mut(&ticket) else { return };
        running.cancel.cancel();
        let at = Instant::now() + self.settings.cancel_grace;
        running.timers.push(at);
        self.timers.insert((at, ticket), Timer::Grace);
    }

    fn request(&mut self, reply: Reply<R>) -> RequestId {
        self.next += 1;
        let request = RequestId(self.next);
        self.replies.insert(request, reply);
        request
    }

    fn receive(&mut self, message: Message<R>) {
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

    /// Ends all jobs; what is sent from now on is answered as to a solver that has ended.
    fn close(&mut self) {
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

    fn perform(&mut self) {
        for action in self.machine.actions() {
            match action {
                Action::Start { ticket, place, work } => self.begin(ticket, place, work),
                Action::Cancel { ticket } => self.stop(ticket),
                Action::Answer { request, answer } => self.answer(request, answer),
            }
        }
    }

    fn answer(&mut self, request: RequestId, answer: Result<Answer<R>>) {
        match (self.replies.remove(&request), answer) {
            (Some(Reply::Loaded(reply)), answer) => {
                let _ = reply.send(answer.map(|_| ()));
            }
            (
                Some(Reply::Built(edge, reply)),
                Ok(Answer::Built { result, vertex, cached, generation, place }),
            ) => {
                let Some(mailbox) = self.mailbox() else { return };
                let cx = LoadCx::new(Arc::new(mailbox), &[place.site], CancellationToken::new(), place.feed);
                let _ = reply.send(Ok(Built { result, vertex, cached, edge, generation, cx }));
            }
            (Some(Reply::Built(_, reply)), Err(error)) => {
                let _ = reply.send(Err(error));
            }
            (Some(Reply::Built(..)), Ok(Answer::Loaded)) | (None, _) => {}
        }
    }

    fn mailbox(&self) -> Option<Mailbox<R>> {
        Some(Mailbox { sender: self.sender.upgrade()?, requests: Arc::clone(&self.requests) })
    }

    fn begin(&mut self, ticket: TicketId, place: Option<Place>, work: Work<R>) {
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
            Work::Save { links, keys, result } => {
                let cache = Arc::clone(&self.cache);
                Box::pin(async move { Done::Save(caught(cache.save(links, &keys, result.as_ref())).await) })
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
    keys: Arc<dyn crate::store::KeyStore>,
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
    fn abandoned<R: Value>(self, after: Duration) -> Option<Done<R>> {
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
    fn given_up<R: Value>(self, after: Duration, done: Done<R>) -> Done<R> {
        self.abandoned(after).unwrap_or(done)
    }
}

/// What an op's future says, be it in a panic.
async fn said<T>(work: impl Future<Output = Result<T, crate::error::OpError>>) -> Result<T, Failure> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(said) => said.map_err(Failure::Said),
        Err(panic) => Err(Failure::Panicked(message(&*panic))),
    }
}

/// What a store's future says, be it in a panic.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(said) => said,
        Err(panic) => Err(StoreError::new(format!("panicked: {}", message(&*panic)))),
    }
}

/// What an imported cache says in time; a solver that closes does not wait for it.
pub(crate) async fn within<T>(
    patience: Duration,
    closed: &CancellationToken,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        biased;
        said = tokio::time::timeout(patience, work) => match said {
            Ok(said) => said,
            Err(_) => Err(StoreError::new(format!("no answer within {patience:?}"))),
        },
        () = closed.cancelled() => Err(StoreError::new("the solver is closed")),
    }
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "not in words".to_owned())
}
