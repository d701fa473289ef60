//! Jobs, and the sources they bring.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::explain::Why;
use crate::ids::{JobId, SessionId};
use crate::machine::intake::Loading;
use crate::machine::requests::RequestId;
use crate::machine::{LOCAL, Machine, SourceIx, SourceState};
use crate::status::{Event, Journal, What};
use crate::store::CacheSource;
use crate::value::Value;

/// A job, or a build within a build.
pub(super) struct JobState<R: Value> {
    pub(super) session: Option<SessionId>,
    pub(super) sources: SmallVec<[SourceIx; 2]>,
    pub(super) explain: bool,
    /// Where it tells what happens; a build within a build tells the jobs it is built for.
    pub(super) journal: Option<Arc<Journal>>,
    /// The node that it is built within.
    pub(super) parent: Option<NodeIndex>,
    pub(super) held: Vec<NodeIndex>,
    pub(super) requests: BTreeSet<RequestId>,
    pub(super) loading: VecDeque<Loading<R>>,
    pub(super) whys: Vec<Why>,
}

impl<R: Value> JobState<R> {
    /// Where it looks besides the solver's own cache.
    pub(super) fn sources(&self) -> &[SourceIx] {
        &self.sources
    }

    pub(super) fn uses(&self, source: SourceIx) -> bool {
        self.sources.contains(&source)
    }
}

impl<R: Value> Machine<R> {
    /// Opens a job.
    pub(crate) fn open(
        &mut self,
        session: Option<SessionId>,
        sources: Vec<Arc<dyn CacheSource<R>>>,
        explain: bool,
        journal: Arc<Journal>,
    ) -> JobId {
        let sources: SmallVec<[SourceIx; 2]> =
            sources.into_iter().map(|source| self.source(source)).collect();
        for warning in sources.iter().filter_map(|source| self.sources[source.0 as usize].dead.as_deref()) {
            journal.push(Event { at: self.now, vertex: None, what: What::Warning(warning.to_owned()) });
        }
        self.open_as(session, sources, explain, Some(journal), None)
    }

    /// Opens a job for a build within a node.
    pub(super) fn open_within(&mut self, parent: NodeIndex) -> JobId {
        let sources: SmallVec<[SourceIx; 2]> =
            self.graph[parent].sources.iter().copied().filter(|source| *source != LOCAL).collect();
        sources.iter().for_each(|source| self.sources[source.0 as usize].users += 1);
        let explain = self.explains(parent);
        let job = self.open_as(None, sources, explain, None, Some(parent));
        self.graph[parent].rare().subs.push(job);
        job
    }

    fn open_as(
        &mut self,
        session: Option<SessionId>,
        sources: SmallVec<[SourceIx; 2]>,
        explain: bool,
        journal: Option<Arc<Journal>>,
        parent: Option<NodeIndex>,
    ) -> JobId {
        self.next_job += 1;
        let job = JobId(self.next_job);
        let (held, requests, loading, whys) = (Vec::new(), BTreeSet::new(), VecDeque::new(), Vec::new());
        let state = JobState { session, sources, explain, journal, parent, held, requests, loading, whys };
        self.jobs.insert(job, state);
        job
    }

    /// Ends a job: what it asked for is answered, what it alone held goes.
    pub(crate) fn discard(&mut self, job: JobId) {
        let Some(state) = self.jobs.remove(&job) else { return };
        for request in state.requests {
            self.withdraw(request, Some(Error::Cancelled { job }));
        }
        for loading in state.loading {
            self.answer(loading.request, Err(Error::Cancelled { job }));
        }
        if let Some(parent) = state.parent {
            let subs = &mut self.graph[parent].rare().subs;
            subs.retain(|sub| *sub != job);
        }
        // The newest first: what is above goes before what is below.
        for node in state.held.iter().rev().copied() {
            self.graph[node].holders.retain(|holder| holder.job != job);
            if let (Some(feed), Some(journal)) = (&self.graph[node].feed, &state.journal) {
                feed.detach(journal);
            }
        }
        for node in state.held.iter().rev().copied() {
            match self.graph.node_weight(node) {
                Some(left) if left.holders.is_empty() => self.retire(node),
                Some(_) if !state.sources.is_empty() => self.leave_sources(node),
                _ => {}
            }
        }
        for node in state.held.iter().rev().copied() {
            self.let_go(node);
        }
        for source in state.sources {
            self.drop_source(source);
        }
        if let Some(journal) = state.journal {
            journal.end();
        }
    }

    /// The place of a source; the same one has one place, whoever brings it.
    fn source(&mut self, source: Arc<dyn CacheSource<R>>) -> SourceIx {
        let known = self.sources.iter_mut().find(|(_, known)| Arc::ptr_eq(&known.source, &source));
        let at = match known {
            Some((at, known)) => {
                known.users += 1;
                at
            }
            None => self.sources.insert(SourceState { source, users: 1, dead: None }),
        };
        SourceIx(u32::try_from(at).unwrap_or(u32::MAX))
    }

    pub(super) fn drop_source(&mut self, source: SourceIx) {
        let at = source.0 as usize;
        if let Some(state) = self.sources.get_mut(at) {
            state.users -= 1;
            if state.users == 0 {
                self.sources.remove(at);
            }
        }
    }

    /// What a job holds, in the order it came to it.
    pub(super) fn held(&self, job: JobId) -> &[NodeIndex] {
        self.jobs.get(&job).map_or(&[], |state| state.held.as_slice())
    }

    /// The journal of a job.
    pub(crate) fn journal(&self, job: JobId) -> Result<Arc<Journal>> {
        let journal = self.jobs.get(&job).and_then(|state| state.journal.as_ref());
        journal.cloned().ok_or(Error::UnknownJob { job })
    }

    /// All jobs, oldest first.
    pub(crate) fn open_jobs(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }
}
