//! A registry in memory, a root on disk, and managers of it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_cache::image::{Pull, Pulled};
use lazyblob_cache::manager::{Components, NewLayer, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::record::{LayerBlob, RecordType, Source};
use lazyblob_cache::root::{Root, RootSettings};
pub(crate) use lazyblob_cache::snapshot::Wanted;
use lazyblob_cache::snapshot::{self, Keep, Places, SnapshotKey};
pub(crate) use lazyblob_cache::testing::images::Packed;
use lazyblob_cache::testing::images::{image, pack};
use lazyblob_cache::testing::{Tar, Tree};
use lazyblob_cache::{DescHandler, DescHandlers, GetOptions, ImmutableRef, Manager, Remotes, Result};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::provider::Origin;
use lazyblob_remote::registry::{self as client, RegistrySource};
use lazyblob_remote::testing::{Builder, Image, TestRegistry};
use lazyblob_remote::transfer::{self, Retry};
use lazyblob_remote::{Access, Descriptor, Digest, Reference, Registry, Scopes, digest};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The registry of all tests.
pub(crate) const HOST: &str = "registry.test";

/// A registry with one image, and a root.
pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) client: Registry,
    /// What is called `app:1` there.
    pub(crate) image: Image,
    pub(crate) dir: TempDir,
    pub(crate) wanted: Wanted,
}

impl World {
    /// The image `app:1` has three layers, each compressed in another way.
    pub(crate) async fn new() -> Self {
        Self::of(TestRegistry::builder(), &layers(), Wanted::Plain).await
    }

