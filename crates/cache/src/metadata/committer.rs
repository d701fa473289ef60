//! The one thread of a process that has the database: it reads, runs what writes, and commits groups.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lazyblob_remote::What;
use tokio::sync::oneshot;

use super::call::{Job, Ran, Reader, Writer};
use super::generation::GenerationFile;
use super::guarded::said;
use super::lock::Locks;
use super::overlay::Changes;
use super::session::Session;
use super::soon::{Batches, Pending, Sealed};
use super::{Settings, Transaction};
use crate::error::{Error, IoContext as _, Result};

/// No more closures are run before those that have run are committed.
const GROUP: usize = 512;
/// Nor any when those before have taken so long.
const GATHERING: Duration = Duration::from_millis(5);
/// The first of the pauses between two looks whether another process waits.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// What the thread and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) generation: GenerationFile,
    pub(super) notices: Mutex<Vec<String>>,
    pub(super) batches: Arc<Batches>,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    /// Where those who sync say that they have.
    jobs: Sender<Job>,
    queue: Queue,
    locks: Locks,
    session: Option<Session>,
    /// The database has failed in a way that damage explains.
    suspect: bool,
    /// What is gathered on top of it. Neither is there without a session.
    soon: Pending,
    /// The batch that is being synced.
    sealed: Option<Sealed>,
}

