//! The one thread of a process that has the database: it reads, runs what writes, and commits groups.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call::{Job, Ran, Reader, Writer};
use super::generation::GenerationFile;
use super::lock::Locks;
use super::overlay::Changes;
use super::session::Session;
use super::{Settings, Transaction};
use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// No more closures are run before those that have run are committed.
const GROUP: usize = 512;
/// Nor any when those before have taken so long.
const GATHERING: Duration = Duration::from_millis(5);
/// What is to be durable soon is so after this, and when it is this much.
const SOON: Duration = Duration::from_secs(5);
const MANY: usize = 50_000;
/// The first of the pauses between two looks whether another process waits.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// What the thread and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) generation: GenerationFile,
    pub(super) notices: Mutex<Vec<String>>,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    queue: Queue,
    locks: Locks,
    session: Option<Session>,
    /// The database has failed in a way that damage explains.
    suspect: bool,
    /// What was answered and is in no batch yet. There is none without a session.
    soon: Changes,
    /// Since when there are such changes.
    soon_since: Instant,
    /// Why such changes were lost, until somebody is told.
    lost: Option<Arc<Error>>,
}

/// What waits to be done.
struct Queue {
    jobs: Receiver<Job>,
    reads: VecDeque<Box<dyn Reader>>,
    /// And whether they are to be durable when they are answered.
    writes: VecDeque<(Box<dyn Writer>, bool)>,
    settles: Vec<oneshot::Sender<Result<()>>>,
    closing: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, jobs: Receiver<Job>) -> Self {
        let (reads, writes, settles) = (VecDeque::new(), VecDeque::new(), Vec::new());
        let queue = Queue { jobs, reads, writes, settles, closing: false };
        let locks = Locks::new(&shared.settings.meta);
        Self {
            shared,
            queue,
            locks,
            session: None,
            suspect: false,
            soon: Changes::new(),
            soon_since: Instant::now(),
            lost: None,
        }
    }

    /// Serves until it is told to close, or nobody is left who could ask.
    pub(super) fn run(mut self) {
        loop {
            self.wait();
            self.queue.take_in();
            if self.queue.is_empty() {
                if self.queue.closing {
                    return self.let_go();
                }
                continue;
            }
            if self.queue.has_only_settles() && self.soon.is_empty() {
                self.settle();
                continue;
            }
            match self.open() {
                Ok(()) => self.serve(),
                Err(error) => self.queue.fail(&Arc::new(error)),
            }
        }
    }

    /// Waits for something to do. Meanwhile the database goes to whoever asks for it, or is closed after a while.
    fn wait(&mut self) {
        let since = Instant::now();
        let mut look = FIRST_LOOK.min(self.shared.settings.look);
        while self.queue.is_empty() && !self.queue.closing {
            let Some(session) = &self.session else {
                let job = self.queue.jobs.recv().unwrap_or(Job::Close);
                return self.queue.add(job);
            };
            match self.queue.jobs.recv_timeout(look) {
                Ok(job) => return self.queue.add(job),
                Err(RecvTimeoutError::Disconnected) => self.queue.closing = true,
                Err(RecvTimeoutError::Timeout) => {
                    if session.is_wanted() || since.elapsed() >= self.shared.settings.idle {
                        self.let_go();
                    }
                    look = (look * 2).min(self.shared.settings.look);
                }
            }
        }
    }

    /// Sees to it that the database is open, unless nobody waits any more.
    fn open(&mut self) -> Result<()> {
        if self.session.is_some() {
            return Ok(());
        }
        let queue = &mut self.queue;
        let turn = self.locks.acquire(|| {
            queue.take_in();
            !queue.is_empty()
        })?;
        let Some(turn) = turn else { return Ok(()) };
        let Shared { settings, generation, notices } = &*self.shared;
        let mut told = Vec::new();
        let opened = Session::open(settings, generation, turn, self.suspect, &mut told);
        notices.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        self.session = Some(opened?);
        self.suspect = false;
        Ok(())
    }

    /// One round: those who read, then one group of those who write.
    fn serve(&mut self) {
        let Some(session) = &mut self.session else { return };
        // Those who come after one that finds it damaged wait until it is mended.
        while !session.has_failed()
            && let Some(read) = self.queue.reads.pop_front()
        {
            read.run(&Transaction::new(session.store(), &self.soon, session.generation()));
        }
        if !session.has_failed() && !self.queue.writes.is_empty() {
            self.write();
        }
        if self.queue.writes.is_empty() && !self.queue.settles.is_empty() {
            self.commit_soon();
            self.settle();
        }
        let Some(session) = &mut self.session else { return };
        if session.has_failed() {
            self.suspect |= session.is_damaged();
            self.let_go();
        } else if session.had_its_turn(self.shared.settings.turn) && session.is_wanted() {
            self.let_go();
        }
    }

    /// Runs closures one after the other, commits what they have changed, and answers them all. Where none of them is to be
    /// durable at once the commit waits.
    fn write(&mut self) {
        let Some(session) = &mut self.session else { return };
        let begun = Instant::now();
        let has_soon = !self.soon.is_empty();
        let mut changes = std::mem::take(&mut self.soon);
        if !has_soon {
            self.soon_since = begun;
        }
        let (mut answers, mut speaks_of_trees) = (Vec::new(), has_soon);
        let mut wait = self.soon_since.elapsed() < SOON && changes.len() < MANY;
        while answers.len() < GROUP && begun.elapsed() < GATHERING && !session.has_failed() {
            let Some((writer, is_durable)) = self.queue.writes.pop_front() else { break };
            let mut transaction = Transaction::new(session.store(), &changes, session.generation());
            let Ran { kept, answer } = writer.run(&mut transaction);
            let own = transaction.into_changes();
            if kept {
                speaks_of_trees |= !is_durable && !own.is_empty();
                changes.extend(own);
            }
            wait &= !is_durable;
            answers.push(answer);
        }
        let committed = match changes.is_empty() {
            true => Ok(()),
            false if wait && !session.has_failed() => {
                self.soon = changes;
                Ok(())
            }
            false => commit(session, changes, &self.shared, speaks_of_trees).map_err(Arc::new),
        };
        if let Err(error) = &committed
            && has_soon
        {
            self.lost.get_or_insert_with(|| Arc::clone(error));
        }
        for answer in answers {
            match &committed {
                Ok(()) => answer.committed(),
                Err(error) => answer.failed(error),
            }
        }
        session.compact(&self.shared.settings);
    }

    /// Makes durable what is to be so soon.
    fn commit_soon(&mut self) {
        let changes = std::mem::take(&mut self.soon);
        let Some(session) = self.session.as_mut().filter(|_| !changes.is_empty()) else { return };
        if let Err(error) = commit(session, changes, &self.shared, true) {
            tracing::warn!(%error, "what was written last is lost");
            self.lost.get_or_insert_with(|| Arc::new(error));
        }
    }

    /// Lets go of the database; all that was answered is durable then.
    fn let_go(&mut self) {
        self.commit_soon();
        self.session = None;
    }

    fn settle(&mut self) {
        let waiting = std::mem::take(&mut self.queue.settles);
        if waiting.is_empty() {
            return;
        }
        let lost = self.lost.take();
        for reply in waiting {
            // Whoever does not wait any more does not hear of it.
            let _ = reply.send(lost.as_ref().map_or(Ok(()), |error| Err(Error::Shared(Arc::clone(error)))));
        }
    }
}

