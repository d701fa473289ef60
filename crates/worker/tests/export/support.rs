//! A registry in memory, a root on disk, and workers on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lazyblob_cache::image::{Pull, Resolve};
use lazyblob_cache::manager::{Components as CacheComponents, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::record::RecordType;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_cache::{GetOptions, ImmutableRef, Manager};
use lazyblob_remote::copy::Action;
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::{self as client, RegistrySource};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Builder, Image, TestRegistry};
use lazyblob_remote::transfer::{self, Retry};
use lazyblob_remote::{Access, Descriptor, Manifest, Reference, Registry, Scopes, Source, Transport};
use lazyblob_worker::executor::{Executor, Exit, Output, Process};
use lazyblob_worker::export::{ImageOptions, Part, Pushed};
use lazyblob_worker::llb::pb::Platform;
use lazyblob_worker::{BaseImage, Components, Error, Worker, WorkerRef};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The registry of all tests.
pub(crate) const HOST: &str = "registry.test";

pub(crate) fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> Reference {
    format!("{HOST}/{text}").parse().unwrap()
}

pub(crate) fn access() -> Access {
    Access::anonymous()
}

/// A registry with one image, and a root.
pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) client: Registry,
    /// What is called `app:1` there: a gzip layer, a plain one, a zstd one.
    pub(crate) image: Image,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(TestRegistry::builder(), image(&layers())).await
    }

    pub(crate) async fn of(builder: Builder, image: Image) -> Self {
        let registry = builder.settings(|settings| settings.serve_unnamed = true).in_memory(HOST).await;
        registry.seed("app", "1", &image).await;
        registry.reset();
        let client = client_of(&registry);
        Self { registry, client, image, dir: tempfile::tempdir().unwrap() }
    }

    /// A worker on the root, as this process has it.
    pub(crate) async fn worker(&self) -> Worker {
        worker_at(self.dir.path(), &self.client).await
    }

    /// A worker on another root, which shares nothing with the others.
    pub(crate) async fn elsewhere(&self) -> (Worker, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (worker_at(dir.path(), &client_of(&self.registry)).await, dir)
    }

    /// The image `app:1`, lazy, with what is known of it.
    pub(crate) async fn app(&self, worker: &Worker) -> (ImmutableRef, BaseImage) {
        self.known(worker, "app:1").await
    }

    pub(crate) async fn known(&self, worker: &Worker, called: &str) -> (ImmutableRef, BaseImage) {
        let known = known(worker, &name(called)).await;
        self.registry.reset();
        known
    }

    /// GETs of layers of the image so far.
    pub(crate) fn pulls(&self) -> usize {
        let layers: Vec<_> = self.image.layers().map(|layer| format!("/blobs/{}", layer.digest())).collect();
        let log = self.registry.log();
        let gets = log.iter().filter(|entry| entry.method.as_str() == "GET");
        gets.filter(|entry| layers.iter().any(|layer| entry.target.ends_with(layer))).count()
    }

    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.registry.requests(kind)
    }

    /// The manifest called `called` in the registry, and its config.
    pub(crate) async fn pushed(&self, called: &str) -> (Manifest, Value) {
        let reference = name(called);
        let client = client_of(&self.registry);
        let scopes = Scopes::pull(reference.repository());
        let repository = client.repository(reference.repository(), scopes, &access()).unwrap();
        let source = RegistrySource::new(repository);
        let asked = match reference.digest() {
            Some(digest) => Name::Digest(digest.clone()),
            None => Name::Tag(reference.identifier()),
        };
        let manifest = source.manifest(&asked).await.unwrap();
        let config = match manifest.config() {
            Some(config) => serde_json::from_slice(&read(&*source.blobs(), config).await).unwrap(),
            None => Value::Null,
        };
        (manifest, config)
    }

    /// Whether the registry has a manifest of this name.
    pub(crate) async fn has(&self, called: &str) -> bool {
        let reference = name(called);
        let client = client_of(&self.registry);
        let scopes = Scopes::pull(reference.repository());
        let repository = client.repository(reference.repository(), scopes, &access()).unwrap();
        match RegistrySource::new(repository).resolve(&Name::Tag(reference.identifier())).await {
            Ok(_) => true,
            Err(error) if error.is_not_found() => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// An image of a registry, lazy, with what is known of it.
pub(crate) async fn known(worker: &Worker, reference: &Reference) -> (ImmutableRef, BaseImage) {
    let scopes = Scopes::pull(reference.repository());
    let repository = worker.registry().repository(reference.repository(), scopes, &access()).unwrap();
    let source: Arc<dyn Source> = Arc::new(RegistrySource::new(repository));
    let pull = Pull {
        reference: reference.clone(),
        source: Arc::clone(&source),
        name: Name::Tag(reference.identifier()),
        platform: Some("linux/amd64".parse().unwrap()),
        record_type: RecordType::Regular,
    };
    let top = worker.manager().pull(pull, &access()).await.unwrap().image.top.unwrap();
    let ask = Resolve {
        name: Name::Tag(reference.identifier()),
        reference: reference.clone(),
        source,
        platforms: vec!["linux/amd64".parse().unwrap()],
    };
    let known = worker.manager().resolve_image(&ask, &access()).await.unwrap();
    (top, BaseImage::new(Arc::new(known), None))
}

/// All bytes of a blob.
pub(crate) async fn read(from: &dyn lazyblob_remote::Provider, blob: &Descriptor) -> Vec<u8> {
    use futures::StreamExt as _;
    let mut stream = from.open(blob, 0..blob.size()).await.unwrap().into_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

pub(crate) fn client_of(registry: &TestRegistry) -> Registry {
    client_through(Arc::new(registry.transport()))
}

pub(crate) fn client_through(transport: Arc<dyn Transport>) -> Registry {
    let retry = Retry {
        first: Duration::from_millis(2),
        cap: Duration::from_millis(10),
        jitter: 0.0,
        ..Retry::default()
    };
    let settings = client::Settings {
        transfers: transfer::Settings { retry, ..transfer::Settings::default() },
        ..client::Settings::default()
    };
    Registry::new(transport, Hosts::default(), settings)
}

pub(crate) async fn worker_at(dir: &Path, client: &Registry) -> Worker {
    let root = Root::open(dir, RootSettings::default()).await.unwrap();
    let snapshots = snapshot::open(Places::below(root.path()), Wanted::Plain).unwrap();
    let components = CacheComponents {
        transfers: client.transfers().clone(),
        remotes: Arc::new(client.clone()),
        engine: Arc::new(Sled),
        snapshots,
    };
    let manager = Manager::open(root, components, Settings::default()).await.unwrap();
    Worker::new(Components {
        manager,
        registry: client.clone(),
        executor: Arc::new(NoCommands),
        platform: platform("linux/amd64"),
    })
}

/// The bottom one first: a file and a directory; a change and a whiteout; a link.
pub(crate) fn layers() -> Vec<(Vec<u8>, Packed)> {
    let base = Tar::new().dir("etc", 0o755).file("etc/name", "base").file("etc/old", "old").end();
    let middle = Tar::new().file("etc/name", "middle").whiteout("etc/", "old").end();
    let top = Tar::new().dir("bin", 0o755).file("bin/run", vec![7; 100_000]).symlink("bin/sh", "run").end();
    vec![(base, Packed::Gzip), (middle, Packed::Plain), (top, Packed::Zstd)]
}

/// A layer of one file on top of `parent`, as an op leaves it. The time of the file is `mtime`.
pub(crate) async fn made(
    worker: &Worker,
    parent: Option<&ImmutableRef>,
    content: &str,
    mtime: u64,
) -> ImmutableRef {
    let options = GetOptions { description: Some(format!("write {content}")), ..GetOptions::default() };
    let mutable = worker.manager().new_mutable(parent, &access(), options).await.unwrap();
    let directory = mutable.directory().await.unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(mtime);
    let times = std::fs::FileTimes::new().set_modified(time);
    std::fs::write(directory.join("made"), content).unwrap();
    std::fs::File::options().write(true).open(directory.join("made")).unwrap().set_times(times).unwrap();
    std::fs::File::open(&directory).unwrap().set_times(times).unwrap();
    mutable.commit().await.unwrap()
}

pub(crate) fn part(result: &ImmutableRef, base: Option<&BaseImage>) -> Part {
    Part { base: base.cloned(), ..Part::new(platform("linux/amd64"), WorkerRef::new(result.clone())) }
}

pub(crate) fn plain() -> ImageOptions {
    ImageOptions::default()
}

/// What became of the blobs of a push, in the order of the manifest: config first.
pub(crate) fn actions(pushed: &Pushed) -> Vec<&'static str> {
    pushed.blobs.iter().map(|(_, action): &(_, Action)| action.name()).collect()
}

pub(crate) async fn close(worker: Worker) {
    worker.manager().close().await.unwrap();
}

#[derive(Debug)]
struct NoCommands;

#[async_trait]
impl Executor for NoCommands {
    fn name(&self) -> &str {
        "none"
    }

    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn run(&self, _: Process, _: &dyn Output, _: &CancellationToken) -> Result<Exit, Error> {
        Ok(Exit { code: 1 })
    }
}
