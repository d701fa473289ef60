//! BuildKit's caches, in both forms, out of a sparse layout.

use std::fs;
use std::path::{Path, PathBuf};

use lazyblob_remote::layout::Layout;
use lazyblob_remote::{Source, Target};

use crate::support::{copy, tag};

pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/buildkit-caches")
}

const IMAGES: [&str; 5] = ["busybox-1", "busybox-docker", "app-1", "app-b", "app-inline"];
const CACHES: [&str; 5] =
    ["cache-min-true", "cache-max-true", "cache-min-false", "cache-max-false", "cache-branch-b"];

/// Every blob below `root`, by its name.
pub(crate) fn blobs(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(root.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn both_forms_pass_byte_for_byte_from_layout_to_layout() {
    let dir = tempfile::tempdir().unwrap();
    let source = Layout::open(fixture()).await.unwrap();
    let target = Layout::create_or_open(dir.path()).await.unwrap();
    for name in IMAGES.into_iter().chain(CACHES) {
        let root = copy(&source, &tag(name), &target, &tag(name)).await.unwrap();
        assert_eq!(root.is_build_cache(), CACHES.contains(&name), "{name}");
        let read = Source::manifest(&target, &tag(name)).await.unwrap();
        assert_eq!(read.bytes(), root.bytes());
        assert_eq!(read.media_type(), root.media_type());
    }
    target.finish().await.unwrap();
    let (from, to) = (blobs(&fixture()), blobs(dir.path()));
    assert!(from == to, "{} blobs became {}", from.len(), to.len());

    // The base's layer is missing from both, so what builds on it is never taken for whole.
    let app = Target::resolve(&target, &tag("app-1")).await.unwrap();
    assert_eq!(app, None);
}

#[tokio::test]
async fn index_form_names_layers_that_are_blobs() {
    let source = Layout::open(fixture()).await.unwrap();
    let cache = source.manifest(&tag("cache-max-false")).await.unwrap();
    assert!(cache.is_index() && cache.child_manifests().is_empty() && cache.child_blobs().len() > 2);
    let cache = source.manifest(&tag("cache-max-true")).await.unwrap();
    assert!(!cache.is_index() && cache.is_build_cache());
}
