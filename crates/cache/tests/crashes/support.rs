//! A registry on a socket, its images and their trees, and managers of a root.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lazyblob_cache::image::{Pull, Pulled};
use lazyblob_cache::manager::{Components, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::record::RecordType;
use lazyblob_cache::root::{Pace, Pauses, Root, RootSettings};
use lazyblob_cache::snapshot::{self, Keep, Overlay, Places, SnapshotKey, Wanted};
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_cache::testing::tree::{Part, Tree};
use lazyblob_cache::{ChainId, ImmutableRef, Manager};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::layout::IngestSettings;
use lazyblob_remote::registry::{self as client, RegistrySource};
use lazyblob_remote::request::Kind as Request;
use lazyblob_remote::testing::{Effect, Image, TestRegistry, Toxic, not_run};
use lazyblob_remote::transport::{self, HttpTransport};
use lazyblob_remote::{Access, Digest, Reference, Registry, Scopes};
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

/// Images that share a layer.
pub(crate) const IMAGES: usize = 4;
/// The repository with all of them, one tag each.
pub(crate) const MOVING: &str = "moving";
/// The repository with a large one.
pub(crate) const LARGE: &str = "large";
/// Bytes of the layer of that.
pub(crate) const LARGE_SIZE: usize = 8 << 20;
/// Bytes between two save points.
pub(crate) const SAVED: u64 = 256 << 10;

/// Those that measure time take this alone, those that only take their time share it.
pub(crate) static QUIET: RwLock<()> = RwLock::const_new(());

/// How layers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Plain,
    Overlay,
}

/// Whether there is time.
pub(crate) fn soaks() -> bool {
    std::env::var_os("LAZYBLOB_SOAK").is_some()
}

/// What all that is random comes from.
pub(crate) fn seed(default: u64) -> u64 {
    std::env::var("LAZYBLOB_SEED").map_or(default, |seed| seed.parse().unwrap())
}

/// A registry, and what its images unpack to.
pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) client: Registry,
    pub(crate) kind: Kind,
    pub(crate) images: Vec<Image>,
    /// The trees of all stacks of layers there are, by the chain.
    pub(crate) trees: HashMap<ChainId, Tree>,
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        let registry = TestRegistry::start().await;
        let images: Vec<Image> = (0..IMAGES).map(small).collect();
        for (number, image) in images.iter().enumerate() {
            registry.seed(&format!("app{number}"), "1", image).await;
            registry.seed(MOVING, &number.to_string(), image).await;
        }
        registry.seed(LARGE, "1", &large()).await;
        let mut world = Self { registry, client: http(), kind, images, trees: HashMap::new() };
        world.learn().await;
        world.registry.reset();
        // A blob takes some milliseconds, so that something can happen meanwhile.
        for (repository, piece, pause) in
            [("/app", 32 << 10, 2), (MOVING, 32 << 10, 2), (LARGE, 64 << 10, 10)]
        {
            let slow = Effect::Slow { piece, pause: Duration::from_millis(pause) };
            world.registry.add(Toxic::new(slow).on(Request::BlobGet).path(repository));
        }
        world
    }

    /// Overlay where it works.
    pub(crate) async fn overlay(what: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        places.create().unwrap();
        if let Err(error) = Overlay::probe(&places) {
            not_run(what, &error.to_string());
            return None;
        }
        Some(Self::new(Kind::Overlay).await)
    }

    pub(crate) fn digests(&self) -> Vec<String> {
        self.images.iter().map(|image| image.manifest.digest().to_string()).collect()
    }

    /// What an image is made of, by the digest of its manifest.
    pub(crate) fn image(&self, digest: &str) -> &Image {
        self.images.iter().find(|image| image.manifest.digest().as_ref() == digest).unwrap()
    }

    pub(crate) async fn manager(&self, root: &Path) -> Manager {
        manager(root, self.kind, &self.client).await
    }

    pub(crate) async fn pull(&self, manager: &Manager, repository: &str) -> Pulled {
        pull(manager, &self.client, self.registry.host(), repository, "1", None).await
    }

    /// Unpacks everything in peace.
    async fn learn(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        let manager = self.manager(dir.path()).await;
        let repositories = (0..IMAGES).map(|number| format!("app{number}")).chain([LARGE.to_owned()]);
        for repository in repositories {
            let top = self.pull(&manager, &repository).await.image.top.unwrap();
            top.extract(&Access::anonymous()).await.unwrap();
            let stack = keys(&top);
            for height in 1..=stack.len() {
                let chain = stack[height - 1].as_chain().unwrap();
                self.trees.insert(chain, assembled(&manager, &stack[..height]));
            }
        }
        let first = &self.tree(&self.digests()[0]);
        assert!(first.get("etc/old").is_none(), "it has a whiteout");
        assert_eq!(first.get("etc/one").unwrap().link, first.get("etc/other").unwrap().link);
        assert!(first.names().contains(&"bin/run0"), "{:?}", first.names());
        manager.close().await.unwrap();
    }

    /// The whole tree of an image, by the digest of its manifest.
    pub(crate) fn tree(&self, digest: &str) -> Tree {
        self.trees[self.chains(digest).last().unwrap()].clone()
    }

    /// The chains of its layers, the bottom one first.
    pub(crate) fn chains(&self, digest: &str) -> Vec<ChainId> {
        let config: serde_json::Value = serde_json::from_slice(&self.image(digest).blobs[0].1).unwrap();
        let ids = config["rootfs"]["diff_ids"].as_array().unwrap().iter();
        let ids: Vec<Digest> = ids.map(|id| id.as_str().unwrap().parse().unwrap()).collect();
        ChainId::of_stack(&ids)
    }
}

