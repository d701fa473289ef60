//! One blob to its target, moving as little as possible: mount? present? and only then its bytes.

use std::sync::Arc;

use lazyblob_flightcontrol::{Context, Failure};
use oci_spec::image::Descriptor;

use super::blob::{Blob, Part};
use super::board::{Board, Event};
use super::engine::{Action, Brought};
use super::flights::Flight;
use super::lease::Lease;
use super::locations::Locations;
use super::scheduler::Scheduler;
use super::settings::Settings;
use super::sources::Sources;
use super::turns::{Turn, Turns};
use crate::access::Access;
use crate::endpoint::{Mounted, Target};
use crate::error::{Error, Result};
use crate::provider::Origin;

/// One transfer, as the asker whose turn it is would have it done.
pub(super) struct Job {
    pub(super) settings: Settings,
    pub(super) scheduler: Scheduler,
    pub(super) flight: Arc<Flight>,
    pub(super) blob: Descriptor,
    pub(super) target: Arc<dyn Target>,
    pub(super) access: Access,
    pub(super) locations: Locations,
    pub(super) turns: Turns,
}

/// The run of one transfer.
struct Carrier {
    blob: Blob,
    flight: Arc<Flight>,
    lease: Lease,
    target: Arc<dyn Target>,
    locations: Locations,
    turns: Turns,
}

/// Whose trouble an error is.
enum Trouble {
    /// A source's, or that of our credentials at the target: another asker's may be better.
    Ours(Error),
    /// The target's, for whoever asks.
    Common(Error),
}

impl Job {
    pub(super) async fn run(self, context: Context<Event>) -> Result<Brought, Failure<Error>> {
        let Self { settings, scheduler, flight, blob, target, access, locations, turns } = self;
        let place = scheduler.place(flight.rank());
        flight.stand(place.standing());
        let lease = Lease::new(place);
        let _term = lease.term();
        // Ends with this run: what a connection still has of it gets nothing any more.
        let cancel = context.token().child_token();
        let _over = cancel.clone().drop_guard();
        let part = Part { lease: lease.clone(), to: target.host().map(str::to_owned) };
        let access = Access { progress: Arc::new(Board::new(context, settings.interval)), ..access };
        let sources = Arc::clone(flight.sources());
        let blob = Blob::of(blob, sources, settings, access, cancel, Some(part));
        Carrier { blob, flight, lease, target, locations, turns }.carry().await
    }
}

impl Carrier {
    async fn carry(self) -> Result<Brought, Failure<Error>> {
        let action = match self.place().await {
            Ok(action) => action,
            Err(Trouble::Ours(error)) => return Err(Failure::Personal(error)),
            Err(Trouble::Common(error)) => return Err(Failure::Shared(error)),
        };
        let held = self.blob.unless_cancelled(self.target.hold(self.blob.descriptor())).await?;
        Ok(Brought { action, held })
    }

    async fn place(&self) -> Result<Action, Trouble> {
        let blob = self.blob.descriptor();
        let target = self.target.origin();
        // What is believed to be there is asked for first, and once.
        let believed = self.locations.knows(blob.digest(), &target);
        if believed {
            if self.is_present().await? {
                return Ok(Action::Present);
            }
            self.locations.forget(blob.digest(), &target);
        }
        let neighbours = self.sources().at_host(blob, &target.host);
        let mut session = None;
        if self.target.mounts() && !neighbours.is_empty() {
            match self.mount(&neighbours).await? {
                Mounted::Yes => return self.found(Action::Mount).await,
                Mounted::No { session: opened } => session = opened,
            }
        }
        if !believed && self.is_present().await? {
            return self.found(Action::Present).await;
        }
        let _turn = if self.target.mounts() && neighbours.is_empty() {
            let turn = self.turn().await?;
            match self.mount_what_others_brought().await? {
                Mounted::Yes => return self.found(Action::Mount).await,
                Mounted::No { session: opened } => session = opened,
            }
            Some(turn)
        } else {
            None
        };
        self.transfer(session).await?;
        self.found(Action::Transfer).await
    }

    async fn is_present(&self) -> Result<bool, Trouble> {
        self.blob.unless_cancelled(self.target.has_blob(self.blob.descriptor())).await.map_err(at_target)
    }

    fn sources(&self) -> &Sources {
        self.flight.sources()
    }

    /// Takes note of where the blob is now, and of the repositories that have it by the word of those who asked.
    async fn found(&self, action: Action) -> Result<Action, Trouble> {
        let blob = self.blob.descriptor();
        let digest = blob.digest();
        for origin in self.sources().at_hosts(blob) {
            self.locations.record(digest, origin, None);
        }
        if self.target.host().is_some() {
            let identity = self.target.identity().await;
            self.locations.record(digest, self.target.origin(), identity);
        }
        Ok(action)
    }

    /// Asks the target to take the blob from the first of `repositories` that it will.
    async fn mount(&self, repositories: &[Origin]) -> Result<Mounted, Trouble> {
        let mut session = None;
        for from in repositories {
            let mount = self.target.mount(self.blob.descriptor(), from);
            match self.blob.unless_cancelled(mount).await.map_err(at_target)? {
                Mounted::Yes => return Ok(Mounted::Yes),
                Mounted::No { session: opened } => session = opened.or(session),
            }
        }
        Ok(Mounted::No { session })
    }

    /// Waits until nobody else brings the blob to the target's host, into whichever repository: it crosses once, and
    /// others mount it. No slot is held meanwhile.
    async fn turn(&self) -> Result<Turn, Trouble> {
        let arrival = (self.blob.descriptor().digest().clone(), self.target.origin().host);
        let turn = self.turns.take(arrival, &self.flight);
        self.blob.unless_cancelled(async { Ok(turn.await) }).await.map_err(at_target)
    }

    /// Asks the target to take the blob from where it is known to have come, in other repositories of its host.
    async fn mount_what_others_brought(&self) -> Result<Mounted, Trouble> {
        let (blob, target) = (self.blob.descriptor(), self.target.origin());
        // Whose credentials these are is worth asking only where there are places to put in order by it.
        if self.locations.candidates(blob, &target, None).is_empty() || !self.target.mounts() {
            return Ok(Mounted::No { session: None });
        }
        let identity = self.target.identity().await;
        let places = self.locations.candidates(blob, &target, identity.as_ref());
        let mounting =
            self.blob.unless_cancelled(self.target.mount_from(blob, &places)).await.map_err(at_target)?;
        for stale in &mounting.stale {
            self.locations.refused(blob.digest(), stale, identity.as_ref());
        }
        Ok(match mounting.from {
            Some(_) => Mounted::Yes,
            None => Mounted::No { session: mounting.session },
        })
    }

    /// Moves the bytes. What turns out to be something else has not become visible, and is read again where that may
    /// help.
    async fn transfer(&self, mut session: Option<String>) -> Result<(), Trouble> {
        loop {
            let put = self.lease.during(self.target.put_blob(&self.blob, session.take()));
            let Err(error) = put.await else { return Ok(()) };
            if self.blob.may_read_again(&error) {
                continue;
            }
            let of_source = self.sources().is_exhausted() || matches!(error.root(), Error::Integrity { .. });
            return Err(if of_source { Trouble::Ours(error) } else { at_target(error) });
        }
    }
}

fn at_target(error: Error) -> Trouble {
    match error.root() {
        Error::Unauthorized { .. } => Trouble::Ours(error),
        _ => Trouble::Common(error),
    }
}
