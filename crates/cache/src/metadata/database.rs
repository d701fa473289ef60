//! The async front of the database.

use std::fmt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use lazyblob_remote::What;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::call::{Call, Job};
use super::committer::{Committer, Shared};
use super::generation::GenerationFile;
use super::soon::{Batches, Since};
use super::{Read, Settings, Transaction};
use crate::error::{Error, IoContext, Result};

/// The database of records. Clones are the same one; other processes, and other values in this one, take turns with it.
///
/// One thread has it. What reads and what writes runs there, one closure after the other, so a closure must not block for
/// anything else, and long scans are better done in several reads. Dropping a future before its closure began withdraws
/// it; one that has begun is seen through.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    thread: Mutex<Thread>,
    /// Cancelled when the thread has let go of everything.
    ended: CancellationToken,
}

enum Thread {
    NotStarted(Receiver<Job>),
    Running(JoinHandle<()>),
    Closed,
}

impl Database {
    /// A database that nothing is opened of yet: that happens when somebody asks.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let (jobs, receiver) = mpsc::channel();
        let generation = GenerationFile::new(&settings.meta);
        let shared =
            Arc::new(Shared { settings, generation, notices: Mutex::default(), batches: Arc::default() });
        let thread = Mutex::new(Thread::NotStarted(receiver));
        Self { inner: Arc::new(Inner { shared, jobs, thread, ended: CancellationToken::new() }) }
    }

    /// Reads one consistent state: that of the last commit. Whoever writes at this time is not waited for, beyond the
    /// commit that is on its way.
    ///
    /// # Errors
    /// What the closure says. [`Error::Metadata`] where the database fails, [`Error::Io`] where it cannot be opened,
    /// [`Error::Refused`] where its schema is newer, [`Error::Cancelled`] after [`close`](Self::close).
    pub async fn read<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&dyn Read) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call("read", |caller| Job::Read(Box::new(Call { closure, caller }))).await
    }

    /// Reads and writes. The closure sees what writers before it have written; what it writes itself is durable when this
    /// returns, or not there at all if the closure says an error.
    ///
    /// # Errors
    /// As [`read`](Self::read). If the commit itself fails the error is [`Error::Shared`] by all who were part of it; what
    /// was written may be found, or not, when the database is opened again.
    pub async fn write<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call("write", |caller| Job::Write(Box::new(Call { closure, caller }))).await
    }

    /// The same, but what is written is not durable when this returns: it is with the next [`write`](Self::write) or
    /// [`settle`](Self::settle), before another process sees the database, and when this one is closed or idle. Who reads
    /// here sees it at once. A process that is killed loses it, and all that was written so after it.
    ///
    /// # Errors
    /// As [`read`](Self::read). Where it cannot be made durable later it is gone again, with all that was written after it;
    /// [`settle`](Self::settle) says so.
    pub async fn write_soon<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.call("write", |caller| Job::Soon(Box::new(Call { closure, caller }))).await
    }

    /// Waits until all is durable that was written before.
    ///
    /// # Errors
    /// [`Error::Shared`] with what went wrong where anything that was to be durable soon, since this was made, could not be
    /// made so: it is gone. Whoever asks is told, as often as it is asked. [`Error::Cancelled`] after
    /// [`close`](Self::close).
    pub async fn settle(&self) -> Result<()> {
        self.settle_since(Since::BEGINNING).await
    }

    /// From now on, for [`settle_since`](Self::settle_since).
    #[must_use]
    pub fn now(&self) -> Since {
        self.inner.shared.batches.now()
    }

    /// The same as [`settle`](Self::settle), but only what was lost of what was written `since` then is told.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub async fn settle_since(&self, since: Since) -> Result<()> {
        self.end_batches().await?;
        self.inner.shared.batches.lost_since(since)
    }

    /// Waits until all is durable, or lost, that was written before.
    pub(crate) async fn end_batches(&self) -> Result<()> {
        self.call("settle", Job::Settle).await
    }

    /// What is durable soon, and what became of it.
    pub(crate) fn batches(&self) -> &Arc<Batches> {
        &self.inner.shared.batches
    }

    /// How many batches have changed something, in whichever process; one that is being acknowledged at this moment is
    /// counted or not. Takes no lock: as long as it stays the same, what was read before still holds.
    ///
    /// # Errors
    /// [`Error::Io`] where the count cannot be read.
    pub fn generation(&self) -> Result<u64> {
        self.inner.shared.generation.read()
    }

    /// What the user is to know: databases that were set aside, what was found again, what was not. Each is told once.
    #[must_use]
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.shared.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what was asked before, lets go of the database and ends its thread. Who asks later is
    /// [cancelled](Error::Cancelled).
    pub async fn close(&self) {
        let handle = self.inner.close();
        self.inner.ended.cancelled().await;
        // Its last act was to say that it has ended.
        if handle.is_some_and(|handle| handle.join().is_err()) {
            tracing::error!("the database's thread has panicked");
        }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job,
    ) -> Result<T> {
        let cancelled = || Error::Cancelled { what: What::new(operation, "the database") };
        let (caller, outcome) = oneshot::channel();
        self.inner.start()?;
        self.inner.jobs.send(job(caller)).map_err(|_| cancelled())?;
        outcome.await.unwrap_or_else(|_| Err(cancelled()))
    }
}

impl Inner {
    fn thread(&self) -> MutexGuard<'_, Thread> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<()> {
        let mut thread = self.thread();
        let jobs = match std::mem::replace(&mut *thread, Thread::Closed) {
            Thread::NotStarted(jobs) => jobs,
            other => {
                *thread = other;
                return Ok(());
            }
        };
        let shared = Arc::clone(&self.shared);
        let ended = self.ended.clone().drop_guard();
        let own = self.jobs.clone();
        let body = move || {
            let _ended = ended;
            Committer::new(shared, jobs, own).run();
        };
        let handle = thread::Builder::new().name("lazyblob-database".to_owned()).spawn(body);
        *thread = Thread::Running(handle.during("open", "the database", &self.shared.settings.meta)?);
        Ok(())
    }

    /// Tells the thread to end; the first to do so gets its handle.
    fn close(&self) -> Option<JoinHandle<()>> {
        match std::mem::replace(&mut *self.thread(), Thread::Closed) {
            Thread::NotStarted(_) => {
                self.ended.cancel();
                None
            }
            Thread::Running(handle) => {
                // One that has panicked has no queue.
                let _ = self.jobs.send(Job::Close);
                Some(handle)
            }
            Thread::Closed => None,
        }
    }
}

impl Drop for Inner {
    /// Nobody is left who could ask.
    fn drop(&mut self) {
        // One that was closed, or never started, has nobody who hears it.
        let _ = self.jobs.send(Job::Close);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("settings", &self.inner.shared.settings).finish_non_exhaustive()
    }
}
