//! One blob to its target, moving as little as possible: mount? present? and only then its bytes.

use std::sync::Arc;

use lazyblob_flightcontrol::{Context, Failure};
use oci_spec::image::Descriptor;

use super::blob::Blob;
use super::board::{Board, Event};
use super::engine::{Action, Brought};
use super::flights::Flight;
use super::lease::Lease;
use super::scheduler::Scheduler;
use super::settings::Settings;
use super::sources::Sources;
use crate::access::Access;
use crate::endpoint::{Mounted, Target};
use crate::error::{Error, Result, What};
use crate::progress::State;
use crate::provider::Origin;

/// One transfer, as the asker whose turn it is would have it done.
pub(super) struct Job {
    pub(super) settings: Settings,
    pub(super) scheduler: Scheduler,
    pub(super) flight: Arc<Flight>,
    pub(super) blob: Descriptor,
    pub(super) target: Arc<dyn Target>,
    pub(super) access: Access,
}

/// The run of one transfer.
struct Carrier {
    blob: Blob,
    sources: Arc<Sources>,
    target: Arc<dyn Target>,
}

/// Whose trouble an error is.
enum Trouble {
    /// A source's, or that of our credentials at the target: another asker's may be better.
    Ours(Error),
    /// The target's, for whoever asks.
    Common(Error),
}

/// What is shown while bytes go to `target`.
pub(super) fn moving(target: &dyn Target) -> State {
    if target.host().is_some() { State::Uploading } else { State::Downloading }
}

impl Job {
    pub(super) async fn run(self, context: Context<Event>) -> Result<Brought, Failure<Error>> {
        let Self { settings, scheduler, flight, blob, target, access } = self;
        let place = scheduler.place(flight.rank());
        flight.stand(place.standing());
        let lease = Lease::new(place, target.host().map(str::to_owned));
        let cancel = context.token().clone();
        let access = Access { progress: Arc::new(Board::new(context, settings.interval)), ..access };
        let (sources, moving) = (Arc::clone(flight.sources()), moving(target.as_ref()));
        let blob = Blob::of(blob, Arc::clone(&sources), settings, access, cancel, Some(lease), moving);
        Carrier { blob, sources, target }.carry().await
    }
}

impl Carrier {
    async fn carry(self) -> Result<Brought, Failure<Error>> {
        let action = match self.place().await {
            Ok(action) => action,
            Err(Trouble::Ours(error)) => return Err(Failure::Personal(error)),
            Err(Trouble::Common(error)) => return Err(Failure::Shared(error)),
        };
        let held = self.unless_cancelled(self.target.hold(self.blob.descriptor())).await?;
        Ok(Brought { action, held })
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
        match self.blob.cancelled().run_until_cancelled(step).await {
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
