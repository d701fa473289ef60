//! A tree that nobody has pulled.

use std::sync::Arc;

use bytes::Bytes;
use lazyblob_cache::manager::NewLayer;
use lazyblob_cache::record::{LayerBlob, Source};
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, pack};
use lazyblob_cache::{DescHandler, DescHandlers, GetOptions, Remotes as _};
use lazyblob_remote::provider::Origin;
use lazyblob_remote::{Access, Descriptor, digest};
use lazyblob_worker::WorkerRef;

use crate::support::World;

/// One layer of a registry: `d/who`, which says `lazy`.
pub(crate) struct Base {
    bytes: Bytes,
    layer: NewLayer,
    handlers: DescHandlers,
}

impl Base {
    pub(crate) fn new(world: &World) -> Self {
        let tar = Tar::new().dir("d", 0o755).file("d/who", "lazy").end();
        let (media_type, bytes) = pack(&tar, Packed::Gzip);
        let descriptor = Descriptor::new(media_type.into(), bytes.len() as u64, digest::sha256(&bytes));
        let origin = Origin { host: "registry.test".to_owned(), repository: "app".to_owned() };
        let (client, from) = (world.client.clone(), origin.clone());
        let source = move |access: &Access| client.provider(&from, access).unwrap();
        let handler = Arc::new(DescHandler::new(source).at(origin.clone()));
        let handlers = [(descriptor.digest().clone(), handler)].into_iter().collect();
        let blob = LayerBlob { descriptor, diff_id: digest::sha256(&tar) };
        Self { bytes, layer: NewLayer { blob, sources: vec![Source::from(origin)] }, handlers }
    }

    pub(crate) async fn upload(&self, world: &World) {
        world.registry.seed_blob("app", self.bytes.clone()).await;
    }

    /// A handle on it that has not been pulled for.
    pub(crate) async fn import(&self, world: &World) -> WorkerRef {
        let options = GetOptions { handlers: self.handlers.clone(), ..GetOptions::default() };
        WorkerRef::new(world.manager.import(vec![self.layer.clone()], None, options).await.unwrap())
    }

    /// What progress calls it.
    pub(crate) fn digest(&self) -> &str {
        self.layer.blob.descriptor.digest().as_ref()
    }

    /// How often something was got from the registry so far.
    pub(crate) fn gets(&self, world: &World) -> usize {
        world.registry.log().iter().filter(|entry| entry.method.as_str() == "GET").count()
    }
}
