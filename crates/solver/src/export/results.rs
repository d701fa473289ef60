//! The results of edges: which there are, and which of them can be given away.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use futures::{FutureExt, StreamExt, stream};
use smallvec::SmallVec;

use crate::error::{Cause, LoadError, Result, StoreError};
use crate::export::walk::Walk;
use crate::export::web::Web;
use crate::export::{DropReason, ExportMode};
use crate::key::KeyId;
use crate::machine::Way;
use crate::ops::{LoadCx, Site};
use crate::scheduler::{message, within};
use crate::status::Feed;
use crate::store::{Record, ResultId};
use crate::value::Value;

/// How many results are asked for at once.
const AT_ONCE: usize = 16;

/// What became of the result of an edge.
pub(super) struct Fetched<R: Value> {
    pub(super) taken: Option<Taken<R>>,
    pub(super) dropped: Vec<DropReason>,
    /// Sources that could not say which records they have.
    failed: Vec<(usize, StoreError)>,
    gone: Vec<(usize, ResultId)>,
    tried: HashSet<(usize, ResultId)>,
}

impl<R: Value> Fetched<R> {
    fn nothing() -> Self {
        Self { taken: None, dropped: Vec::new(), failed: Vec::new(), gone: Vec::new(), tried: HashSet::new() }
    }
}

/// A result that can be given away.
pub(super) struct Taken<R: Value> {
    source: usize,
    id: ResultId,
    pub(super) created_at: SystemTime,
    pub(super) forms: Vec<R::Remote>,
}

impl<R: Value> Walk<R> {
    /// The result of each edge of the trace.
    pub(super) async fn fetch_all(&mut self, web: &Web, levels: &[Option<u32>]) -> Result<Vec<Fetched<R>>> {
        let has_record = |at: usize| web.of_edge[at].iter().any(|node| levels[*node].is_some());
        let wanted: Vec<bool> = (0..self.trace.edges.len())
            .map(|at| {
                let edge = &self.trace.edges[at];
                !edge.no_export && (!edge.is_root || self.options.roots) && has_record(at)
            })
            .collect();
        let mut fetched: Vec<Option<Fetched<R>>> =
            std::iter::repeat_with(|| None).take(wanted.len()).collect();
        if self.options.mode == ExportMode::Min {
            self.fetch_top(&wanted, &mut fetched).await?;
        }
        let make = self.options.mode == ExportMode::Max;
        let walk = &*self;
        let rest = (0..wanted.len()).filter(|at| wanted[*at] && fetched[*at].is_none());
        let rest: Vec<_> = stream::iter(rest)
            .map(|at| async move { (at, walk.fetch(at, make).await) })
            .buffered(AT_ONCE)
            .collect()
            .await;
        for (at, result) in rest {
            fetched[at] = Some(self.noted(result)?);
        }
        Ok(fetched.into_iter().map(|fetched| fetched.unwrap_or_else(Fetched::nothing)).collect())
    }

