//! An export from its beginning to its end.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Result, Stage, StoreError};
use crate::export::order::{levels, records};
use crate::export::web::Web;
use crate::export::{DropReason, Dropped, ExportOptions, ExportRecord, Exported};
use crate::machine::{Trace, Way};
use crate::scheduler::{Mailbox, caught, within};
use crate::store::ResultId;
use crate::value::Value;

/// An export on its way.
pub(super) struct Walk<R: Value> {
    pub(super) trace: Trace<R>,
    pub(super) options: ExportOptions,
    pub(super) mailbox: Mailbox<R>,
    /// Sources that failed are asked no more.
    deaf: Vec<bool>,
    warnings: Vec<String>,
    /// Results that turned out to be gone.
    pub(super) gone: Vec<(usize, ResultId)>,
    pub(super) cancel: CancellationToken,
    /// Work for an export ends when nobody waits for it.
    _end: DropGuard,
}

impl<R: Value> Walk<R> {
    pub(super) fn new(trace: Trace<R>, options: ExportOptions, mailbox: Mailbox<R>) -> Self {
        let deaf = vec![false; trace.sources.len()];
        let cancel = CancellationToken::new();
        let end = cancel.clone().drop_guard();
        let (warnings, gone) = (Vec::new(), Vec::new());
        Self { trace, options, mailbox, deaf, warnings, gone, cancel, _end: end }
    }

    pub(super) async fn run(mut self) -> Result<Exported<R>> {
        let mut web = Web::of(&self.trace.edges);
        if !self.options.ignore_backlinks {
            self.gather(&mut web).await?;
        }
        let levels = levels(&web.nodes);
        let mut dropped = self.unreachable(&web, &levels);
        let fetched = self.fetch_all(&web, &levels).await?;
        let roots = self.other_roots(&web, &fetched).await?;
        let wanted: Vec<usize> = web.of_edge.iter().flatten().copied().collect();
        let edge_of: Vec<_> = web.nodes.iter().map(|node| node.edge).collect();
        let placed = records(web.nodes, &levels, &wanted);
        let exported = placed.into_iter().map(|record| {
            let edges = record.nodes.iter().filter_map(|node| edge_of[*node].or(roots.get(node).copied()));
            let taken = edges.filter_map(|edge| fetched[edge].taken.as_ref());
            let newest =
                taken.reduce(|best, taken| if taken.created_at > best.created_at { taken } else { best });
            let forms = newest
                .into_iter()
                .flat_map(|taken| taken.forms.iter().map(|form| (taken.created_at, form.clone())));
            ExportRecord { digest: record.digest, inputs: record.inputs, results: forms.collect() }
        });
        let records = exported.collect();
        for (edge, fetched) in self.trace.edges.iter().zip(fetched) {
            let left_out = |reason| Dropped {
                vertex: Arc::clone(&edge.vertex),
                digest: edge.ops.first().copied(),
                reason,
            };
            dropped.extend(fetched.dropped.into_iter().map(left_out));
        }
        self.forget().await;
        Ok(Exported { records, dropped, warnings: self.warnings })
    }

    /// The edges that there is no record of, with why.
    fn unreachable(&self, web: &Web, levels: &[Option<u32>]) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for (edge, nodes) in self.trace.edges.iter().zip(&web.of_edge) {
            let digest = edge.ops.first().copied();
            let reason = match nodes.first() {
                None if edge.ops.is_empty() => DropReason::Unnamed,
                None => DropReason::Session,
                Some(node) if levels[*node].is_none() => {
                    let nowhere =
                        |ways: &Vec<(_, usize)>| ways.iter().all(|(_, below)| levels[*below].is_none());
                    let Some(input) = web.nodes[*node].inputs.iter().position(nowhere) else { continue };
                    let Some(Way::Edge(_, below)) = edge.inputs[input].first() else { continue };
                    DropReason::Unreachable { input, below: Arc::clone(&self.trace.edges[*below].vertex) }
                }
                Some(_) => continue,
            };
            dropped.push(Dropped { vertex: Arc::clone(&edge.vertex), digest, reason });
        }
        dropped
    }

    pub(super) fn is_deaf(&self, source: usize) -> bool {
        self.deaf[source]
    }

    /// A source could not say. The solver's own must be able to; another is asked no more.
    pub(super) fn failed(&mut self, source: usize, cause: StoreError) -> Result<()> {
        let name: Arc<str> = self.trace.sources[source].name().into();
        if source == 0 {
            let vertex = (*self.trace.edges[0].vertex).clone();
            return Err(Error::Store { vertex, stage: Stage::Export, store: name, cause: Arc::new(cause) });
        }
        if !std::mem::replace(&mut self.deaf[source], true) {
            self.warnings.push(format!("cache {name}: not used: {cause}"));
        }
        Ok(())
    }

    /// What a source says; one that is not the solver's own has only so much time.
    pub(super) async fn patient<T>(
        &self,
        source: usize,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let asked = caught(asked);
        if source == 0 { asked.await } else { within(self.trace.patience, &self.cancel, asked).await? }
    }

    /// Has sources drop what is gone. They are not asked for it again in any case, so one that fails does no harm.
    async fn forget(&mut self) {
        self.gone.sort_unstable();
        self.gone.dedup();
        for gone in self.gone.chunk_by(|(source, _), (other, _)| source == other) {
            let source = gone[0].0;
            let results: Vec<_> = gone.iter().map(|(_, id)| id.clone()).collect();
            if let Err(cause) = self.patient(source, self.trace.sources[source].forget(&results)).await {
                let name = self.trace.sources[source].name();
                self.warnings.push(format!("cache {name}: lost records were not dropped: {cause}"));
            }
        }
    }
}
