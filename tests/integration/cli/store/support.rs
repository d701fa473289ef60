//! What the tests of the cache share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lazyblob::remote::Manifest;
use lazyblob::remote::testing::{Image, TestRegistry};
use serde_json::Value;

use crate::support::{Desk, Ran, image};

/// Requests by kind.
pub(super) type Counts = BTreeMap<String, u64>;

/// The kinds of which a run has sent any, by its own account.
#[track_caller]
pub(super) fn said(run: &Ran) -> Counts {
    let stats = run.stats();
    let requests = stats["requests"].as_object().unwrap();
    let kinds = requests.iter().filter(|(kind, _)| !["total", "retries"].contains(&kind.as_str()));
    let counts: Counts = kinds
        .map(|(kind, count)| (kind.clone(), count.as_u64().unwrap()))
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(requests["total"], Value::from(counts.values().sum::<u64>()), "{stats}");
    counts
}

pub(super) fn counts(expected: &[(&str, u64)]) -> Counts {
    expected.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
}

/// Runs it, expects success, and that `registry` was asked what the run says, and that just this.
pub(super) async fn costs(
    desk: &Desk,
    registry: &TestRegistry,
    words: &str,
    expected: &[(&str, u64)],
) -> Ran {
    registry.reset();
    let run = desk.ok(&format!("--stats {words}")).await;
    assert_eq!(said(&run), counts(expected), "lazyblob {words}\n{:#?}\n{}", registry.lines(), run.stderr);
    assert_eq!(registry.counter().total(), run.stats()["requests"]["total"], "{:#?}", registry.lines());
    run
}

/// A desk, a registry, and an image of `layers` layers in it as `app:1`.
pub(super) async fn with_app(layers: usize) -> (Desk, TestRegistry, Image) {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(layers, "app");
    registry.seed("app", "1", &image).await;
    (desk, registry, image)
}

/// An index of images for the architectures, all of them and it stored as `repository:1`.
pub(super) async fn seed_index(
    registry: &TestRegistry,
    repository: &str,
    images: &[(&str, &Image)],
) -> Manifest {
    for (_, image) in images {
        registry.seed(repository, image.manifest.digest().as_ref(), image).await;
    }
    let manifests: Vec<_> = images.iter().map(|(_, image)| &image.manifest).collect();
    let architectures: Vec<_> = images.iter().map(|(architecture, _)| *architecture).collect();
    let index = Image::index(&manifests, &architectures);
    registry.seed_manifest(repository, "1", &index).await;
    index
}

/// The digests of blobs that are on disk in the desk's cache.
pub(super) fn stored(desk: &Desk) -> Vec<String> {
    let mut stored: Vec<String> = match std::fs::read_dir(desk.path("root/store/blobs/sha256")) {
        Ok(entries) => entries
            .map(|entry| format!("sha256:{}", entry.unwrap().file_name().into_string().unwrap()))
            .collect(),
        Err(_) => Vec::new(),
    };
    stored.sort();
    stored
}

/// What a pull of an image alone brings: its manifest and its config.
pub(super) fn lazily(image: &Image) -> Vec<String> {
    let mut blobs = vec![image.manifest.digest().to_string(), image.config().digest().to_string()];
    blobs.sort();
    blobs
}

/// The snapshots of the desk's cache.
pub(super) fn snapshots(desk: &Desk) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(desk.path("root/snapshots")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// Removes a blob from the desk's cache, as a prune would.
pub(super) fn forget(desk: &Desk, digest: &str) {
    let hex = digest.strip_prefix("sha256:").unwrap();
    std::fs::remove_file(desk.path("root/store/blobs/sha256").join(hex)).unwrap();
}
