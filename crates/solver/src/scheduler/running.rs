//! Work that has a task: how it ends, how long it may take, and what is done if it takes longer.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::machine::{Done, Failure, TicketId};
use crate::scheduler::Scheduler;
use crate::scheduler::work::Kind;
use crate::value::Value;

/// Work that has a task, or is about to have one.
pub(super) struct Running {
    pub(super) cancel: CancellationToken,
    /// What it is, to say how it ended if it does not.
    pub(super) kind: Kind,
    pub(super) task: tokio::task::Id,
    /// How long it was given, if it took longer.
    pub(super) overdue: Option<Duration>,
    /// When it is looked after.
    pub(super) timers: SmallVec<[Instant; 1]>,
}

pub(super) enum Timer {
    /// It was to be done by now.
    Deadline(Duration),
    /// It was to have stopped by now.
    Grace,
}

/// How a task of work ended.
pub(super) type Joined<R> = Result<(TicketId, Done<R>), tokio::task::JoinError>;

impl<R: Value> Scheduler<R> {
    pub(super) fn joined(&mut self, joined: Joined<R>) {
        let (ticket, done) = match joined {
            Ok(ended) => ended,
            // Panics are caught in the task, and nothing is aborted: this is what a runtime that ends leaves. Still nobody
            // is to wait for it.
            Err(lost) => {
                let of = |(ticket, running): (&TicketId, &Running)| {
                    (running.task == lost.id()).then_some((*ticket, running.kind))
                };
                let Some((ticket, kind)) = self.running.iter().find_map(of) else { return };
                (ticket, kind.failed(Failure::Panicked(lost.to_string())))
            }
        };
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
    pub(super) fn strike(&mut self) {
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
    pub(super) fn stop(&mut self, ticket: TicketId) {
        let Some(running) = self.running.get_mut(&ticket) else { return };
        running.cancel.cancel();
        let at = Instant::now() + self.settings.cancel_grace;
        running.timers.push(at);
        self.timers.insert((at, ticket), Timer::Grace);
    }
}