    /// The image `app:1` has these layers.
    pub(crate) async fn of(builder: Builder, layers: &[(Vec<u8>, Packed)], wanted: Wanted) -> Self {
        let registry = builder.settings(|settings| settings.serve_unnamed = true).in_memory(HOST).await;
        let image = image(layers);
        registry.seed("app", "1", &image).await;
        registry.reset();
        let client = client_of(&registry, Hosts::default());
        Self { registry, client, image, dir: tempfile::tempdir().unwrap(), wanted }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A manager as another run of the program would have it, with the client of all of them.
    pub(crate) async fn manager(&self) -> Manager {
        self.manager_with(&self.client, Settings::default()).await
    }

    /// A manager that shares nothing in memory with any other.
    pub(crate) async fn process(&self) -> Manager {
        self.manager_with(&client_of(&self.registry, Hosts::default()), Settings::default()).await
    }

    pub(crate) async fn manager_with(&self, client: &Registry, settings: Settings) -> Manager {
        manager(self.root(), client, self.wanted, settings).await.unwrap()
    }

    pub(crate) fn pull_of(&self, reference: &str) -> Pull {
        pull_of(&self.client, reference)
    }

    pub(crate) async fn pull(&self, manager: &Manager) -> Pulled {
        manager.pull(self.pull_of("registry.test/app:1"), &Access::anonymous()).await.unwrap()
    }

    /// Puts layers into a repository.
    pub(crate) async fn seed(&self, repository: &str, layers: &[&Made]) {
        for layer in layers {
            self.registry.seed_blob(repository, layer.bytes.clone()).await;
        }
    }

    /// A handler for each of `layers` that leads to `repository`.
    pub(crate) fn handlers(&self, repository: &str, layers: &[&Made]) -> DescHandlers {
        let handler = Arc::new(handler_of(&self.client, repository));
        layers.iter().map(|layer| (layer.digest().clone(), Arc::clone(&handler))).collect()
    }

    /// GETs of this blob so far.
    pub(crate) fn gets(&self, digest: &Digest) -> usize {
        let path = format!("/blobs/{digest}");
        let log = self.registry.log();
        log.iter().filter(|entry| entry.method.as_str() == "GET" && entry.target.ends_with(&path)).count()
    }
}

/// A client with short waits.
pub(crate) fn client_of(registry: &TestRegistry, hosts: Hosts) -> Registry {
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
    Registry::new(Arc::new(registry.transport()), hosts, settings)
}

pub(crate) fn pull_of(client: &Registry, reference: &str) -> Pull {
    let reference: Reference = reference.parse().unwrap();
    let access = Access::anonymous();
    let scopes = Scopes::pull(reference.repository());
    let repository = client.repository(reference.repository(), scopes, &access).unwrap();
    let name = match reference.digest() {
        Some(digest) => Name::Digest(digest.clone()),
        None => Name::Tag(reference.identifier()),
    };
    let source = Arc::new(RegistrySource::new(repository));
    Pull { reference, source, name, platform: None, record_type: RecordType::Regular }
}

pub(crate) fn at(repository: &str) -> Origin {
    Origin { host: HOST.to_owned(), repository: repository.to_owned() }
}

pub(crate) fn source(repository: &str) -> Source {
    at(repository).into()
}

pub(crate) fn handler_of(client: &Registry, repository: &str) -> DescHandler {
    let (client, origin) = (client.clone(), at(repository));
    let asked = origin.clone();
    DescHandler::new(move |access| client.provider(&asked, access).unwrap()).at(origin)
}

pub(crate) async fn manager(
    root: &Path,
    client: &Registry,
    wanted: Wanted,
    settings: Settings,
) -> Result<Manager> {
    let root = Root::open(root, RootSettings::default()).await?;
    let snapshots = snapshot::open(Places::below(root.path()), wanted)?;
    let components = Components {
        transfers: client.transfers().clone(),
        remotes: Arc::new(client.clone()),
        engine: Arc::new(Sled),
        snapshots,
    };
    Manager::open(root, components, settings).await
}

/// The snapshotters that work here.
pub(crate) fn kinds() -> Vec<Wanted> {
    let dir = tempfile::tempdir().unwrap();
    match snapshot::open(Places::below(dir.path()), Wanted::Overlay) {
        Ok(_) => vec![Wanted::Plain, Wanted::Overlay],
        Err(_) => vec![Wanted::Plain],
    }
}

/// The bottom one first: a file and a directory; a change and a whiteout; a link.
pub(crate) fn layers() -> Vec<(Vec<u8>, Packed)> {
    let base = Tar::new().dir("etc", 0o755).file("etc/name", "base").file("etc/old", "old").end();
    let middle = Tar::new().file("etc/name", "middle").whiteout("etc/", "old").end();
    let top = Tar::new().dir("bin", 0o755).file("bin/run", vec![7; 100_000]).symlink("bin/sh", "run").end();
    vec![(base, Packed::Gzip), (middle, Packed::Plain), (top, Packed::Zstd)]
}

/// Bytes that no compression makes shorter.
pub(crate) fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut state = seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// One layer: a directory of its name with a file of 60 kB, and the file `who` that says its name.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) blob: LayerBlob,
    pub(crate) bytes: Bytes,
    pub(crate) tar: Vec<u8>,
}

impl Made {
    pub(crate) fn new(name: &str, packed: Packed) -> Self {
        let tar = Tar::new()
            .dir(name, 0o755)
            .file(&format!("{name}/data"), noise(name, 60_000))
            .file("who", name)
            .end();
        Self::of(name, tar, packed)
    }

    pub(crate) fn of(name: &str, tar: Vec<u8>, packed: Packed) -> Self {
        let (media_type, bytes) = pack(&tar, packed);
        let descriptor = Descriptor::new(media_type.into(), bytes.len() as u64, digest::sha256(&bytes));
        let blob = LayerBlob { descriptor, diff_id: digest::sha256(&tar) };
        Self { name: name.to_owned(), blob, bytes, tar }
    }

    pub(crate) fn digest(&self) -> &Digest {
        self.blob.descriptor.digest()
    }

    /// As a new layer seen in `repository`, or nowhere.
    pub(crate) fn seen(&self, repository: Option<&str>) -> NewLayer {
        NewLayer { blob: self.blob.clone(), sources: repository.map(source).into_iter().collect() }
    }
}

