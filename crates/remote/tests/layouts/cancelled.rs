//! Puts that are dropped in the middle.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use lazyblob_remote::archive::{DockerArchive, DockerArchiveTarget, OciArchive, OciArchiveTarget};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::layout::Layout;
use lazyblob_remote::provider::{BlobInfo, Origin};
use lazyblob_remote::verify::Unverified;
use lazyblob_remote::{Descriptor, Provider, Result, Source, Target};
use tokio::sync::Notify;

use crate::support::{self, Memory, put, small_image};

/// Brings wrong bytes, tells that it did, and never ends.
#[derive(Debug)]
struct Stalling {
    passed_on: Arc<Notify>,
}

#[async_trait]
impl Provider for Stalling {
    async fn open(&self, _: &Descriptor, range: Range<u64>) -> Result<Unverified> {
        let passed_on = Arc::clone(&self.passed_on);
        let chunks = futures::stream::iter(vec![Bytes::from(vec![9; 300_000]); 2]).map(Ok);
        let stall = futures::stream::once(async move {
            passed_on.notify_one();
            std::future::pending().await
        });
        Ok(Unverified::new(range, chunks.chain(stall).boxed()))
    }

    async fn info(&self, _: &Descriptor) -> Result<BlobInfo> {
        Ok(BlobInfo { size: None })
    }

    fn origin(&self) -> Origin {
        Origin { host: "memory".into(), repository: "stalling".into() }
    }
}

/// Drops a put once its source has brought all it brings, then does it all properly.
async fn drop_then_put(target: &dyn Target, file: &Path) {
    let mut memory = Memory::default();
    let image = small_image(&mut memory, 1);
    let passed_on = Arc::new(Notify::new());
    let source = Arc::new(Stalling { passed_on: Arc::clone(&passed_on) });
    let blob = support::blob(source, &image.layers()[1]);
    tokio::select! {
        done = target.put_blob(&blob, None) => panic!("it cannot end: {done:?}"),
        () = passed_on.notified() => {}
    }
    assert!(!target.has_blob(blob.descriptor()).await.unwrap());
    put(&memory, &image, target, &Name::Only).await.unwrap();
    assert!(!file.is_file(), "not before it is finished");
    target.finish().await.unwrap();
}

async fn check(source: &dyn Source) {
    let image = source.manifest(&Name::Only).await.unwrap();
    for blob in image.child_blobs() {
        support::read(source.blobs(), blob).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_of_a_dropped_put_is_in_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, oci, docker) = (dir.path().join("l"), dir.path().join("o"), dir.path().join("d"));
    drop_then_put(&Layout::create_or_open(&layout).await.unwrap(), &layout).await;
    check(&Layout::open(&layout).await.unwrap()).await;
    drop_then_put(&OciArchiveTarget::create(&oci).await.unwrap(), &oci).await;
    check(&OciArchive::open(&oci).await.unwrap()).await;
    drop_then_put(&DockerArchiveTarget::create(&docker).await.unwrap(), &docker).await;
    check(&DockerArchive::open(&docker).await.unwrap()).await;
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    assert_eq!(fs::read_dir(&layout).unwrap().count(), 3);
}