/// What waits to be done.
struct Queue {
    jobs: Receiver<Job>,
    reads: VecDeque<Box<dyn Reader>>,
    /// And whether they are to be durable when they are answered.
    writes: VecDeque<(Box<dyn Writer>, bool)>,
    settles: Vec<oneshot::Sender<Result<()>>>,
    /// The last batch that was synced.
    synced: u64,
    closing: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, receiver: Receiver<Job>, jobs: Sender<Job>) -> Self {
        let (reads, writes, settles) = (VecDeque::new(), VecDeque::new(), Vec::new());
        let queue = Queue { jobs: receiver, reads, writes, settles, synced: 0, closing: false };
        let locks = Locks::new(&shared.settings.meta);
        let soon = Pending::new();
        Self { shared, jobs, queue, locks, session: None, suspect: false, soon, sealed: None }
    }

    /// Serves until it is told to close.
    pub(super) fn run(mut self) {
        loop {
            self.wait();
            self.queue.take_in();
            if self.sealed.as_ref().is_some_and(|sealed| sealed.batch <= self.queue.synced) {
                self.commit_sealed();
                self.seal();
            }
            if self.session.as_ref().is_some_and(Session::has_failed) {
                self.give_up();
            }
            if self.queue.is_empty() {
                if self.queue.closing {
                    return self.let_go();
                }
                continue;
            }
            if self.queue.has_only_settles() && !self.has_pending() {
                self.settle();
                continue;
            }
            match self.open() {
                Ok(()) => self.serve(),
                Err(error) => self.queue.fail(&Arc::new(error)),
            }
        }
    }

    /// Waits for something to do. Meanwhile the database goes to whoever asks for it, or is closed after a while; what is
    /// to be durable before is synced while others may still come.
    fn wait(&mut self) {
        let since = Instant::now();
        let mut look = FIRST_LOOK.min(self.shared.settings.look);
        while (self.queue.is_empty() || self.only_held()) && !self.queue.closing {
            let Some(session) = &self.session else {
                let job = self.queue.jobs.recv().unwrap_or(Job::Close);
                return self.queue.add(job);
            };
            match self.queue.jobs.recv_timeout(look) {
                Ok(job) => return self.queue.add(job),
                Err(RecvTimeoutError::Disconnected) => self.queue.closing = true,
                Err(RecvTimeoutError::Timeout) => {
                    if session.is_wanted() || since.elapsed() >= self.shared.settings.idle {
                        self.seal_all();
                        if !self.has_pending() {
                            self.session = None;
                        }
                    } else {
                        self.seal();
                    }
                    look = (look * 2).min(self.shared.settings.look);
                }
            }
        }
    }

    /// Whether who writes next is to be durable and stands on what is not: what it writes is not to be seen before it is
    /// durable, so it waits for the batch, and who writes later with it. Who reads does not.
    fn is_held(&self) -> bool {
        self.has_pending() && self.queue.writes.front().is_some_and(|(_, is_durable)| *is_durable)
    }

    /// Whether there is nothing else to do until a batch is synced.
    fn only_held(&self) -> bool {
        let is_syncing = self.sealed.as_ref().is_some_and(|sealed| sealed.batch > self.queue.synced);
        is_syncing && self.is_held() && self.queue.reads.is_empty()
    }

    fn has_pending(&self) -> bool {
        self.sealed.is_some() || !self.soon.is_empty()
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
        let Shared { settings, generation, notices, .. } = &*self.shared;
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
        let none = Changes::new();
        let sealed = self.sealed.as_ref().map_or(&none, |sealed| &sealed.pending.changes);
        // Those who come after one that finds it damaged wait until it is mended.
        while !session.has_failed()
            && let Some(read) = self.queue.reads.pop_front()
        {
            let earlier = [sealed, &self.soon.changes];
            read.run(&Transaction::new(session.store(), earlier, session.generation()));
        }
        let has_failed = session.has_failed();
        if !has_failed && self.is_held() {
            self.seal_all();
            if self.queue.closing {
                self.commit_sealed();
            }
        } else if !has_failed && !self.queue.writes.is_empty() {
            self.write();
        }
        if self.queue.writes.is_empty() {
            self.settle();
        }
        self.seal();
        let Some(session) = &self.session else { return };
        if session.has_failed() {
            self.give_up();
        } else if session.had_its_turn(self.shared.settings.turn) && session.is_wanted() {
            self.let_go();
        }
    }

    /// Runs closures one after the other. Where nothing that speaks of trees is in the way, what they have changed is
    /// committed. Else it is gathered, and those who are to be durable wait for the batch.
    fn write(&mut self) {
        let Some(session) = &mut self.session else { return };
        let begun = Instant::now();
        let none = Changes::new();
        let sealed = self.sealed.as_ref().map_or(&none, |sealed| &sealed.pending.changes);
        let mut changes = std::mem::take(&mut self.soon.changes);
        if changes.is_empty() {
            self.soon.since = begun;
        }
        // Whatever is written on top of such changes may speak of what they do.
        let mut speaks_of_trees = self.sealed.is_some() || !changes.is_empty();
        let (mut at_once, mut durable) = (Vec::new(), Vec::new());
        while at_once.len() + durable.len() < GROUP && begun.elapsed() < GATHERING && !session.has_failed() {
            let is_other = |next: &bool| if *next { !at_once.is_empty() } else { !durable.is_empty() };
            if self.queue.writes.front().is_some_and(|(_, next)| is_other(next)) {
                break;
            }
            let Some((writer, is_durable)) = self.queue.writes.pop_front() else { break };
            let mut transaction = Transaction::new(session.store(), [sealed, &changes], session.generation());
            let Ran { kept, answer } = writer.run(&mut transaction);
            let own = transaction.into_changes();
            if kept {
                speaks_of_trees |= !is_durable && !own.is_empty();
                changes.extend(own);
            }
            match is_durable {
                true => durable.push(answer),
                false => at_once.push(answer),
            }
        }
        if speaks_of_trees {
            self.soon.changes = changes;
            if session.has_failed() {
                durable.append(&mut at_once);
            }
            for answer in at_once {
                answer.committed();
            }
            match &mut self.sealed {
                // One that has changed nothing waits for what it has seen.
                Some(sealed) if self.soon.changes.is_empty() => sealed.pending.answers.extend(durable),
                _ => self.soon.answers.extend(durable),
            }
            return;
        }
        let committed = match changes.is_empty() {
            true => Ok(()),
            false => session.commit(changes, &self.shared.generation).map_err(Arc::new),
        };
        let mut told = Pending::new();
        told.answers = at_once;
        told.answers.append(&mut durable);
        told.tell(&committed);
        session.compact(&self.shared.settings);
    }

    /// Seals what is gathered if it is time, and begins to sync what it speaks of.
    fn seal(&mut self) {
        if self.soon.is_due(self.shared.settings.soon) {
            self.seal_all();
        }
    }

    /// The same, whether it is time or not. Only one batch is synced at a time.
    fn seal_all(&mut self) {
        let is_open = self.session.as_ref().is_some_and(|session| !session.has_failed());
        if self.soon.is_empty() || self.sealed.is_some() || !is_open {
            return;
        }
        let Some(barrier) = self.shared.settings.barrier.clone() else { return self.commit_soon() };
        let batch = self.shared.batches.seal();
        let jobs = self.jobs.clone();
        let sync = move || {
            let _synced = Synced { jobs, batch };
            barrier.sync()
        };
        let pending = std::mem::replace(&mut self.soon, Pending::new());
        let begun = thread::Builder::new().name("lazyblob-sync".to_owned()).spawn(sync);
        match begun.during("sync", "trees", &self.shared.settings.meta) {
            Ok(sync) => self.sealed = Some(Sealed { pending, batch, sync }),
            Err(error) => self.commit(pending, batch, Err(error)),
        }
    }

    /// Commits the batch that is sealed, as soon as it is synced.
    fn commit_sealed(&mut self) {
        let Some(Sealed { pending, batch, sync }) = self.sealed.take() else { return };
        let synced = sync.join().unwrap_or_else(|panic| {
            let reason = format!("what syncs trees has panicked: {}", said(&*panic));
            Err(Error::Metadata { what: What::new("sync", "trees"), reason })
        });
        self.commit(pending, batch, synced);
    }

    /// Syncs and commits what is gathered, while everybody waits.
    fn commit_soon(&mut self) {
        if self.soon.is_empty() {
            return;
        }
        let batch = self.shared.batches.seal();
        let pending = std::mem::replace(&mut self.soon, Pending::new());
        let synced = self.shared.settings.barrier.as_ref().map_or(Ok(()), |barrier| barrier.sync());
        self.commit(pending, batch, synced);
    }

    /// Commits a batch that is synced. If it is lost, so is what was gathered on top of it.
    fn commit(&mut self, mut pending: Pending, batch: u64, synced: Result<()>) {
        let changes = std::mem::take(&mut pending.changes);
        let batches = Arc::clone(&self.shared.batches);
        let closed = || Err(Error::Cancelled { what: What::new("write", "the database") });
        let committed = synced.and_then(|()| match &mut self.session {
            _ if changes.is_empty() => Ok(()),
            Some(session) => session.commit(changes, &self.shared.generation),
            None => closed(),
        });
        let committed = committed.map_err(Arc::new);
        batches.end(batch, committed.as_ref().err());
        pending.tell(&committed);
        if let Err(error) = &committed {
            tracing::warn!(%error, "what was written last is lost");
            if !self.soon.is_empty() {
                batches.end(batches.seal(), Some(error));
                std::mem::replace(&mut self.soon, Pending::new()).tell(&committed);
            }
        }
        if let Some(session) = &mut self.session {
            session.compact(&self.shared.settings);
        }
    }

    /// Lets go of the database; all that was answered is durable then, or lost.
    fn let_go(&mut self) {
        self.commit_sealed();
        self.commit_soon();
        self.session = None;
    }

    /// Lets go of one that has failed.
    fn give_up(&mut self) {
        self.suspect |= self.session.as_ref().is_some_and(Session::is_damaged);
        self.let_go();
    }

    /// Those who settle wait for all that was written before.
    fn settle(&mut self) {
        let mut asked = std::mem::take(&mut self.queue.settles);
        match &mut self.sealed {
            _ if !self.soon.changes.is_empty() => self.soon.settles.append(&mut asked),
            Some(sealed) => sealed.pending.settles.append(&mut asked),
            None => {
                let mut told = Pending::new();
                told.settles = asked;
                told.tell(&Ok(()));
            }
        }
    }
}

/// Says, however it ends, that a batch was synced.
struct Synced {
    jobs: Sender<Job>,
    batch: u64,
}

impl Drop for Synced {
    fn drop(&mut self) {
        // A committer that has ended waits for its thread, not for this.
        let _ = self.jobs.send(Job::Synced(self.batch));
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
            Job::Synced(batch) => self.synced = self.synced.max(batch),
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
