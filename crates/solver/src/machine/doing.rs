//! What is there of an edge only while something is done about it.

use std::collections::BTreeSet;

use crate::machine::edge::{Candidate, EdgeState};
use crate::machine::requests::RequestId;
use crate::machine::tickets::TicketId;

/// What is there of an edge only while something is done about it; then it goes ([`EdgeState::tidy`]).
pub(super) struct Doing<R> {
    /// Records that may be loaded.
    pub(super) candidates: Vec<Candidate>,
    /// A result that is being saved.
    pub(super) pending: Option<R>,
    /// What is being loaded or saved.
    pub(super) busy: Option<TicketId>,
    /// Who waits for the result.
    pub(super) requests: BTreeSet<RequestId>,
}

impl<R> Default for Doing<R> {
    fn default() -> Self {
        Self { candidates: Vec::new(), pending: None, busy: None, requests: BTreeSet::new() }
    }
}

impl<R> EdgeState<R> {
    /// What is being done, to be written to.
    pub(super) fn doing(&mut self) -> &mut Doing<R> {
        self.doing.get_or_insert_default()
    }

    /// Lets go of what is empty.
    pub(super) fn tidy(&mut self) {
        let is_empty = |doing: &Doing<R>| {
            doing.candidates.is_empty()
                && doing.pending.is_none()
                && doing.busy.is_none()
                && doing.requests.is_empty()
        };
        self.doing.take_if(|doing| is_empty(doing));
    }

    /// What is being loaded or saved.
    pub(super) fn busy(&self) -> Option<TicketId> {
        self.doing.as_ref()?.busy
    }

    /// Nothing is being loaded or saved any more: what was being saved.
    pub(super) fn rest(&mut self) -> Option<R> {
        let doing = self.doing.as_mut()?;
        doing.busy = None;
        let pending = doing.pending.take();
        self.tidy();
        pending
    }

    /// Whether a result is being saved.
    pub(super) fn is_kept(&self) -> bool {
        self.doing.as_ref().is_some_and(|doing| doing.pending.is_some())
    }

    /// Records that may be loaded.
    pub(super) fn candidates(&self) -> &[Candidate] {
        self.doing.as_ref().map_or(&[], |doing| doing.candidates.as_slice())
    }

    /// Adds a record that may be loaded.
    pub(super) fn nominate(&mut self, candidate: Candidate) {
        let candidates = &mut self.doing().candidates;
        // Of most there is one.
        candidates.reserve_exact(1);
        candidates.push(candidate);
    }

    /// Who waits for the result.
    pub(super) fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.doing.iter().flat_map(|doing| doing.requests.iter().copied())
    }

    /// Takes out who waits for the result.
    pub(super) fn take_requests(&mut self) -> BTreeSet<RequestId> {
        let requests = self.doing.as_mut().map(|doing| std::mem::take(&mut doing.requests));
        self.tidy();
        requests.unwrap_or_default()
    }
}
