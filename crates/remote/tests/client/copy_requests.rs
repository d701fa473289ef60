//! What a retag and a copy cost in requests, counted at the server. The figures are the product.

use std::sync::Arc;

use bytes::Bytes;
use lazyblob_remote::copy::{Action, Copy, Options};
use lazyblob_remote::endpoint::Name;
use lazyblob_remote::media;
use lazyblob_remote::registry::{RegistrySource, RegistryTarget};
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{Image, TestRegistry};
use lazyblob_remote::{Access, Registry, Scopes};
use serde_json::json;

use crate::support::{client, layers, name};

/// A copy between two repositories of in-memory hosts, as the command makes it.
fn copy(client: &Registry, source: &str, tag: &str, target: &str, new_tag: &str) -> Copy {
    let (from, to) = (name(source), name(target));
    let access = Access::anonymous();
    let scopes = Scopes::pull(&from).union(&Scopes::push(&to));
    let source = RegistrySource::new(client.repository(&from, scopes.clone(), &access).unwrap());
    let target = RegistryTarget::new(client.repository(&to, scopes, &access).unwrap());
    let names = vec![Name::Tag(new_tag.into())];
    let transfers = client.transfers().clone();
    Copy::new(Arc::new(source), Name::Tag(tag.into()), Arc::new(target), names, access, transfers)
}

#[tokio::test]
async fn copy_to_another_repository_is_n_plus_4_and_again_2() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let image = registry.seed_image("a", "1", &layers(5)).await;
    let client = client(registry.transport());
    registry.reset();

    let report = copy(&client, "registry.test/a", "1", "registry.test/b", "1").run().await.unwrap();

    assert_eq!(report.root, *image.manifest.digest());
    assert_eq!(registry.counter().total(), 5 + 4, "{:?}", registry.lines());
    assert_eq!(registry.requests(Kind::Mount), 6);
    assert_eq!(registry.requests(Kind::ManifestGet), 1);
    assert_eq!(registry.requests(Kind::ManifestHead), 1);
    assert_eq!(registry.requests(Kind::ManifestPut), 1);
    assert_eq!(registry.requests(Kind::BlobGet), 0);
    assert_eq!(client.stats().requests.total(), 9);

    registry.reset();
    let report = copy(&client, "registry.test/a", "1", "registry.test/b", "1").run().await.unwrap();
    assert!(report.unchanged);
    assert_eq!(registry.counter().total(), 2, "{:?}", registry.lines());
    assert_eq!(registry.requests(Kind::ManifestPut), 0);
}

#[tokio::test]
async fn where_gets_are_metered_the_same_copy_again_is_two_heads() {
    let registry = TestRegistry::in_memory("hub.test").await;
    registry.seed_image("a", "1", &layers(2)).await;
    let client = client(registry.transport());
    copy(&client, "hub.test/a", "1", "hub.test/b", "1").run().await.unwrap();
    registry.reset();

    copy(&client, "hub.test/a", "1", "hub.test/b", "1").run().await.unwrap();

    assert_eq!(registry.counter().total(), 2);
    assert_eq!(registry.requests(Kind::ManifestHead), 2);
    assert_eq!(registry.requests(Kind::ManifestGet), 0);
}

/// Row 43: manifests are put when all blobs are there, the index after its children.
///
/// BuildKit row 103: blobs go before manifests.
#[tokio::test]
async fn an_index_is_1_plus_m_gets_1_head_b_mounts_and_m_plus_1_puts() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let (one, two) = (Image::of(&layers(3)), Image::of(&layers(4)));
    registry.seed("a", "one", &one).await;
    registry.seed("a", "two", &two).await;
    let index = Image::index(&[&one.manifest, &two.manifest], &["linux/amd64", "linux/arm64"]);
    registry.seed_manifest("a", "1", &index).await;
    let mut distinct: Vec<_> =
        one.blobs.iter().chain(&two.blobs).map(|(blob, _)| blob.digest().clone()).collect();
    distinct.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
    distinct.dedup();
    let client = client(registry.transport());
    registry.reset();

    let report = copy(&client, "registry.test/a", "1", "registry.test/b", "1").run().await.unwrap();

    assert_eq!(report.root, *index.digest());
    assert_eq!(registry.requests(Kind::ManifestGet), 1 + 2);
    assert_eq!(registry.requests(Kind::ManifestHead), 1);
    assert_eq!(registry.requests(Kind::Mount), distinct.len() as u64);
    assert_eq!(registry.requests(Kind::ManifestPut), 2 + 1);
    assert_eq!(registry.counter().total(), (1 + 2) + 1 + distinct.len() as u64 + 3);
    let kinds: Vec<_> = registry.log().iter().map(|entry| entry.kind).collect();
    let first_put = kinds.iter().position(|kind| *kind == Kind::ManifestPut).unwrap();
    assert!(!kinds[first_put..].contains(&Kind::Mount), "{:?}", registry.lines());
    assert_eq!(registry.lines().last().unwrap(), "PUT /v2/b/manifests/1 201");
}

