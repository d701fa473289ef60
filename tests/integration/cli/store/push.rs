//! `lazyblob push`: a lazy image goes where it was at no cost, next to it by mounts, and elsewhere with what is missing.

use http::{Request, StatusCode};
use lazyblob::remote::body::Body;
use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};
use serde_json::json;

use super::support::{costs, counts, forget, lazily, said, seed_index, stored, with_app};
use crate::support::image;

/// BuildKit row 106: what is pushed lazily stays lazy.
#[tokio::test]
async fn to_the_repository_it_came_from_it_is_a_head_and_a_put() {
    let (desk, registry, image) = with_app(4).await;
    let app = format!("{}/app", registry.host());
    desk.ok(&format!("pull {app}:1")).await;
    let words = format!("push {app}:1 {app}:2");
    let run = costs(&desk, &registry, &words, &[("manifest_head", 1), ("manifest_put", 1)]).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    costs(&desk, &registry, &words, &[("manifest_head", 1)]).await;
    assert_eq!(stored(&desk), lazily(&image), "it is as lazy as before");
}

#[tokio::test]
async fn an_index_goes_to_its_repository_with_one_put_too() {
    let (desk, registry, _) = with_app(1).await;
    let (one, other) = (image(2, "amd64"), image(3, "s390x"));
    let index = seed_index(&registry, "multi", &[("amd64", &one), ("s390x", &other)]).await;
    let multi = format!("{}/multi", registry.host());
    desk.ok(&format!("pull --platform linux/s390x {multi}:1")).await;
    let words = format!("push {multi}:1 {multi}:2");
    let run = costs(&desk, &registry, &words, &[("manifest_head", 1), ("manifest_put", 1)]).await;
    assert_eq!(run.digest(), index.digest().to_string());
    // To another one all manifests go along, and the one that was never pulled is fetched.
    let words = format!("push {multi}:1 {}/else:1", registry.host());
    let blobs = (2 + 1) + (3 + 1);
    let expected = [("manifest_get", 1), ("manifest_head", 1), ("manifest_put", 3), ("mount", blobs)];
    costs(&desk, &registry, &words, &expected).await;
}

/// BuildKit row 106: and so it does where all of it is mounted.
#[tokio::test]
async fn to_another_repository_of_the_registry_it_is_n_plus_1_mounts() {
    let (desk, registry, image) = with_app(4).await;
    let (app, prod) = (format!("{}/app", registry.host()), format!("{}/prod", registry.host()));
    desk.ok(&format!("pull {app}:1")).await;
    let expected = [("manifest_head", 1), ("mount", 4 + 1), ("manifest_put", 1)];
    let run = costs(&desk, &registry, &format!("push {app}:1 {prod}:1"), &expected).await;
    assert_eq!(run.stats()["blobs"], json!({"present": 0, "mounted": 5, "uploaded": 0, "fetched": 0}));
    assert_eq!(stored(&desk), lazily(&image));
    // It is known to be there now: another name there is a HEAD and a PUT.
    let expected = [("manifest_head", 1), ("manifest_put", 1)];
    costs(&desk, &registry, &format!("push {app}:1 {prod}:2"), &expected).await;
    let raw = desk.ok(&format!("inspect --raw {prod}:2")).await.stdout;
    assert_eq!(raw.as_bytes(), image.manifest.bytes());
}

/// Row 96: what is read is asked for, and nothing else. BuildKit row 103: mounted from wherever it was seen.
#[tokio::test]
async fn to_another_registry_only_what_is_missing_is_fetched() {
    let (desk, registry, image) = with_app(4).await;
    let other = TestRegistry::start().await;
    let app = format!("{}/app:1", registry.host());
    desk.ok(&format!("pull {app}")).await;
    // Two of the layers are there.
    for (_, bytes) in &image.blobs[1..3] {
        other.seed_blob("prod", bytes.clone()).await;
    }
    registry.reset();
    let run = desk.ok(&format!("--stats push {app} {}/prod:1", other.host())).await;
    assert_eq!(
        (registry.requests(Kind::BlobGet), registry.counter().total()),
        (2, 2),
        "{:?}",
        registry.lines()
    );
    assert_eq!(other.requests(Kind::BlobHead), 5, "{:#?}", other.lines());
    assert_eq!(other.requests(Kind::BlobGet), 0);
    assert_eq!(run.stats()["blobs"], json!({"present": 2, "mounted": 0, "uploaded": 3, "fetched": 2}));
    assert_eq!(stored(&desk).len(), 2 + 2, "what was there is still lazy");
    // And now nothing is.
    let run = desk.ok(&format!("--stats push {app} {}/prod:2", other.host())).await;
    assert_eq!(said(&run), counts(&[("manifest_head", 1), ("manifest_put", 1)]));
    // What was learned is good for an image that shares layers: they are mounted, and fetched from nobody.
    let larger = crate::support::image(5, "app");
    registry.seed("larger", "1", &larger).await;
    desk.ok(&format!("pull {}/larger:1", registry.host())).await;
    registry.reset();
    let words = format!("--stats push {}/larger:1 {}/larger:1", registry.host(), other.host());
    let run = desk.ok(&words).await;
    assert_eq!(registry.requests(Kind::BlobGet), 1, "the layer that is new");
    assert_eq!(run.stats()["blobs"], json!({"present": 0, "mounted": 4, "uploaded": 2, "fetched": 1}));
}