/// A client as an ordinary process has it.
pub(crate) fn http() -> Registry {
    let settings = transport::Settings { environment_proxies: false, ..transport::Settings::default() };
    Registry::new(Arc::new(HttpTransport::new(settings)), Hosts::default(), client::Settings::default())
}

pub(crate) async fn manager(root: &Path, kind: Kind, client: &Registry) -> Manager {
    let settings = RootSettings {
        ingest: IngestSettings {
            save_bytes: SAVED,
            save_interval: Duration::ZERO,
            ..IngestSettings::default()
        },
        poll: Pauses { first: Duration::from_millis(1), limit: Duration::from_millis(20) },
        trash: Pace { step: 20, pause: Duration::from_millis(1) },
        ..RootSettings::default()
    };
    let root = Root::open(root, settings).await.unwrap();
    let wanted = match kind {
        Kind::Plain => Wanted::Plain,
        Kind::Overlay => Wanted::Overlay,
    };
    let components = Components {
        transfers: client.transfers().clone(),
        remotes: Arc::new(client.clone()),
        engine: Arc::new(Sled),
        snapshots: snapshot::open(Places::below(root.path()), wanted).unwrap(),
    };
    let settings = Settings { linger: Duration::from_millis(5), ..Settings::default() };
    Manager::open(root, components, settings).await.unwrap()
}

/// Pulls `tag` of a repository; it is called `name` here, or what it is called there.
pub(crate) async fn pull(
    manager: &Manager,
    client: &Registry,
    host: &str,
    repository: &str,
    tag: &str,
    name: Option<&str>,
) -> Pulled {
    let there: Reference = format!("{host}/{repository}:{tag}").parse().unwrap();
    let reference = name.map_or_else(|| there.clone(), |name| name.parse().unwrap());
    let access = Access::anonymous();
    let scopes = Scopes::pull(there.repository());
    let source =
        Arc::new(RegistrySource::new(client.repository(there.repository(), scopes, &access).unwrap()));
    let name = Name::Tag(tag.to_owned());
    let pull = Pull { reference, source, name, platform: None, record_type: RecordType::Regular };
    manager.pull(pull, &access).await.unwrap()
}

/// What the snapshots of a ref's layers are called.
pub(crate) fn keys(of: &ImmutableRef) -> Vec<SnapshotKey> {
    of.layers().iter().map(|layer| layer.record().snapshot.clone().unwrap()).collect()
}

/// The whole tree of a stack, but for its root.
pub(crate) fn assembled(manager: &Manager, stack: &[SnapshotKey]) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("tree");
    std::fs::create_dir(&to).unwrap();
    manager.snapshots().assemble(stack, &to, Keep::as_able(), &CancellationToken::new()).unwrap();
    tree(&to)
}

pub(crate) fn tree(dir: &Path) -> Tree {
    Tree::of(dir).unwrap().without(Part::Root).without(Part::Holes)
}

/// Layers that change, hide and link what lies below.
fn small(number: usize) -> Image {
    let mut random = fastrand::Rng::with_seed(number as u64);
    let mut bytes = |length| std::iter::repeat_with(|| random.u8(..)).take(length).collect::<Vec<u8>>();
    let base = Tar::new().dir("etc", 0o755).file("etc/old", vec![1; 3000]).file("etc/one", vec![2; 90_000]);
    let base = (0..20).fold(base, |base, file| base.file(&format!("etc/{file}"), vec![file; 500]));
    let own = Tar::new().dir("etc", 0o750).file("etc/0", format!("of {number}")).whiteout("etc/", "old");
    let own = own.file("etc/own", bytes(150_000)).link("etc/other", "etc/one");
    let top = Tar::new().dir("bin", 0o755).file(&format!("bin/run{number}"), bytes(300_000));
    let top = top.symlink("bin/sh", "run");
    let packed = [Packed::Gzip, Packed::Zstd, Packed::Plain];
    image(&[
        (base.end(), Packed::Gzip),
        (own.end(), packed[number % 3]),
        (top.end(), packed[(number + 1) % 3]),
    ])
}

/// One layer that takes more than a second to come.
fn large() -> Image {
    let mut random = fastrand::Rng::with_seed(77);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(LARGE_SIZE).collect();
    image(&[(Tar::new().dir("lib", 0o755).file("lib/large", bytes).end(), Packed::Plain)])
}