    /// Those results that are made fit to be given away where nothing above them is.
    async fn fetch_top(&mut self, wanted: &[bool], fetched: &mut [Option<Fetched<R>>]) -> Result<()> {
        let mut queue = VecDeque::from([0]);
        let mut seen = vec![false; wanted.len()];
        while let Some(at) = queue.pop_front() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            if wanted[at] {
                let result = self.fetch(at, true).await;
                fetched[at] = Some(self.noted(result)?);
            }
            if fetched[at].as_ref().is_none_or(|fetched| fetched.taken.is_none()) {
                queue.extend(self.trace.edges[at].inputs.iter().flatten().filter_map(|way| match way {
                    Way::Edge(_, below) => Some(*below),
                    Way::Content(_) => None,
                }));
            }
        }
        Ok(())
    }

    /// Takes down what went wrong while a result was asked for.
    fn noted(&mut self, mut fetched: Fetched<R>) -> Result<Fetched<R>> {
        self.gone.append(&mut fetched.gone);
        fetched.failed.drain(..).try_for_each(|(source, cause)| self.failed(source, cause))?;
        Ok(fetched)
    }

    /// The result of an edge: that which it has, else the newest that can be had.
    async fn fetch(&self, at: usize, make: bool) -> Fetched<R> {
        let edge = &self.trace.edges[at];
        let mut fetched = Fetched::nothing();
        let cx = self.cx(at);
        for (source, record) in edge.own.clone() {
            if self.try_record(&cx, source, record, make, &mut fetched).await {
                return fetched;
            }
        }
        for (source, record) in self.known(at, &mut fetched).await {
            if self.try_record(&cx, source, record, make, &mut fetched).await {
                return fetched;
            }
        }
        if make && fetched.dropped.is_empty() {
            fetched.dropped.push(DropReason::NoResult);
        }
        fetched
    }

    /// The records of an edge's keys: the newest first, and of equally new ones that of the first source.
    async fn known(&self, at: usize, fetched: &mut Fetched<R>) -> Vec<(usize, Record)> {
        let edge = &self.trace.edges[at];
        let mut records = Vec::new();
        for source in (0..self.trace.sources.len()).filter(|source| !self.is_deaf(*source)) {
            let keys: SmallVec<[KeyId; 2]> = if edge.is_root {
                edge.ops.iter().copied().collect()
            } else {
                edge.keys.iter().filter(|(of, _)| *of == source).map(|(_, key)| *key).collect()
            };
            for key in keys {
                match self.patient(source, self.trace.sources[source].records(key)).await {
                    Ok(found) => records.extend(found.into_iter().map(|record| (source, record))),
                    Err(cause) => {
                        fetched.failed.push((source, cause));
                        break;
                    }
                }
            }
        }
        let rank = |(source, record): &(usize, Record)| {
            let result = &record.result;
            (std::cmp::Reverse(result.created_at), *source, result.id.clone())
        };
        records.sort_by_cached_key(rank);
        records
    }

    /// Asks for the forms of a record; true if it has some.
    async fn try_record(
        &self,
        cx: &LoadCx,
        source: usize,
        record: Record,
        make: bool,
        fetched: &mut Fetched<R>,
    ) -> bool {
        let id = record.result.id.clone();
        if !fetched.tried.insert((source, id.clone())) {
            return false;
        }
        let from = &self.trace.sources[source];
        let asks = AssertUnwindSafe(async { from.remotes(cx, &record, make).await }).catch_unwind();
        // What has to be made first may take its time; what is only looked up may not.
        let asked = if make || source == 0 {
            asks.await
        } else {
            let asked = within(self.trace.patience, &self.cancel, asks).await;
            asked.unwrap_or_else(|late| Ok(Err(LoadError::failed(late))))
        };
        let (gone, cause): (bool, Cause) = match asked {
            Ok(Ok(forms)) if forms.is_empty() => return false,
            Ok(Ok(forms)) => {
                fetched.taken = Some(Taken { source, id, created_at: record.result.created_at, forms });
                return true;
            }
            Ok(Err(LoadError::Gone(cause))) => (true, cause.into()),
            Ok(Err(LoadError::Failed(cause))) => (false, cause.into()),
            Err(panic) => (false, Arc::new(StoreError::new(format!("panicked: {}", message(&*panic))))),
        };
        if gone {
            fetched.gone.push((source, id.clone()));
        }
        let source = from.name().into();
        fetched.dropped.push(DropReason::Result { source, result: id, gone, cause });
        false
    }

    /// Where what a result of an edge lacks is looked for: its own ancestors, then those of the edge that is exported.
    fn cx(&self, at: usize) -> LoadCx {
        let (edge, last) = (&self.trace.edges[at], &self.trace.edges[0]);
        let sites: SmallVec<[Site; 4]> = edge.sites.iter().chain(&last.sites).copied().collect();
        let feed = edge.feed.clone().unwrap_or_else(|| Arc::new(Feed::new(0)));
        LoadCx::new(Arc::new(self.mailbox.clone()), &sites, self.cancel.child_token(), feed)
    }

    /// Keys of vertices without inputs that this build did not ask for, but that have the result of one that it has: they
    /// get it, too.
    pub(super) async fn other_roots(
        &mut self,
        web: &Web,
        fetched: &[Fetched<R>],
    ) -> Result<HashMap<usize, usize>> {
        let mut found = HashMap::new();
        if !self.options.roots {
            return Ok(found);
        }
        let edges = self.trace.edges.iter().zip(fetched).enumerate();
        let roots: HashMap<(usize, ResultId), usize> = edges
            .filter(|(_, (edge, _))| edge.is_root)
            .filter_map(|(at, (_, fetched))| {
                fetched.taken.as_ref().map(|taken| ((taken.source, taken.id.clone()), at))
            })
            .collect();
        let mut leaves: Vec<_> = web.leaves.iter().map(|(key, node)| (*node, *key)).collect();
        leaves.retain(|(node, _)| web.nodes[*node].edge.is_none());
        leaves.sort_unstable();
        for source in 0..self.trace.sources.len() {
            for (node, key) in &leaves {
                if self.is_deaf(source) {
                    break;
                }
                let known = match self.patient(source, self.trace.sources[source].records(*key)).await {
                    Ok(records) => records,
                    Err(cause) => {
                        self.failed(source, cause)?;
                        break;
                    }
                };
                let same = known.into_iter().find_map(|record| roots.get(&(source, record.result.id)));
                if let Some(edge) = same {
                    found.entry(*node).or_insert(*edge);
                }
            }
        }
        Ok(found)
    }
}
