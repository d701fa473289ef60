//! One blob from wherever it is to whoever makes something of it, in one pass over its bytes.
//!
//! A blob that is here is read from the store; one that is not is fetched, and read while it is received. What is read
//! of it is not verified before its end: nobody shows to others what was made of it before that.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{Either, select};
use lazyblob_remote::Access;
use lazyblob_remote::layout::{Begun, Cut, Tail, Waiting};
use oci_spec::image::Descriptor;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cores::{Core, Cores};
use crate::blocking::blocking;
use crate::error::{Error, Result, What};
use crate::manager::Manager;
use crate::refs::Layer;

/// The bytes of a blob, as they come.
pub(crate) type Stream = Box<dyn Read + Send>;

/// What makes something of a blob's bytes, in a blocking thread, which is joined whatever happens. It looks at the token,
/// and is called again, with all bytes from the first one on, where what it was given proved to be of no use.
pub(crate) trait Work<T>: Fn(Stream, &Until) -> Result<T> + Clone + Send + 'static {}

impl<T, F: Fn(Stream, &Until) -> Result<T> + Clone + Send + 'static> Work<T> for F {}

/// How long a blob's bytes are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Until {
    /// The work is to end.
    pub(crate) cancel: CancellationToken,
    /// The work says that these bytes are no good: nothing waits for more of them.
    pub(crate) useless: CancellationToken,
}

impl Until {
    fn of(cancel: &CancellationToken) -> Self {
        Self { cancel: cancel.clone(), useless: cancel.child_token() }
    }
}

/// A layer's blob to be read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) manager: &'a Manager,
    pub(crate) layer: &'a Layer,
    pub(crate) blob: &'a Descriptor,
    /// How many layers are below.
    pub(crate) height: usize,
    pub(crate) access: &'a Access,
    pub(crate) cancel: &'a CancellationToken,
}

impl Reading<'_> {
    /// Reads the blob, fetching it if need be.
    pub(crate) async fn fetched<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T> {
        if self.manager.store().holds(self.blob).await? {
            match self.stored(&work, self.cancel).await {
                // Pruned by somebody between the two: it is fetched again.
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
        }
        self.fetch_and_read(&work).await
    }

    async fn fetch_and_read<T: Send + 'static>(&self, work: &impl Work<T>) -> Result<T> {
        let over = self.cancel.child_token();
        let fetch = self.manager.unlazy_layer(self.blob, self.layer, self.height, self.access);
        let fetch = std::pin::pin!(self.cancel.run_until_cancelled(fetch));
        let read = std::pin::pin!(self.followed_until(work, &over));
        match select(fetch, read).await {
            Either::Left((Some(Ok(_)), read)) => read.await,
            Either::Left((fetched, read)) => {
                // Blocking work is never left behind: it looks at the token and returns.
                over.cancel();
                drop(read.await);
                match fetched {
                    Some(Err(error)) => Err(error),
                    _ => Err(self.cancelled()),
                }
            }
            Either::Right((Ok(made), fetch)) => match fetch.await {
                Some(fetched) => fetched.map(|_| made),
                None => Err(self.cancelled()),
            },
            // The layer is no good, whatever becomes of its blob.
            Either::Right((Err(error), _)) => Err(error),
        }
    }

    /// Reads the blob while somebody else fetches it, and waits for that; from the store where it is there.
    pub(crate) async fn followed<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T> {
        self.followed_until(&work, self.cancel).await
    }

    /// Begins again when the reception does.
    async fn followed_until<T: Send + 'static>(
        &self,
        work: &impl Work<T>,
        cancel: &CancellationToken,
    ) -> Result<T> {
        let follower = self.manager.store().ingests().follow(self.blob)?;
        loop {
            let begun =
                cancel.run_until_cancelled(follower.begun()).await.ok_or_else(|| self.cancelled())??;
            let tail = match begun {
                Begun::Here => return self.stored(work, cancel).await,
                Begun::Tail(tail) => tail,
            };
            let until = Until::of(cancel);
            let tail = tail.until(until.useless.clone());
            let tail = Sharing::of(tail, self.manager.0.cores.clone(), self.blob.size());
            match self.run(Box::new(tail), work, until).await {
                Err(error) if !cancel.is_cancelled() && is_cut(&error) => {
                    tracing::debug!(%error, digest = %self.blob.digest(), "unpacking begins again");
                }
                other => return other,
            }
        }
    }

    async fn stored<T: Send + 'static>(&self, work: &impl Work<T>, cancel: &CancellationToken) -> Result<T> {
        let (store, descriptor) = (self.manager.store().clone(), self.blob.clone());
        let what = || What::new("read blob", self.blob.digest());
        let file = blocking(what, move || store.open_file(&descriptor)).await?;
        let core = cancel.run_until_cancelled(self.manager.0.cores.take(self.blob.size())).await;
        let core = core.ok_or_else(|| self.cancelled())?;
        self.run(Box::new(Held { file, _core: core }), work, Until::of(cancel)).await
    }

    async fn run<T: Send + 'static>(&self, bytes: Stream, work: &impl Work<T>, until: Until) -> Result<T> {
        let work = work.clone();
        let what = || What::new("unpack layer", self.blob.digest());
        blocking(what, move || work(bytes, &until)).await
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled { what: What::new("unpack layer", self.blob.digest()) }
    }
}

/// A stored blob, with the right to a core for as long as it is read.
struct Held {
    file: std::fs::File,
    _core: Core,
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Bytes as they are received, with the right to a core while there are any: who waits for the network keeps nobody
/// from unpacking what is here.
struct Sharing {
    tail: Tail,
    cpu: Arc<Cpu>,
}

/// The right to a core, or nothing while there is nothing to do.
struct Cpu {
    runtime: Handle,
    all: Cores,
    own: Mutex<Option<Core>>,
    /// How large the layer is.
    size: u64,
}

impl Cpu {
    fn give_back(&self) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For blocking threads.
    fn take(&self) {
        let is_ours = self.own.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_ours {
            let core = self.runtime.block_on(self.all.take(self.size));
            *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(core);
        }
    }
}

impl Sharing {
    fn of(tail: Tail, all: Cores, size: u64) -> Self {
        let cpu = Arc::new(Cpu { runtime: Handle::current(), all, own: Mutex::default(), size });
        let shared = Arc::clone(&cpu);
        let tail = tail.on_wait(move |waiting| match waiting {
            Waiting::Begins => shared.give_back(),
            Waiting::Ends => shared.take(),
        });
        Self { tail, cpu }
    }
}

impl Read for Sharing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.cpu.take();
        self.tail.read(buffer)
    }
}

fn is_cut(error: &Error) -> bool {
    matches!(Cut::of(error), Some(Cut::Restarted | Cut::Abandoned))
}
