//! A registry in memory, a root on disk, and managers of it.

use std::path::Path;
use std::sync::Arc;

use lazyblob_cache::image::{Pull, Pulled};
use lazyblob_cache::manager::{Components, Settings};
use lazyblob_cache::metadata::Sled;
use lazyblob_cache::record::RecordType;
use lazyblob_cache::root::{Root, RootSettings};
use lazyblob_cache::snapshot::{self, Places, Wanted};
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_cache::{Manager, Result};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::hosts::Hosts;
use lazyblob_remote::registry::{self as client, RegistrySource};
use lazyblob_remote::testing::{Image, TestRegistry};
use lazyblob_remote::{Access, Reference, Registry, Scopes};
use tempfile::TempDir;

/// A registry with one image, and a root.
pub(crate) struct World {
    pub(crate) registry: TestRegistry,
    pub(crate) client: Registry,
    /// What is called `app:1` there.
    pub(crate) image: Image,
    pub(crate) dir: TempDir,
}

impl World {
    /// The image `app:1` has three layers, each compressed in another way.
    pub(crate) async fn new() -> Self {
        let registry = TestRegistry::in_memory("registry.test").await;
        let image = image(&layers());
        registry.seed("app", "1", &image).await;
        registry.reset();
        let client =
            Registry::new(Arc::new(registry.transport()), Hosts::default(), client::Settings::default());
        Self { registry, client, image, dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A manager as another run of the program would have it.
    pub(crate) async fn manager(&self) -> Manager {
        manager(self.root(), &self.client).await.unwrap()
    }

    pub(crate) fn pull_of(&self, reference: &str) -> Pull {
        let reference: Reference = reference.parse().unwrap();
        let access = Access::anonymous();
        let scopes = Scopes::pull(reference.repository());
        let repository = self.client.repository(reference.repository(), scopes, &access).unwrap();
        let name = match reference.digest() {
            Some(digest) => Name::Digest(digest.clone()),
            None => Name::Tag(reference.identifier()),
        };
        let source = Arc::new(RegistrySource::new(repository));
        Pull { reference, source, name, platform: None, record_type: RecordType::Regular }
    }

    pub(crate) async fn pull(&self, manager: &Manager) -> Pulled {
        manager.pull(self.pull_of("registry.test/app:1"), &Access::anonymous()).await.unwrap()
    }
}

pub(crate) async fn manager(root: &Path, client: &Registry) -> Result<Manager> {
    let root = Root::open(root, RootSettings::default()).await?;
    let snapshots = snapshot::open(Places::below(root.path()), Wanted::Plain)?;
    let components = Components {
        transfers: client.transfers().clone(),
        remotes: Arc::new(client.clone()),
        engine: Arc::new(Sled),
        snapshots,
    };
    Manager::open(root, components, Settings::default()).await
}

/// The bottom one first: a file and a directory; a change and a whiteout; a link.
pub(crate) fn layers() -> Vec<(Vec<u8>, Packed)> {
    let base = Tar::new().dir("etc", 0o755).file("etc/name", "base").file("etc/old", "old").end();
    let middle = Tar::new().file("etc/name", "middle").whiteout("etc/", "old").end();
    let top = Tar::new().dir("bin", 0o755).file("bin/run", vec![7; 100_000]).symlink("bin/sh", "run").end();
    vec![(base, Packed::Gzip), (middle, Packed::Plain), (top, Packed::Zstd)]
}
