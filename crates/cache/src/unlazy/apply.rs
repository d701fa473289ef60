//! One layer from wherever its blob is to a staging directory, in one pass over its bytes.
//!
//! A blob that is here is read from the store; one that is not is fetched, and read while it is received. What is read
//! of it is not verified before its end; nobody sees the staging directory before that.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{Either, select};
use lazyblob_remote::Access;
use lazyblob_remote::layout::{Begun, Cut, Tail, Waiting};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, What};
use crate::layer::{self, Applied, Options};
use crate::manager::Manager;
use crate::record::LayerBlob;
use crate::refs::Layer;
use crate::snapshot::{SnapshotKey, Staged};

/// A layer in its staging directory, to be settled with those below.
pub(super) type Made = (Staged, Applied);

/// One layer to be applied.
pub(super) struct Applying<'a> {
    pub(super) manager: &'a Manager,
    pub(super) layer: &'a Layer,
    pub(super) blob: LayerBlob,
    pub(super) key: SnapshotKey,
    pub(super) height: usize,
    pub(super) access: &'a Access,
    pub(super) cancel: &'a CancellationToken,
}

impl Applying<'_> {
    /// Applies the layer, fetching its blob if need be.
    pub(super) async fn run(&self) -> Result<Made> {
        if self.manager.store().holds(&self.blob.descriptor).await? {
            match self.apply_stored().await {
                // Pruned by somebody between the two, or it never was what it said: it is fetched again.
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
        }
        self.fetch_and_apply().await
    }

    async fn fetch_and_apply(&self) -> Result<Made> {
        let over = self.cancel.child_token();
        let fetch = self.manager.unlazy_layer(&self.blob.descriptor, self.layer, self.height, self.access);
        let fetch = std::pin::pin!(self.cancel.run_until_cancelled(fetch));
        let apply = std::pin::pin!(self.follow(&over));
        match select(fetch, apply).await {
            Either::Left((Some(Ok(_)), apply)) => apply.await,
            Either::Left((fetched, apply)) => {
                // Blocking work is never left behind: it looks at the token and returns.
                over.cancel();
                drop(apply.await);
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

    /// Applies the blob while it is received; begins again when its reception does.
    async fn follow(&self, cancel: &CancellationToken) -> Result<Made> {
        let follower = self.manager.store().ingests().follow(&self.blob.descriptor)?;
        loop {
            let begun =
                cancel.run_until_cancelled(follower.begun()).await.ok_or_else(|| self.cancelled())??;
            let tail = match begun {
                Begun::Here => return self.apply_stored().await,
                Begun::Tail(tail) => tail,
            };
            // Ends the tail alone, and with all else.
            let useless = cancel.child_token();
            let tail = Sharing::of(tail.until(useless.clone()), Arc::clone(&self.manager.0.cpus));
            match self.apply(tail, cancel, useless).await {
                Err(error) if !cancel.is_cancelled() && is_cut(&error) => {
                    tracing::debug!(%error, digest = %self.blob.descriptor.digest(), "unpacking begins again");
                }
                other => return other,
            }
        }
    }

    async fn apply_stored(&self) -> Result<Made> {
        let (store, descriptor) = (self.manager.store().clone(), self.blob.descriptor.clone());
        let what = || What::new("read blob", self.blob.descriptor.digest());
        let file = blocking(what, move || store.open_file(&descriptor)).await?;
        let slot = Arc::clone(&self.manager.0.cpus).acquire_owned();
        let slot = self.cancel.run_until_cancelled(slot).await;
        let Some(Ok(slot)) = slot else { return Err(self.cancelled()) };
        self.apply(Held { file, _slot: slot }, self.cancel, CancellationToken::new()).await
    }

    /// Applies what `bytes` brings in a blocking thread. It is joined, whatever happens.
    async fn apply(
        &self,
        bytes: impl Read + Send + 'static,
        cancel: &CancellationToken,
        useless: CancellationToken,
    ) -> Result<Made> {
        let (snapshots, key) = (Arc::clone(self.manager.snapshots()), self.key.clone());
        let (blob, cancel) = (self.blob.clone(), cancel.clone());
        let options = self.manager.layer_options();
        let work = move || {
            // What a dead maker has left: this is for the holder of the key's lock.
            snapshots.clear_staging(&key)?;
            let staged = snapshots.stage(&key)?;
            let (descriptor, diff_id, dir) = (&blob.descriptor, &blob.diff_id, staged.directory());
            let applied =
                layer::unpack_while_it_comes(bytes, descriptor, diff_id, dir, &options, &cancel, &useless)?;
            Ok((staged, applied))
        };
        blocking(|| What::new("unpack layer", self.blob.descriptor.digest()), work).await
    }

    fn cancelled(&self) -> Error {
        Error::Cancelled { what: What::new("unpack layer", self.blob.descriptor.digest()) }
    }
}

impl Manager {
    /// How layers are applied for snapshots here.
    pub(crate) fn layer_options(&self) -> Options {
        let (form, settings) = (self.snapshots().form(), self.settings());
        let options =
            if settings.privileged { Options::privileged(form) } else { Options::unprivileged(form) };
        Options { limits: settings.limits, ..options }
    }
}

/// A stored blob, with the right to a core for as long as it is read.
struct Held {
    file: std::fs::File,
    _slot: OwnedSemaphorePermit,
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
    all: Arc<Semaphore>,
    own: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Cpu {
    fn give_back(&self) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For blocking threads.
    fn take(&self) {
        let is_ours = self.own.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_ours {
            // Only a closed semaphore refuses, and nobody closes it.
            let permit = self.runtime.block_on(Arc::clone(&self.all).acquire_owned()).ok();
            *self.own.lock().unwrap_or_else(PoisonError::into_inner) = permit;
        }
    }
}

impl Sharing {
    fn of(tail: Tail, all: Arc<Semaphore>) -> Self {
        let cpu = Arc::new(Cpu { runtime: Handle::current(), all, own: Mutex::default() });
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

/// Runs `work` in a blocking thread and waits for its end.
pub(crate) async fn blocking<T: Send + 'static>(
    what: impl FnOnce() -> What,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Cancelled { what: what() }),
        },
    }
}
