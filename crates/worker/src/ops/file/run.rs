//! A plan carried out: trees opened, runs done in blocking threads, refs made of what they end with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lazyblob_cache::Tree;
use lazyblob_cache::{GetOptions, ImmutableRef, MutableRef};
use lazyblob_remote::Access;
use lazyblob_solver::{OpCx, OpError};
use tokio_util::sync::CancellationToken;

use super::plan::{From, Run};
use super::{File, work};
use crate::error::{Error, gone};
use crate::result::WorkerRef;

/// A plan that is being carried out.
pub(super) struct Running<'a> {
    op: &'a File,
    cx: &'a OpCx<WorkerRef>,
    access: Access,
    inputs: Vec<WorkerRef>,
    /// What is open to be read.
    views: BTreeMap<From, Tree>,
    /// What each run has ended with.
    ends: Vec<End>,
    /// What has no name: the empty tree, and what is only copied from.
    unnamed: Vec<MutableRef>,
}

enum End {
    /// A ref.
    Kept(ImmutableRef),
    /// Something to copy from, which is open among the views.
    Passing,
}

impl<'a> Running<'a> {
    pub(super) fn new(op: &'a File, cx: &'a OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Self {
        let access = op.made().worker.access(cx);
        Self { op, cx, access, inputs, views: BTreeMap::new(), ends: Vec::new(), unnamed: Vec::new() }
    }

    /// Does all runs. Nothing is open and nobody works any more when this returns.
    pub(super) async fn all(mut self) -> Result<Vec<WorkerRef>, OpError> {
        let mut done = self.runs().await;
        for (_, tree) in std::mem::take(&mut self.views) {
            if let (Err(error), true) = (tree.close().await, done.is_ok()) {
                done = Err(OpError::failed(Error::from(error)));
            }
        }
        done?;
        let kept = |run: &usize| match self.ends.get(*run) {
            Some(End::Kept(tree)) => WorkerRef::new(tree.clone()),
            // The plan has every output kept.
            Some(End::Passing) | None => WorkerRef::scratch(),
        };
        Ok(self.op.plan().outputs.iter().map(kept).collect())
    }

    async fn runs(&mut self) -> Result<(), OpError> {
        for (at, run) in self.op.plan().runs.iter().enumerate() {
            let end = self.run(at, run).await?;
            self.ends.push(end);
        }
        Ok(())
    }

    async fn run(&mut self, at: usize, run: &Run) -> Result<End, OpError> {
        let base = match run.base {
            From::Nothing => None,
            From::Input(input) => self.inputs.get(input).and_then(WorkerRef::tree).cloned(),
            From::Run(earlier) => self.kept(earlier).cloned(),
        };
        let mutable = self.mutable(run.base, base.as_ref()).await?;
        let mut sources = BTreeMap::new();
        for from in work::reads(self.op.file(), run) {
            sources.insert(from, self.source(from).await?);
        }
        let tree = mutable.tree().await.map_err(|error| failed(run.base, error))?;
        let done = self.work(at, tree.path().to_owned(), sources).await;
        if done.is_ok() && !run.is_kept {
            self.views.insert(From::Run(at), tree);
            self.unnamed.push(mutable);
            return Ok(End::Passing);
        }
        let closed = tree.close().await;
        done?;
        closed.map_err(|error| OpError::failed(Error::from(error)))?;
        let committed = mutable.commit().await.map_err(|error| OpError::failed(Error::from(error)))?;
        Ok(End::Kept(committed))
    }

    /// A new tree on top of another.
    async fn mutable(&self, of: From, base: Option<&ImmutableRef>) -> Result<MutableRef, OpError> {
        let made = self.op.made();
        let description = Some(made.vertex.name.name.to_string());
        let options = GetOptions { description, ..GetOptions::default() };
        let new = made.worker.manager().new_mutable(base, &self.access, options);
        let new = self.cx.cancellation().run_until_cancelled(new).await.ok_or(OpError::Cancelled)?;
        new.map_err(|error| failed(of, error))
    }

    /// The directory of a tree that is read.
    async fn source(&mut self, from: From) -> Result<PathBuf, OpError> {
        if let Some(tree) = self.views.get(&from) {
            return Ok(tree.path().to_owned());
        }
        let of = match from {
            From::Nothing => None,
            From::Input(input) => self.inputs.get(input).and_then(WorkerRef::tree).cloned(),
            From::Run(run) => self.kept(run).cloned(),
        };
        let tree = match of {
            Some(of) => {
                let view = self.cx.cancellation().run_until_cancelled(of.view(&self.access)).await;
                view.ok_or(OpError::Cancelled)?.map_err(|error| failed(from, error))?
            }
            // Nothing is in it, and nothing will be.
            None => {
                let empty = self.mutable(From::Nothing, None).await?;
                let tree = empty.tree().await.map_err(|error| failed(from, error))?;
                self.unnamed.push(empty);
                tree
            }
        };
        let path = tree.path().to_owned();
        self.views.insert(from, tree);
        Ok(path)
    }

    fn kept(&self, run: usize) -> Option<&ImmutableRef> {
        match self.ends.get(run) {
            Some(End::Kept(tree)) => Some(tree),
            Some(End::Passing) | None => None,
        }
    }

    /// Does a run in a blocking thread, to its end.
    async fn work(&self, at: usize, to: PathBuf, sources: BTreeMap<From, PathBuf>) -> Result<(), OpError> {
        let op = self.op.clone();
        let cancel: CancellationToken = self.cx.cancellation().child_token();
        // Who does not wait any more does not want it either.
        let _withdrawn = cancel.clone().drop_guard();
        let work = move || work::work(op.file(), op.plan().runs.get(at), &to, &sources, &cancel);
        let warnings = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| match error {
                Error::Cancelled { .. } => OpError::Cancelled,
                error => OpError::failed(error),
            })?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_shut_down) => return Err(OpError::Cancelled),
            },
        };
        for warning in warnings {
            self.cx.warn(warning);
        }
        Ok(())
    }
}

/// What an error about a tree means: an input may have to be made again.
fn failed(from: From, error: lazyblob_cache::Error) -> OpError {
    match from {
        From::Input(input) => gone(input, error),
        From::Nothing | From::Run(_) => OpError::failed(Error::from(error)),
    }
}
