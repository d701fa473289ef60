//! One blob to its target, moving as little as possible: mount? present? and only then its bytes.

use std::sync::Arc;

use lazyblob_flightcontrol::Failure;
use oci_spec::image::Descriptor;
use tokio_util::sync::CancellationToken;

use super::blob::Blob;
use super::engine::{Action, Brought};
use super::lease::Lease;
use super::settings::Settings;
use super::sources::Sources;
use crate::access::Access;
use crate::endpoint::{Mounted, Target};
use crate::error::{Error, Result, What};
use crate::progress::State;
use crate::provider::Origin;

/// The run of one transfer.
pub(super) struct Carrier {
    blob: Blob,
    sources: Arc<Sources>,
    target: Arc<dyn Target>,
    cancel: CancellationToken,
}

/// Whose trouble an error is.
enum Trouble {
    /// A source's, or that of our credentials at the target: another asker's may be better.
    Ours(Error),
    /// The target's, for whoever asks.
    Common(Error),
}

impl Carrier {
    pub(super) fn new(
        descriptor: Descriptor,
        sources: Arc<Sources>,
        target: Arc<dyn Target>,
        settings: Settings,
        access: Access,
        cancel: CancellationToken,
        lease: Lease,
    ) -> Self {
        let moving = if target.host().is_some() { State::Uploading } else { State::Downloading };
        let blob =
            Blob::of(descriptor, Arc::clone(&sources), settings, access, cancel.clone(), Some(lease), moving);
        Self { blob, sources, target, cancel }
    }

    pub(super) async fn carry(self) -> Result<Brought, Failure<Error>> {
        let outcome = self.place().await;
        match outcome {
            Ok(action) => {
                let held = self.unless_cancelled(self.target.hold(self.blob.descriptor())).await;
                Ok(Brought { action, held: held.map_err(Failure::Shared)? })
            }
            Err(Trouble::Ours(error)) => Err(Failure::Personal(error)),
            Err(Trouble::Common(error)) => Err(Failure::Shared(error)),
        }
    }

    async fn place(&self) -> Result<Action, Trouble> {
        let blob = self.blob.descriptor();
        let mut session = None;
        if self.target.mounts() {
            match self.mount(&self.sources.at_host(&self.target.origin().host)).await? {
                Mounted::Yes => return Ok(Action::Mount),
                Mounted::No { session: opened } => session = opened,
            }
        }
        if self.unless_cancelled(self.target.has_blob(blob)).await.map_err(at_target)? {
            return Ok(Action::Present);
        }
        self.transfer(session).await?;
        Ok(Action::Transfer)
    }

    /// Asks the target to take the blob from the first of `repositories` that it will.
    async fn mount(&self, repositories: &[Origin]) -> Result<Mounted, Trouble> {
        let mut session = None;
        for from in repositories {
            let mount = self.target.mount(self.blob.descriptor(), from);
            match self.unless_cancelled(mount).await.map_err(at_target)? {
                Mounted::Yes => return Ok(Mounted::Yes),
                Mounted::No { session: opened } => session = opened.or(session),
            }
        }
        Ok(Mounted::No { session })
    }

    /// Moves the bytes. What turns out to be something else has not become visible, and is read again where that may
    /// help.
    async fn transfer(&self, mut session: Option<String>) -> Result<(), Trouble> {
        loop {
            let Err(error) = self.target.put_blob(&self.blob, session.take()).await else { return Ok(()) };
            if self.blob.may_read_again(&error) {
                continue;
            }
            let of_source = self.sources.is_exhausted() || matches!(error.root(), Error::Integrity { .. });
            return Err(if of_source { Trouble::Ours(error) } else { at_target(error) });
        }
    }

    /// Waits for one step of the way, which can be dropped where it is.
    async fn unless_cancelled<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        match self.cancel.run_until_cancelled(step).await {
            Some(outcome) => outcome,
            None => Err(Error::Cancelled { what: What::new("bring blob", self.blob.descriptor().digest()) }),
        }
    }
}

fn at_target(error: Error) -> Trouble {
    match error.root() {
        Error::Unauthorized { .. } => Trouble::Ours(error),
        _ => Trouble::Common(error),
    }
}
