//! The task that owns all state: the one place that waits.
//!
//! It tells the machine what happened and does what the machine says. Stores are polled once where they stand and get a
//! task only if they are not ready; ops, which are not ours, always get one. Work that does not stop when it is told to
//! is given up on after a time, but never aborted: the task ends only when all of its work has returned.
//!
//! ```text
//!   Job, OpCx, LoadCx ── mailbox ─▶ messages ─▶ Machine ─▶ work ─▶ running ─▶ Machine …
//!                     ◀──────────── messages ◀──┘
//! ```

mod caught;
mod mailbox;
mod messages;
mod running;
mod work;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use futures::FutureExt;
use messages::Reply;
use running::{Joined, Running, Timer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ids::JobId;
use crate::machine::{Action, Done, Machine, RequestId, TicketId};
use crate::settings::Settings;
use crate::status::Journal;
use crate::store::CacheIndex;
use crate::value::Value;

pub(crate) use caught::{caught, message, within};
pub(crate) use mailbox::{Mailbox, Message};

/// How many edges are advanced before anything else is looked at.
const TURN: usize = 64;

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
        open: HashMap::new(),
        told: VecDeque::new(),
        next: 0,
        closing: false,
        closed: CancellationToken::new(),
        drained: false,
    };
    tasks.spawn(scheduler.run());
    mailbox
}

/// What a wait ended with.
enum Woken<R: Value> {
    Told(Option<Message<R>>),
    Joined(Joined<R>),
    Due,
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
    /// Cancelled when a job goes: for whoever still uses what was built for it.
    open: HashMap<JobId, CancellationToken>,
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
    /// Schedules until all have gone. Code of others runs in tasks of its own, but for what is small: names, and copies of
    /// results. Should that panic here, or the machine, then nobody is to wait for what never comes.
    async fn run(mut self) {
        if let Err(panic) = AssertUnwindSafe(self.schedule()).catch_unwind().await {
            tracing::error!("the solver has ended in a panic: {}", message(&*panic));
            self.give_up().await;
        }
    }

    /// Answers all questions as one that is closed, and waits for its work to return.
    async fn give_up(mut self) {
        self.closing = true;
        self.closed.cancel();
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        self.replies.clear();
        for job in self.machine.open_jobs() {
            if let Ok(journal) = self.machine.journal(job) {
                journal.end();
            }
        }
        self.running.values().for_each(|running| running.cancel.cancel());
        while self.work.join_next().await.is_some() {}
    }

    async fn schedule(&mut self) {
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

    fn perform(&mut self) {
        for action in self.machine.actions() {
            match action {
                Action::Start { ticket, place, work } => self.begin(ticket, place, work),
                Action::Cancel { ticket } => self.stop(ticket),
                Action::Answer { request, answer } => self.answer(request, answer),
            }
        }
    }
}