/// Layers of these names, plain, gzip and zstd in turn.
pub(crate) fn made<const N: usize>(names: [&str; N]) -> [Made; N] {
    let mut turn = [Packed::Plain, Packed::Gzip, Packed::Zstd].into_iter().cycle();
    names.map(|name| Made::new(name, turn.next().unwrap()))
}

/// A ref of layers, the bottom one first.
pub(crate) async fn stack(manager: &Manager, layers: &[&Made], handlers: &DescHandlers) -> ImmutableRef {
    let options = GetOptions { handlers: handlers.clone(), ..GetOptions::default() };
    manager.import(layers.iter().map(|layer| layer.seen(None)).collect(), None, options).await.unwrap()
}

/// What snapshots of a ref are called, the bottom one first.
pub(crate) fn keys(of: &ImmutableRef) -> Vec<SnapshotKey> {
    of.layers().iter().map(|layer| layer.record().snapshot.clone().unwrap()).collect()
}

/// The tree of a ref that is extracted.
pub(crate) fn tree(of: &ImmutableRef) -> (TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tree");
    fs::create_dir(&out).unwrap();
    let snapshots = of.manager().snapshots();
    snapshots.assemble(&keys(of), &out, Keep::as_able(), &CancellationToken::new()).unwrap();
    let tree = Tree::of(&out).unwrap();
    (dir, tree)
}

/// Checks that a tree has what these layers have, the last one on top.
pub(crate) fn assert_tree_of(of: &ImmutableRef, layers: &[&Made]) {
    let (dir, tree) = tree(of);
    let out = dir.path().join("tree");
    for layer in layers {
        let name = format!("{}/data", layer.name);
        assert!(fs::read(out.join(&name)).unwrap() == noise(&layer.name, 60_000), "{name}");
    }
    assert_eq!(fs::read_to_string(out.join("who")).unwrap(), layers.last().unwrap().name);
    let mut names: Vec<String> = layers
        .iter()
        .flat_map(|layer| [layer.name.clone(), format!("{}/data", layer.name)])
        .chain(["who".to_owned()])
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(tree.names(), names, "and nothing else");
}

/// What is in a directory, without locks.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

/// Checks that nothing is left of any work: no staged tree, no unfinished blob, and nobody who pins.
pub(crate) fn assert_idle(root: &Path) {
    for dir in ["staging", "ingest", "live"] {
        assert_eq!(names(&root.join(dir)), Vec::<String>::new(), "{dir}/");
    }
}

/// Committed snapshots.
pub(crate) fn snapshots(manager: &Manager) -> Vec<SnapshotKey> {
    manager.snapshots().list().unwrap().into_iter().map(|info| info.key).collect()
}

/// Blobs in the store.
pub(crate) fn stored(root: &Path) -> Vec<String> {
    names(&root.join("store/blobs/sha256"))
}

/// Removes a blob as somebody with `rm` would.
pub(crate) fn remove_behind_our_back(root: &Path, digest: &Digest) {
    let name = digest.as_ref().trim_start_matches("sha256:").to_owned();
    fs::remove_file(root.join("store/blobs/sha256").join(name)).unwrap();
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited for half a minute: {what}");
}

/// All bytes of one of a ref's blobs, read as who pushes it reads them.
pub(crate) async fn read_lazily(of: &ImmutableRef, layer: &Made, access: &Access) -> Result<Vec<u8>> {
    use futures::StreamExt as _;
    use lazyblob_remote::Provider as _;
    let remote = of.remote(access)?;
    let blob = &layer.blob.descriptor;
    let mut stream = remote.provider.open(blob, 0..blob.size()).await?.into_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    Ok(bytes)
}

/// What a file of a directory says.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    fs::File::open(path.as_ref()).unwrap().read_to_string(&mut text).unwrap();
    text
}
