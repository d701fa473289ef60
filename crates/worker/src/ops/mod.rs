//! The ops of a definition, as the solver runs them.
//!
//! An op has what it is made of ([`Made`]): the worker, the vertex it is of, and its [keys](OpKeys). What of an input is
//! looked at for a key of its content is [`ContentDigest`]; before an op reads an input, [`Extract`] makes its tree, told to
//! the input's own vertex and with its sessions' credentials.

mod extract;
mod file;
mod graft;

use std::sync::Arc;

use lazyblob_solver::{CacheMap, Dep, Graph, Vertex as Node, VertexOptions};

pub(crate) use extract::Extract;

use crate::error::{Error, Result};
use crate::keys::OpKeys;
use crate::llb::{self, Definition, Op};
use crate::result::WorkerRef;
use crate::worker::Worker;

/// What is said of a definition besides what it says itself.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Every vertex runs, whatever the cache has.
    pub no_cache: bool,
}

/// What an op that is no source is made of.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) worker: Worker,
    pub(crate) vertex: llb::Vertex,
    pub(crate) keys: OpKeys,
}

impl Made {
    /// The one cache map of the op: its digest, and of each input the selector, the content that counts, and `prepare`: what
    /// is done with inputs that it reads.
    pub(crate) fn cache_map(&self, extracts: bool) -> CacheMap<WorkerRef> {
        let mut map = CacheMap::new(self.keys.digest(), 0);
        map.deps = self.keys.deps.iter().map(|dep| self.dep(dep, extracts)).collect();
        map
    }

    fn dep(&self, dep: &crate::keys::DepKeys, extracts: bool) -> Dep<WorkerRef> {
        Dep {
            selector: dep.selector.clone(),
            slow_digest: None,
            preprocess: extracts.then(|| Arc::new(Extract::new(&self.worker)) as _),
        }
    }
}

/// The graph of a definition.
///
/// # Errors
/// [`Error::Unsupported`] for ops that are not run, before anything is; those of [`Graph::new`].
pub fn graph(worker: &Worker, definition: &Definition, options: &LoadOptions) -> Result<Graph<WorkerRef>> {
    let mut nodes = Vec::with_capacity(definition.vertices().len());
    for vertex in definition.vertices() {
        let op: Arc<dyn lazyblob_solver::Op<WorkerRef>> = match (&vertex.op, keys(worker, vertex)?) {
            (Op::File(_), Some(keys)) => Arc::new(file::File::new(made(worker, vertex, keys))),
            (Op::Merge(_), Some(keys)) => Arc::new(graft::Merge(made(worker, vertex, keys))),
            (Op::Diff(diff), Some(keys)) => Arc::new(graft::Diff::new(made(worker, vertex, keys), diff)),
            _ => {
                let what = "such ops".to_owned();
                return Err(Error::Unsupported { vertex: vertex.name.clone(), what });
            }
        };
        let mut node = Node::new(vertex.digest().clone(), "", op, vertex.inputs.clone());
        node.name = Arc::new(vertex.name.clone());
        let mut about = VertexOptions::default();
        about.ignore_cache = options.no_cache || vertex.ignores_cache();
        about.no_export = !vertex.is_exported();
        node.options = about;
        nodes.push(node);
    }
    Ok(Graph::new(nodes)?)
}

fn keys(worker: &Worker, vertex: &llb::Vertex) -> Result<Option<OpKeys>> {
    OpKeys::of(vertex, worker.platform())
        .map_err(|bad| Error::Invalid { vertex: vertex.name.clone(), fault: bad.into() })
}

fn made(worker: &Worker, vertex: &llb::Vertex, keys: OpKeys) -> Made {
    Made { worker: worker.clone(), vertex: vertex.clone(), keys }
}