/// A blob that is fetched to be pushed is seen to come before it is seen to go.
#[tokio::test]
async fn what_comes_in_to_go_out_is_shown() {
    let (desk, registry, image) = with_app(1).await;
    let other = TestRegistry::start().await;
    let app = format!("{}/app:1", registry.host());
    desk.ok(&format!("pull {app}")).await;
    let run = desk.ok(&format!("--progress json push {app} {}/app:1", other.host())).await;
    let layer = image.blobs[1].0.digest().to_string();
    let events = run.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut states: Vec<String> = events
        .filter(|event| event["digest"] == json!(layer))
        .map(|event| event["state"].as_str().unwrap().to_owned())
        .collect();
    states.dedup();
    assert_eq!(states.last().map(String::as_str), Some("done"), "{}", run.stderr);
    // Its upload is at nought until it is here; the two tell their own parts.
    let mut way = states.iter();
    for part in ["downloading", "verifying", "uploading", "done"] {
        assert!(way.any(|state| state == part), "{part} in {states:?}");
    }
    assert_eq!(run.digest(), image.manifest.digest().to_string());
}

#[tokio::test]
async fn what_is_not_in_the_cache_is_pulled_lazily_first() {
    let (desk, registry, image) = with_app(2).await;
    let app = format!("{}/app", registry.host());
    let first = [("manifest_get", 1), ("blob_get", 1), ("manifest_head", 1), ("manifest_put", 1)];
    costs(&desk, &registry, &format!("push {app}:1 {app}:2"), &first).await;
    assert_eq!(stored(&desk), lazily(&image));
    // What the tag stands for elsewhere is looked at only when told so.
    let newer = crate::support::image(2, "newer");
    registry.seed("app", "1", &newer).await;
    let old = [("manifest_head", 1), ("manifest_put", 1)];
    let run = costs(&desk, &registry, &format!("push {app}:1 {app}:3"), &old).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    let run = costs(&desk, &registry, &format!("push --refresh {app}:1 {app}:3"), &first).await;
    assert_eq!(run.digest(), newer.manifest.digest().to_string());
    desk.run(&format!("push {app}:none {app}:3")).await.exits(4).says(&["app:none"]);
    desk.run(&format!("copy store:{app}:none {app}:3")).await.exits(4).says(&["app:none", "the store"]);
}

#[tokio::test]
async fn a_mount_that_is_refused_costs_the_bytes() {
    for refusal in [
        Toxic::new(Effect::RefuseMount),
        Toxic::status(401),
        Toxic::status(403),
        Toxic::new(Effect::Status(StatusCode::METHOD_NOT_ALLOWED)),
    ] {
        let (desk, registry, image) = with_app(3).await;
        let (app, prod) = (format!("{}/app:1", registry.host()), format!("{}/prod:1", registry.host()));
        desk.ok(&format!("pull {app}")).await;
        registry.add(refusal.clone().on(Kind::Mount));
        registry.reset();
        let run = desk.ok(&format!("--stats push {app} {prod}")).await;
        let seen = registry.lines();
        assert_eq!(run.digest(), image.manifest.digest().to_string());
        assert_eq!(registry.requests(Kind::Mount), 1, "{refusal:?} {seen:#?}");
        assert_eq!(registry.requests(Kind::BlobGet), 3, "{refusal:?} {seen:#?}");
        assert_eq!(run.stats()["blobs"], json!({"present": 0, "mounted": 0, "uploaded": 4, "fetched": 3}));
    }
}

#[tokio::test]
async fn a_registry_that_has_lost_a_blob_gets_it_again() {
    let (desk, registry, image) = with_app(3).await;
    let app = format!("{}/app", registry.host());
    desk.ok(&format!("pull --unlazy {app}:1")).await;
    // Somebody has collected what we believe to be there.
    for (blob, _) in &image.blobs {
        let address = format!("/v2/app/blobs/{}", blob.digest());
        let request = Request::delete(address).body(Body::default()).unwrap();
        assert_eq!(registry.registry().handle(request).await.status(), StatusCode::ACCEPTED);
    }
    registry.reset();
    let run = desk.ok(&format!("--stats push {app}:1 {app}:2")).await;
    assert!(run.stderr.contains("every blob looked for"), "{}", run.stderr);
    assert_eq!(run.stats()["blobs"]["uploaded"], 4, "{:#?}", registry.lines());
    assert_eq!(registry.requests(Kind::BlobHead), 4);
    // A blob that nobody has any more is named.
    let lost = image.blobs[2].0.digest().to_string();
    forget(&desk, &lost);
    let fresh = TestRegistry::start().await;
    registry.add(Toxic::status(404).on(Kind::BlobGet));
    desk.run(&format!("push {app}:1 {}/app:1", fresh.host())).await.exits(4).says(&[&lost]);
    assert_eq!(fresh.requests(Kind::ManifestPut), 0);
}

#[tokio::test]
async fn a_blob_that_is_gone_from_the_cache_comes_from_where_it_was_pushed_to() {
    let (desk, registry, image) = with_app(2).await;
    let (mirror, third) = (TestRegistry::start().await, TestRegistry::start().await);
    let app = format!("{}/app:1", registry.host());
    desk.ok(&format!("push {app} {}/app:1", mirror.host())).await;
    for (blob, _) in &image.blobs[1..] {
        forget(&desk, blob.digest().as_ref());
    }
    registry.close().await;
    mirror.reset();
    desk.ok(&format!("--tries 1 push {app} {}/app:1", third.host())).await;
    assert_eq!(mirror.requests(Kind::BlobGet), 2, "{:#?}", mirror.lines());
}