/// Commits changes; where they may speak of trees, these first.
fn commit(session: &mut Session, changes: Changes, shared: &Shared, speaks_of_trees: bool) -> Result<()> {
    match shared.settings.barrier.as_ref().filter(|_| speaks_of_trees) {
        None => session.commit(changes, &shared.generation),
        Some(barrier) => {
            let mut changes = Some(changes);
            barrier.before(&mut || match changes.take() {
                Some(changes) => session.commit(changes, &shared.generation),
                None => Ok(()),
            })
        }
    }
}

impl Queue {
    /// Takes in what has come, and leaves out what nobody waits for any more.
    fn take_in(&mut self) {
        while !self.closing {
            let Ok(job) = self.jobs.try_recv() else { break };
            self.add(job);
        }
        self.reads.retain(|read| !read.is_abandoned());
        self.writes.retain(|(write, _)| !write.is_abandoned());
    }

    fn add(&mut self, job: Job) {
        match job {
            Job::Read(read) => self.reads.push_back(read),
            Job::Write(write) => self.writes.push_back((write, true)),
            Job::Soon(write) => self.writes.push_back((write, false)),
            Job::Settle(reply) => self.settles.push(reply),
            Job::Close => self.closing = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.settles.is_empty()
    }

    fn has_only_settles(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    fn fail(&mut self, error: &Arc<Error>) {
        self.reads.drain(..).for_each(|read| read.fail(error));
        self.writes.drain(..).for_each(|(write, _)| write.fail(error));
        for reply in self.settles.drain(..) {
            let _ = reply.send(Err(Error::Shared(Arc::clone(error))));
        }
    }
}
