//! Where a blob may be had: grows while it is read, shrinks when a source refuses.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_spec::image::Descriptor;

use crate::error::{Error, What};
use crate::provider::{Origin, Provider};

/// The sources of one blob, in the order in which they came. Shared by all who want it.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    next: u64,
    /// Why the last one was refused.
    last: Option<Error>,
    /// What was put together from pieces turned out wrong, and is read in one piece.
    afresh: bool,
}

#[derive(Debug)]
struct Entry {
    id: SourceId,
    /// Whose source it is: it goes when they go.
    owner: u64,
    provider: Arc<dyn Provider>,
    refused: bool,
}

/// Names one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceId(u64);

impl Sources {
    /// Adds the sources of `owner`, after those there are.
    pub(super) fn add(&self, owner: u64, providers: &[Arc<dyn Provider>]) {
        let mut state = self.state();
        for provider in providers {
            let id = SourceId(state.next);
            state.next += 1;
            state.entries.push(Entry { id, owner, provider: Arc::clone(provider), refused: false });
        }
    }

    /// Removes the sources of `owner`: with their owner, the right to use them has gone. A read under way is not cut
    /// off by it.
    pub(super) fn withdraw(&self, owner: u64) {
        let mut state = self.state();
        let gone: Vec<Entry> = state.entries.extract_if(.., |entry| entry.owner == owner).collect();
        drop(state);
        drop(gone);
    }

    /// The first source that has not been refused.
    pub(super) fn current(&self) -> Option<(SourceId, Arc<dyn Provider>)> {
        let state = self.state();
        state.entries.iter().find(|entry| !entry.refused).map(|entry| (entry.id, Arc::clone(&entry.provider)))
    }

    /// The repositories among those not refused, each once.
    pub(super) fn at_hosts(&self, blob: &Descriptor) -> Vec<Origin> {
        let state = self.state();
        let mut origins: Vec<Origin> = Vec::new();
        for entry in state.entries.iter().filter(|entry| !entry.refused) {
            for origin in entry.provider.seen_at(blob) {
                if !origins.contains(&origin) {
                    origins.push(origin);
                }
            }
        }
        origins
    }

    /// Those of them that are at `host`.
    pub(super) fn at_host(&self, blob: &Descriptor, host: &str) -> Vec<Origin> {
        let mut origins = self.at_hosts(blob);
        origins.retain(|origin| origin.host == host);
        origins
    }

    /// Asks `id` no more, because of `error`. Where it was not about credentials, another asker's way to the same
    /// place is no better.
    pub(super) fn refuse(&self, id: SourceId, error: Error) {
        let personal = matches!(error.root(), Error::Unauthorized { .. });
        let mut state = self.state();
        let origin = state.entries.iter().find(|entry| entry.id == id).map(|entry| entry.provider.origin());
        for entry in &mut state.entries {
            let same_place = !personal && Some(entry.provider.origin()) == origin;
            entry.refused |= entry.id == id || same_place;
        }
        tracing::debug!(%error, ?origin, "source dropped");
        state.last = Some(error);
    }

    /// Whether there is a source left to ask.
    pub(super) fn is_exhausted(&self) -> bool {
        self.state().entries.iter().all(|entry| entry.refused)
    }

    /// The error of a blob that no source is left for.
    pub(super) fn exhausted(&self, blob: &Descriptor) -> Error {
        match &self.state().last {
            Some(last) => last.duplicate(),
            None => {
                let what = What::new("read blob", blob.digest());
                Error::NotFound { what, reason: "no source is known".to_owned() }
            }
        }
    }

    /// Whether what was put together from pieces and is wrong has not been read afresh yet. True once.
    pub(super) fn may_start_afresh(&self) -> bool {
        !std::mem::replace(&mut self.state().afresh, true)
    }

    /// Tells `id` that what it brought was something else. Says whether it knows another place to bring the blob from.
    pub(super) fn distrust(&self, id: SourceId, blob: &Descriptor) -> bool {
        self.provider(id).is_some_and(|provider| provider.distrust(blob))
    }

    /// Tells `id` that what it brought broke off again and again. Says whether it goes to another place from now on.
    pub(super) fn avoid(&self, id: SourceId, blob: &Descriptor) -> bool {
        self.provider(id).is_some_and(|provider| provider.avoid(blob))
    }

    fn provider(&self, id: SourceId) -> Option<Arc<dyn Provider>> {
        let state = self.state();
        state.entries.iter().find(|entry| entry.id == id).map(|entry| Arc::clone(&entry.provider))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.current() {
            Some((_, provider)) => provider.origin().fmt(f),
            None => f.write_str("no source"),
        }
    }
}
