//! Ops that make layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use lazyblob_cache::record::LayerBlob;
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, pack};
use lazyblob_cache::{DescHandler, GetOptions};
use lazyblob_remote::{Access, Descriptor, Digest, digest};
use lazyblob_solver::{CacheMap, Dep, Edge, LoadCx, Op, OpCx, OpError, Preprocess, SlowDigest, Vertex};
use lazyblob_worker::{Worker, WorkerRef};

use crate::support::InMemory;

/// A layer with a file of its name.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) blob: LayerBlob,
    pub(crate) bytes: Bytes,
}

impl Made {
    pub(crate) fn new(name: &str) -> Self {
        let tar = Tar::new().file(name, name.repeat(500)).end();
        let (media_type, bytes) = pack(&tar, Packed::Gzip);
        let descriptor = Descriptor::new(media_type.into(), bytes.len() as u64, digest::sha256(&bytes));
        Self { blob: LayerBlob { descriptor, diff_id: digest::sha256(&tar) }, bytes }
    }

    pub(crate) fn digest(&self) -> &Digest {
        self.blob.descriptor.digest()
    }
}

/// What an op does.
#[derive(Clone)]
pub(crate) enum Does {
    /// It is not to be run.
    Nothing,
    /// The empty tree.
    Scratch,
    /// These layers, lazily, of a repository of the test's registry.
    Image(Worker, String, Vec<Made>),
    /// A layer on top of its first input.
    Layer(Worker, Box<Made>),
    /// Unpacks its first input, and hands it on.
    Reads(Worker),
}

/// An op of a test.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    digest: Digest,
    keys: Vec<Digest>,
    inputs: Vec<Edge>,
    deps: Vec<(Option<Digest>, Option<Digest>)>,
    does: Does,
    execs: Arc<AtomicUsize>,
}

impl Step {
    pub(crate) fn new(name: &str, does: Does) -> Self {
        let of = |what: &str| digest::sha256(format!("{what} of {name}").as_bytes());
        Self {
            name: name.to_owned(),
            digest: of("vertex"),
            keys: vec![of("key")],
            inputs: Vec::new(),
            deps: Vec::new(),
            does,
            execs: Arc::default(),
        }
    }

    pub(crate) fn called(mut self, digest: &Digest) -> Self {
        self.digest = digest.clone();
        self
    }

    pub(crate) fn keys(mut self, keys: Vec<Digest>) -> Self {
        self.keys = keys;
        self
    }

    pub(crate) fn on(self, input: &Step) -> Self {
        let edge = input.edge();
        self.input(edge, None, None)
    }

    pub(crate) fn input(mut self, edge: Edge, selector: Option<Digest>, content: Option<Digest>) -> Self {
        self.inputs.push(edge);
        self.deps.push((selector, content));
        self
    }

    pub(crate) fn edge(&self) -> Edge {
        Edge { vertex: self.digest.clone(), output: 0 }
    }

    pub(crate) fn vertex(&self) -> Vertex<WorkerRef> {
        Vertex::new(self.digest.clone(), self.name.as_str(), Arc::new(self.clone()), self.inputs.clone())
    }

    pub(crate) fn execs(&self) -> usize {
        self.execs.load(Ordering::SeqCst)
    }
}

/// The content of an input, known before.
struct Known(Digest);

#[async_trait]
impl SlowDigest<WorkerRef> for Known {
    async fn slow_digest(&self, _: &LoadCx, _: &WorkerRef) -> Result<Digest, OpError> {
        Ok(self.0.clone())
    }

    fn looks_at(&self) -> String {
        "everything".to_owned()
    }
}

/// Unpacks an input on behalf of those who want it.
struct Unpacks(Worker);

#[async_trait]
impl Preprocess<WorkerRef> for Unpacks {
    async fn preprocess(&self, cx: &LoadCx, input: &WorkerRef) -> Result<(), OpError> {
        let Some(tree) = input.tree() else { return Ok(()) };
        tree.extract(&self.0.access(cx)).await.map_err(|error| OpError::lost(0, error))
    }
}

#[async_trait]
impl Op<WorkerRef> for Step {
    async fn cache_map(&self, _: &OpCx<WorkerRef>, index: usize) -> Result<CacheMap<WorkerRef>, OpError> {
        let mut map = CacheMap::new(self.keys[index].clone(), 0);
        map.more = index + 1 < self.keys.len();
        let dep = |(selector, content): &(Option<Digest>, Option<Digest>)| Dep {
            selector: selector.clone(),
            slow_digest: content.clone().map(|content| Arc::new(Known(content)) as _),
            preprocess: match &self.does {
                Does::Reads(worker) => Some(Arc::new(Unpacks(worker.clone())) as _),
                _ => None,
            },
        };
        map.deps = self.deps.iter().map(dep).collect();
        Ok(map)
    }

    async fn exec(&self, _: &OpCx<WorkerRef>, inputs: Vec<WorkerRef>) -> Result<Vec<WorkerRef>, OpError> {
        self.execs.fetch_add(1, Ordering::SeqCst);
        let tree = match &self.does {
            Does::Nothing => return Err(OpError::failed(format!("{} is run", self.name))),
            Does::Scratch => return Ok(vec![WorkerRef::scratch()]),
            Does::Reads(_) => return Ok(vec![inputs[0].clone()]),
            Does::Image(worker, repository, layers) => {
                let (client, origin) = (
                    worker.registry().clone(),
                    lazyblob_remote::provider::Origin {
                        host: crate::support::HOST.to_owned(),
                        repository: repository.clone(),
                    },
                );
                let asked = origin.clone();
                let open = move |access: &Access| {
                    lazyblob_cache::Remotes::provider(&client, &asked, access).unwrap()
                };
                let handler = Arc::new(DescHandler::new(open).at(origin.clone()));
                let layer = |made: &Made| (made.digest().clone(), Arc::clone(&handler));
                let options =
                    GetOptions { handlers: layers.iter().map(layer).collect(), ..GetOptions::default() };
                let layer = |made: &Made| lazyblob_cache::manager::NewLayer {
                    blob: made.blob.clone(),
                    sources: vec![origin.clone().into()],
                };
                worker.manager().import(layers.iter().map(layer).collect(), None, options).await
            }
            Does::Layer(worker, made) => {
                let handler = Arc::new(DescHandler::of(Arc::new(InMemory(made.bytes.clone()))));
                let options = GetOptions {
                    handlers: [(made.digest().clone(), handler)].into_iter().collect(),
                    ..GetOptions::default()
                };
                let parent = inputs.first().and_then(WorkerRef::tree);
                worker.manager().get_by_blob(made.blob.clone(), parent, options).await
            }
        };
        Ok(vec![WorkerRef::new(tree.map_err(OpError::failed)?)])
    }
}