/// Row 37: one look per blob, and nothing is opened or sent for one that is there.
///
/// BuildKit row 103: it is asked first, and takes what it lacks.
#[tokio::test]
async fn another_registry_gets_only_what_it_lacks() {
    let from = TestRegistry::in_memory("from.test").await;
    let to = TestRegistry::in_memory("to.test").await;
    let all = layers(3);
    let image = from.seed_image("a", "1", &all).await;
    to.seed_image("b", "old", &all[..2]).await;
    let client = client(from.transport().with(&to));
    from.reset();
    to.reset();

    let report = copy(&client, "from.test/a", "1", "to.test/b", "1").run().await.unwrap();

    let moved = report.blobs.iter().filter(|(_, action)| *action == Action::Transfer).count() as u64;
    // The config differs, and one layer is new.
    assert_eq!(moved, 2);
    assert_eq!(from.requests(Kind::BlobGet), moved);
    assert_eq!(from.requests(Kind::BlobHead), 0);
    assert_eq!(to.requests(Kind::Mount), 0);
    assert_eq!(to.requests(Kind::BlobHead), image.blobs.len() as u64);
    // POST, one PATCH and PUT a blob.
    assert_eq!(to.requests(Kind::Upload), 3 * moved);
    let bytes: u64 = report
        .blobs
        .iter()
        .filter(|(_, action)| *action == Action::Transfer)
        .map(|(blob, _)| blob.size())
        .sum();
    assert_eq!(to.traffic().bytes_in(), bytes);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_forecasts_every_blob() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let all = layers(3);
    registry.seed_image("a", "1", &all).await;
    registry.seed_image("b", "old", &all[..1]).await;
    let client = client(registry.transport());
    registry.reset();

    let plan = copy(&client, "registry.test/a", "1", "registry.test/b", "1").plan().await.unwrap();

    let count = |wanted| plan.blobs.iter().filter(|(_, action)| *action == wanted).count();
    assert_eq!((count(Action::Present), count(Action::Mount), count(Action::Transfer)), (1, 3, 0));
    assert_eq!(plan.bytes(), 0);
    assert!(plan.bytes_if_refused() > 0 && !plan.unchanged);
    for entry in registry.log() {
        assert!(matches!(entry.method.as_str(), "GET" | "HEAD"), "{entry:?}");
    }
    assert_eq!(registry.requests(Kind::BlobGet), 0);
}

#[tokio::test]
async fn a_cache_in_index_form_has_layers_as_children_and_moves_none() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let layer = registry.seed_blob("a", Bytes::from_static(b"layer")).await;
    let config = registry.seed_blob("a", Bytes::from_static(b"{\"layers\":[]}")).await;
    let text = json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX,
        "manifests": [
            {"mediaType": media::OCI_LAYER_GZIP, "digest": layer.digest(), "size": layer.size()},
            {"mediaType": media::BUILDKIT_CACHE, "digest": config.digest(), "size": config.size()},
        ],
    });
    let cache = lazyblob_remote::Manifest::parse(Bytes::from(text.to_string()), None, None, "test").unwrap();
    registry.seed_manifest("a", "cache", &cache).await;
    let client = client(registry.transport());
    registry.reset();

    copy(&client, "registry.test/a", "cache", "registry.test/b", "cache").run().await.unwrap();
    assert_eq!(registry.counter().total(), 1 + 4, "{:?}", registry.lines());
    assert_eq!(registry.requests(Kind::Mount), 2);
    assert_eq!(registry.requests(Kind::BlobGet), 0);

    registry.reset();
    let form = lazyblob_remote::buildcache::Form::Manifest;
    let options = Options { cache_form: Some(form), ..Options::default() };
    let converted = copy(&client, "registry.test/a", "cache", "registry.test/b", "new").with_options(options);
    let report = converted.run().await.unwrap();
    assert_ne!(report.root, *cache.digest());
    assert_eq!(registry.requests(Kind::BlobGet), 0);
}

/// BuildKit row 104: a push may be by digest alone.
#[tokio::test]
async fn a_target_named_by_digest_takes_that_manifest_and_no_other() {
    let registry = TestRegistry::in_memory("registry.test").await;
    let image = registry.seed_image("a", "1", &layers(1)).await;
    let other = registry.seed_image("a", "2", &layers(2)).await;
    let client = client(registry.transport());
    let (from, to) = (name("registry.test/a"), name("registry.test/b"));
    let copy_to = |digest: &lazyblob_remote::Digest| {
        let access = Access::anonymous();
        let scopes = Scopes::pull(&from).union(&Scopes::push(&to));
        let source = RegistrySource::new(client.repository(&from, scopes.clone(), &access).unwrap());
        let target = RegistryTarget::new(client.repository(&to, scopes, &access).unwrap());
        let names = vec![Name::Digest(digest.clone())];
        let transfers = client.transfers().clone();
        Copy::new(Arc::new(source), Name::Tag("1".into()), Arc::new(target), names, access, transfers)
    };
    registry.reset();

    let error = copy_to(other.manifest.digest()).run().await.unwrap_err();
    assert!(matches!(error, lazyblob_remote::Error::Integrity { .. }), "{error}");
    assert_eq!(registry.requests(Kind::Mount) + registry.requests(Kind::ManifestPut), 0);

    copy_to(image.manifest.digest()).run().await.unwrap();
    assert_eq!(registry.requests(Kind::ManifestPut), 1);
}
