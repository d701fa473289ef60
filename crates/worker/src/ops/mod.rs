//! The ops of a definition, as the solver runs them.
//!
//! An op has what it is made of (`Made`): the worker, the vertex it is of, and its [keys](OpKeys). What of an input is
//! looked at for a key of its content is `ContentDigest`; before an op reads an input, `Extract` makes its tree, told to
//! the input's own vertex and with its sessions' credentials.

mod content;
mod exec;
mod extract;
mod file;
mod graft;
mod image;
mod local;
mod naming;

use std::sync::Arc;

use lazyblob_cache::image::Resolutions;
use lazyblob_solver::{CacheMap, Dep, Edge, Graph, SessionId, Vertex as Node, VertexOptions};

pub use content::ContentDigest;
pub(crate) use content::{Tables, beside};
pub(crate) use exec::CacheMounts;
pub use exec::{check_entitlements, entitlements};
pub(crate) use extract::Extract;
use image::{ImageOp, Place};
use naming::Naming;

use crate::error::{Error, Result};
use crate::keys::OpKeys;
use crate::llb::pb::Platform;
use crate::llb::{self, Definition, Op, Source};
use crate::result::WorkerRef;
use crate::worker::Worker;

/// What is said of a definition besides what it says itself.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Every vertex runs, whatever the cache has.
    pub no_cache: bool,
    /// The platform of ops that name none; the worker's own if not said.
    pub platform: Option<Platform>,
    /// Who builds. Vertices that bring in what this session alone has (directories, layouts), and all above them, are then
    /// not those of other sessions; without one they are shared by all who build the same definition.
    pub session: Option<SessionId>,
    /// The images that were resolved for this build already; one table for all the platforms of it.
    pub resolutions: Resolutions,
}

impl LoadOptions {
    fn platform<'a>(&'a self, worker: &'a Worker) -> &'a Platform {
        self.platform.as_ref().unwrap_or_else(|| worker.platform())
    }

    fn naming(&self, worker: &Worker, definition: &Definition) -> Naming {
        let naming = Naming::new(self.platform(worker), worker.platform());
        match &self.session {
            Some(session) => naming.of_session(session, definition),
            None => naming,
        }
    }
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
        let deps = self.keys.deps.iter().enumerate();
        map.deps = deps.map(|(input, dep)| self.dep(input, dep, extracts)).collect();
        map
    }

    fn dep(&self, input: usize, dep: &crate::keys::DepKeys, extracts: bool) -> Dep<WorkerRef> {
        let content = dep.content.as_ref();
        let digest = content.map(|parts| ContentDigest::new(&self.worker, &self.vertex.name, input, parts));
        Dep {
            selector: dep.selector.clone(),
            slow_digest: digest.map(|digest| Arc::new(digest) as _),
            preprocess: extracts.then(|| Arc::new(Extract::new(&self.worker)) as _),
        }
    }
}

/// The graph of a definition.
///
/// # Errors
/// [`Error::Unsupported`] for ops that are not run, before anything is; those of [`Graph::new`].
pub fn graph(worker: &Worker, definition: &Definition, options: &LoadOptions) -> Result<Graph<WorkerRef>> {
    let platform = options.platform(worker);
    let naming = options.naming(worker, definition);
    let resolutions = &options.resolutions;
    let mut nodes = Vec::with_capacity(definition.vertices().len());
    for vertex in definition.vertices() {
        let op: Arc<dyn lazyblob_solver::Op<WorkerRef>> = match (&vertex.op, keys(platform, vertex)?) {
            (Op::File(_), Some(keys)) => Arc::new(file::File::new(made(worker, vertex, keys))),
            (Op::Exec(exec), Some(keys)) => Arc::new(exec::Exec::new(made(worker, vertex, keys), exec)),
            (Op::Merge(_), Some(keys)) => Arc::new(graft::Merge(made(worker, vertex, keys))),
            (Op::Diff(diff), Some(keys)) => Arc::new(graft::Diff::new(made(worker, vertex, keys), diff)),
            (Op::Source { source: Source::Local(local), .. }, _) => {
                Arc::new(local::Local::new(worker, local))
            }
            (Op::Source { identifier, source: Source::Image(image) }, _) => {
                let platform = on(platform, vertex)?;
                Arc::new(ImageOp::new(worker, identifier, image, platform, resolutions))
            }
            (Op::Source { identifier, source: Source::OciLayout(image) }, _) => {
                let platform = on(platform, vertex)?;
                let place = Place::of_layout(identifier, image);
                Arc::new(ImageOp::new(worker, identifier, image, platform, resolutions).at(place))
            }
            _ => {
                let what = "such ops".to_owned();
                return Err(Error::Unsupported { vertex: vertex.name.clone(), what });
            }
        };
        let inputs = vertex.inputs.iter().map(|input| naming.edge(input)).collect();
        let mut node = Node::new(naming.digest(vertex.digest()), Arc::clone(&vertex.name.name), op, inputs);
        let mut about = VertexOptions::default();
        about.ignore_cache = options.no_cache || vertex.ignores_cache();
        about.no_export = !vertex.is_exported();
        node.options = about;
        nodes.push(node);
    }
    Ok(Graph::new(nodes)?)
}

/// What is asked for of the [graph](graph()) of a definition that was made with the same options.
#[must_use]
pub fn result(worker: &Worker, definition: &Definition, options: &LoadOptions) -> Edge {
    options.naming(worker, definition).edge(definition.result())
}

fn keys(platform: &Platform, vertex: &llb::Vertex) -> Result<Option<OpKeys>> {
    OpKeys::of(vertex, platform)
        .map_err(|bad| Error::Invalid { vertex: vertex.name.clone(), fault: bad.into() })
}

/// The platform of a vertex.
fn on(default: &Platform, vertex: &llb::Vertex) -> Result<Platform> {
    vertex.platform(default).map_err(|bad| Error::Invalid { vertex: vertex.name.clone(), fault: bad.into() })
}

fn made(worker: &Worker, vertex: &llb::Vertex, keys: OpKeys) -> Made {
    Made { worker: worker.clone(), vertex: vertex.clone(), keys }
}
