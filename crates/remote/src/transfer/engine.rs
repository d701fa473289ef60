//! The engine: one transfer per blob and place, whoever asks.

use std::fmt;
use std::sync::Arc;

use lazyblob_flightcontrol as flightcontrol;
use lazyblob_flightcontrol::Group;
use oci_spec::image::Descriptor;

use super::blob::moving;
use super::board::{Event, Telling};
use super::carry::Job;
use super::flights::{Flights, Key};
use super::limits::Limits;
use super::locations::Locations;
use super::queue::Rank;
use super::scheduler::Scheduler;
use super::settings::Settings;
use super::turns::Turns;
use crate::access::Access;
use crate::endpoint::Target;
use crate::error::{Error, Result, What};
use crate::progress::State;
use crate::provider::Provider;

/// What became of a blob, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// The target has it.
    Present,
    /// The target takes it from another of its repositories. In a plan a forecast: it may refuse, and then the bytes
    /// move.
    Mount,
    /// Its bytes move from source to target.
    Transfer,
    /// It must not be distributed (image-spec "Non-Distributable Layers"); whoever needs it follows its `urls`.
    Foreign,
}

impl Action {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Mount => "mount",
            Self::Transfer => "transfer",
            Self::Foreign => "foreign",
        }
    }

    /// The state a blob ends in.
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Self::Present | Self::Foreign => State::Present,
            Self::Mount => State::Mounted,
            Self::Transfer => State::Done,
        }
    }
}

/// A blob somebody wants somewhere.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The blob.
    pub blob: Descriptor,
    /// Where it may be had; the first is asked first.
    pub sources: Vec<Arc<dyn Provider>>,
    /// Where it is wanted. Targets of one origin are one place.
    pub target: Arc<dyn Target>,
    /// The layer's place in its image, zero at the bottom.
    pub height: u32,
    /// How many parts of what is asked for need it; those who join are added.
    pub shared: u32,
    /// On whose behalf, how urgently, and who watches.
    pub access: Access,
}

/// A blob that is where it was wanted.
#[derive(Clone, Debug)]
pub struct Brought {
    /// How it got there.
    pub action: Action,
    /// Reads it from there. As long as anybody holds it, the blob stays readable, whatever is pruned; nothing where
    /// the target keeps no such hold.
    pub held: Option<Arc<dyn Provider>>,
}

/// The one engine that everything that moves goes through. Cheap to clone; clones are the same engine.
///
/// A transfer belongs to those who wait for it: it runs in a task of its own, joiners add their sources and their
/// urgency, and the last one to leave ends it.
#[derive(Clone)]
pub struct Transfers(Arc<Inner>);

struct Inner {
    settings: Settings,
    scheduler: Scheduler,
    group: Group<Key, Brought, Error, Event>,
    flights: Arc<Flights>,
    locations: Locations,
    turns: Turns,
}

impl Transfers {
    /// An engine with nothing under way.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let scheduler = Scheduler::new(settings.limits.clone(), settings.retry);
        let (group, flights) = (Group::new(), Arc::default());
        let (locations, turns) = (Locations::new(), Turns::default());
        Self(Arc::new(Inner { settings, scheduler, group, flights, locations, turns }))
    }

    /// The values it was made with; [`Transfers::scheduler`] has the limits in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Who hands out slots.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.0.scheduler
    }

    /// Where blobs are known to be, as far as this engine has seen; an embedder may tell it more.
    #[must_use]
    pub fn locations(&self) -> &Locations {
        &self.0.locations
    }

    /// Sets other limits, felt at once.
    pub fn set_limits(&self, limits: Limits) {
        self.0.scheduler.set_limits(limits);
    }

    /// Transfers under way, those that wind down among them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.group.in_flight().max(self.0.flights.len())
    }

    /// Brings a blob to where it is wanted, or joins whoever does. Dropping the future withdraws; the last one out ends
    /// the transfer, and what came is kept where the target keeps such.
    ///
    /// # Errors
    /// Those of the sources when none is left, those of the target, [`Error::Integrity`], [`Error::Cancelled`] after
    /// [`Transfers::close`].
    pub async fn bring(&self, wanted: Wanted) -> Result<Brought> {
        let Wanted { blob, sources, target, height, shared, access } = wanted;
        let key = Key { blob: blob.digest().clone(), size: blob.size(), target: target.origin() };
        let rank = Rank { priority: access.priority, height, shared };
        let interest = self.0.flights.join(&key, rank, &sources);
        let (sink, watcher) = flightcontrol::watcher();
        let mut telling = Telling::new(blob.clone(), Arc::clone(&access.progress), moving(target.host()));
        let what = What::new("bring blob", format_args!("{} to {}", blob.digest(), key.target));
        // Not the engine itself: it must not outlive its owner through its own work.
        let (settings, scheduler) = (self.0.settings.clone(), self.0.scheduler.clone());
        let flight = Arc::clone(interest.flight());
        let (locations, turns) = (self.0.locations.clone(), self.0.turns.clone());
        let job = Job { settings, scheduler, flight, blob, target, access, locations, turns };
        let work = move |context| job.run(context);
        let run = self.0.group.run_with_progress(key, work, sink);
        let watch = telling.follow(watcher, self.0.settings.interval);
        let (outcome, ()) = futures::join!(run, watch);
        drop(interest);
        let outcome = outcome.map_err(|error| told(error, what));
        telling.end(outcome.as_ref().map_or(State::Failed, |brought| brought.action.state()));
        outcome
    }

    /// Refuses new transfers and waits until those under way have returned, cancelled ones included.
    pub async fn close(&self) {
        self.0.group.close().await;
    }
}

/// What a waiter hears.
fn told(error: flightcontrol::Error<Error>, what: What) -> Error {
    match error {
        flightcontrol::Error::Failed(error) => Error::Shared(error),
        flightcontrol::Error::Personal(error) => error,
        flightcontrol::Error::Panicked(message) => {
            let reason = format!("the work panicked: {message}");
            Error::Unavailable { what, reason, retry_after: None, transient: false }
        }
        _ => Error::Cancelled { what },
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers")
            .field("in_flight", &self.in_flight())
            .field("scheduler", &self.0.scheduler)
            .finish_non_exhaustive()
    }
}
