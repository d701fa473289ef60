//! A cache beside a registry without a socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lazyblob_cache::image::{Image, Pull};
use lazyblob_cache::metadata::Memory;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::{Components, ExtractOptions, Extracted, Manager, Result, manager};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::{RegistrySource, Settings};
use lazyblob_remote::testing::{self, TestRegistry};
use lazyblob_remote::transfer::{self, Retry};
use lazyblob_remote::{Access, Reference, Registry, Scopes};
use tempfile::TempDir;

pub(crate) const HOST: &str = "registry.test";

/// A cache, what it pulls from, and a directory for trees.
pub(crate) struct Cache {
    pub(crate) dir: TempDir,
    pub(crate) registry: TestRegistry,
    pub(crate) manager: Manager,
}

impl Cache {
    pub(crate) async fn new() -> Self {
        Self::with(TestRegistry::in_memory(HOST).await, manager::Settings::default()).await
    }

    pub(crate) async fn with(registry: TestRegistry, settings: manager::Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("out")).unwrap();
        let manager = open(&dir.path().join("root"), &registry, settings).await;
        Self { dir, registry, manager }
    }

    /// One whose snapshots are of this kind.
    pub(crate) async fn kept_as(wanted: Wanted) -> Self {
        let registry = TestRegistry::in_memory(HOST).await;
        let dir = tempfile::tempdir().unwrap();
        let settings = manager::Settings::default();
        let manager = open_as(&dir.path().join("root"), &registry, settings, wanted).await;
        Self { dir, registry, manager }
    }

    /// A path beside nothing else.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// What is in the directory of [`out`](Self::out).
    pub(crate) fn beside(&self) -> Vec<String> {
        names(&self.dir.path().join("out"))
    }

    pub(crate) fn root(&self) -> &Path {
        self.manager.root().path()
    }

    /// Pulls an image of these tars, lazily.
    pub(crate) async fn pull(&self, tars: &[Vec<u8>]) -> Image {
        let layers: Vec<Bytes> = tars.iter().cloned().map(Bytes::from).collect();
        self.registry.seed_image("app", "1", &layers).await;
        self.pull_seeded().await
    }

    /// Pulls what was seeded.
    pub(crate) async fn pull_seeded(&self) -> Image {
        let reference: Reference = format!("{HOST}/app:1").parse().unwrap();
        let name = reference.repository().clone();
        let client = client(&self.registry);
        let repository = client.repository(&name, Scopes::pull(&name), &Access::anonymous()).unwrap();
        let pull = Pull {
            reference,
            source: Arc::new(RegistrySource::new(repository)),
            name: Name::Tag("1".to_owned()),
            platform: None,
            record_type: lazyblob_cache::record::RecordType::Regular,
        };
        self.manager.pull(pull, &Access::anonymous()).await.unwrap().image
    }

    pub(crate) async fn extract(&self, image: &Image, name: &str) -> Result<Extracted> {
        self.extract_with(image, name, ExtractOptions::default()).await
    }

    pub(crate) async fn extract_with(
        &self,
        image: &Image,
        name: &str,
        options: ExtractOptions,
    ) -> Result<Extracted> {
        image.extract_to(&self.manager, &self.out(name), options, &Access::anonymous()).await
    }
}

/// The names in a directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Opens a cache on plain directories: these tests are about what is made of snapshots, not about their kinds.
pub(crate) async fn open(path: &Path, registry: &TestRegistry, settings: manager::Settings) -> Manager {
    open_as(path, registry, settings, Wanted::Plain).await
}

/// The kinds of snapshots that can be had here.
pub(crate) fn kinds() -> Vec<Wanted> {
    let dir = tempfile::tempdir().unwrap();
    let is_any = snapshot::open(Places::below(dir.path()), Wanted::Overlay).is_ok();
    if is_any { vec![Wanted::Plain, Wanted::Overlay] } else { vec![Wanted::Plain] }
}

async fn open_as(
    path: &Path,
    registry: &TestRegistry,
    settings: manager::Settings,
    wanted: Wanted,
) -> Manager {
    let root = Root::open(path, RootSettings::default()).await.unwrap();
    let snapshots = snapshot::open(Places::below(root.path()), wanted).unwrap();
    let client = client(registry);
    let components = Components {
        transfers: client.transfers().clone(),
        remotes: Arc::new(client),
        engine: Arc::new(Memory::default()),
        snapshots,
    };
    Manager::open(root, components, settings).await.unwrap()
}

fn client(registry: &TestRegistry) -> Registry {
    let retry = Retry {
        tries: 3,
        first: Duration::from_millis(2),
        cap: Duration::from_millis(20),
        ..Retry::default()
    };
    let transfers = transfer::Settings { retry, ..transfer::Settings::default() };
    let settings = Settings { transfers, ..Settings::default() };
    let transport: testing::MemoryTransport = registry.transport();
    Registry::new(Arc::new(transport), Hosts::default(), settings)
}
