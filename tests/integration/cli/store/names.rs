//! Names in the cache: given, taken away, copied in and out.

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::TestRegistry;
use serde_json::json;

use super::support::{costs, forget, lazily, seed_index, stored, with_app};
use crate::support::{Desk, Written, image};

#[tokio::test]
async fn a_retag_in_the_cache_asks_nobody() {
    let (desk, registry, image) = with_app(2).await;
    let app = format!("{}/app", registry.host());
    desk.ok(&format!("pull {app}:1")).await;
    let words = format!("retag store:{app}:1 :2 store:team.test/prod:1");
    let run = costs(&desk, &registry, &words, &[]).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    assert_eq!(stored(&desk), lazily(&image));
    let listed = desk.ok("ls").await.stdout;
    let names: Vec<_> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, [format!("{app}:1"), format!("{app}:2"), "team.test/prod:1".to_owned()]);
    // What a name elsewhere stands for is still known to be lazy, and where it is.
    let words = format!("push store:team.test/prod:1 {app}:3");
    costs(&desk, &registry, &words, &[("manifest_head", 1), ("manifest_put", 1)]).await;

    desk.run(&format!("retag store:{app}:none :2")).await.exits(4).says(&["store:", "app:none"]);
    for words in [
        format!("retag store:{app}:1 {app}:4"),
        format!("retag {app}:1 store:{app}:4"),
        format!("retag store:{app}:1 store:{app}@{}", image.manifest.digest()),
        "retag oci:x:1 :2".to_owned(),
        format!("copy {app}:1 store:{app}@{}", image.manifest.digest()),
        "inspect store:".to_owned(),
        "inspect store:a.test/X".to_owned(),
        "tags store:a.test/x".to_owned(),
    ] {
        desk.run(&words).await.exits(2);
    }
}

#[tokio::test]
async fn a_copy_within_the_cache_is_as_lazy_as_before() {
    let (desk, registry, _) = with_app(1).await;
    let (one, other) = (image(2, "amd64"), image(3, "s390x"));
    let index = seed_index(&registry, "multi", &[("amd64", &one), ("s390x", &other)]).await;
    let multi = format!("{}/multi:1", registry.host());
    desk.ok(&format!("pull --platform linux/amd64 {multi}")).await;
    let before = stored(&desk);
    let run = costs(&desk, &registry, &format!("copy store:{multi} store:x.test/y:1"), &[]).await;
    assert_eq!(run.digest(), index.digest().to_string());
    let words = format!("copy --platform linux/amd64 store:{multi} store:x.test/y:amd64");
    let run = costs(&desk, &registry, &words, &[]).await;
    assert_eq!(run.digest(), one.manifest.digest().to_string());
    assert_eq!(stored(&desk), before);
}

#[tokio::test]
async fn what_is_copied_in_is_there_and_known_to_be_elsewhere() {
    let (desk, registry, image) = with_app(3).await;
    let app = format!("{}/app", registry.host());
    let expected = [("manifest_get", 1), ("blob_get", 3 + 1)];
    let run = costs(&desk, &registry, &format!("copy {app}:1 store:x.test/app:1"), &expected).await;
    assert_eq!(run.digest(), image.manifest.digest().to_string());
    assert_eq!(run.stats()["blobs"]["fetched"], 4);
    assert_eq!(stored(&desk).len(), 3 + 2);
    // What is pruned of it comes from where it came from.
    let lost = image.blobs[2].0.digest().to_string();
    forget(&desk, &lost);
    let layout = desk.at("oci", "out");
    costs(&desk, &registry, &format!("copy store:x.test/app:1 {layout}:1"), &[("blob_get", 1)]).await;
    let raw = desk.ok(&format!("inspect --raw {layout}:1")).await.stdout;
    assert_eq!(raw.as_bytes(), image.manifest.bytes());
    // And goes back there for nothing.
    let expected = [("manifest_head", 1), ("manifest_put", 1)];
    costs(&desk, &registry, &format!("push x.test/app:1 {app}:2"), &expected).await;
}

#[tokio::test]
async fn a_layout_goes_in_and_out_to_the_byte() {
    let desk = Desk::new();
    let (one, two) = (image(2, "app"), image(1, "other"));
    drop(Written::at(&desk, "in").image("1", &one).image("2", &two));
    let local = desk.at("oci", "in");
    desk.ok(&format!("--offline copy {local}:1 store:x.test/app:1")).await;
    let about = desk.ok("--offline --json inspect store:x.test/app:1").await.json();
    assert_eq!(about["store"]["images"][0]["layers"][0]["lazy"], json!(false));
    assert!(about["store"]["images"][0]["created"].is_u64(), "it has records: {about:#}");
    for kind in ["oci-archive", "docker-archive"] {
        let archive = desk.at(kind, kind);
        let run = desk.ok(&format!("--offline copy store:x.test/app:1 {archive}:x.test/app:1")).await;
        assert_eq!(run.digest(), one.manifest.digest().to_string());
    }
    // A blob that is nowhere is named, and the name stays out of the cache.
    let layer = two.blobs[1].0.digest();
    std::fs::remove_file(desk.path("in/blobs/sha256").join(layer.digest())).unwrap();
    desk.run(&format!("--offline copy {local}:2 store:x.test/app:2")).await.exits(4).says(&[layer.as_ref()]);
    desk.run("inspect store:x.test/app:2").await.exits(4).says(&["x.test/app:2"]);
}

#[tokio::test]
async fn rm_takes_names_and_leaves_the_rest() {
    let (desk, registry, image) = with_app(2).await;
    let app = format!("{}/app", registry.host());
    desk.ok(&format!("pull {app}:1")).await;
    desk.ok(&format!("retag store:{app}:1 :2 :3")).await;
    let run = desk.ok(&format!("--json rm {app}:1 store:{app}:2")).await;
    assert_eq!(run.json()["removed"][1]["digest"], json!(image.manifest.digest()));
    assert!(run.stderr.contains("lazyblob prune"), "{}", run.stderr);
    assert_eq!(desk.ok("ls").await.stdout.lines().count(), 1);
    assert_eq!(stored(&desk), lazily(&image), "bytes go with a prune");
    let run = desk.run(&format!("rm {app}:none {app}:3")).await.exits(7);
    assert!(run.stderr.contains("app:none") && run.stderr.contains("1 of 2 done"), "{}", run.stderr);
    desk.run(&format!("rm {app}:3")).await.exits(4).says(&["app:3"]);
    // The name is gone, and what is known of the blobs is not: nothing but the manifest is asked for.
    costs(&desk, &registry, &format!("pull {app}:1"), &[("manifest_get", 1)]).await;
}

#[tokio::test]
async fn inspect_says_what_is_here_and_where_the_rest_is() {
    let (desk, registry, image) = with_app(2).await;
    let app = format!("{}/app", registry.host());
    desk.ok(&format!("pull {app}:1")).await;
    let run = costs(&desk, &registry, &format!("--json inspect store:{app}:1"), &[]).await;
    let said = run.json();
    assert_eq!(said["digest"], json!(image.manifest.digest()));
    let layers = said["store"]["images"][0]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        assert_eq!((&layer["lazy"], &layer["unpacked"]), (&json!(true), &json!(false)));
        assert_eq!(layer["sources"], json!([app]));
        assert!(layer["diff_id"].is_string());
    }
    assert_eq!(said["store"]["images"][0]["config"]["lazy"], json!(false));
    let lazy: u64 = image.layers().map(lazyblob::remote::Descriptor::size).sum();
    assert_eq!(said["store"]["lazy"], json!(lazy));
    desk.ok(&format!("pull --unlazy {app}:1")).await;
    let text = desk.ok(&format!("inspect store:{app}:1")).await.stdout;
    assert_eq!(text.matches(" local").count(), 3, "{text}");
    let raw = desk.ok(&format!("--offline inspect --raw store:{app}:1")).await.stdout;
    assert_eq!(raw.as_bytes(), image.manifest.bytes());
}

#[tokio::test]
async fn signatures_come_along_from_the_cache_if_they_are_there() {
    let (desk, registry, image) = with_app(1).await;
    let other = TestRegistry::start().await;
    let fields =
        json!({"artifactType": "application/vnd.example.signature", "subject": image.manifest.descriptor()});
    let signature = lazyblob::remote::testing::Image::with(&["sig".into()], "text/plain", &fields);
    registry.seed("app", signature.manifest.digest().as_ref(), &signature).await;
    let app = format!("{}/app:1", registry.host());
    desk.ok(&format!("copy --referrers {app} store:x.test/app:1")).await;
    let words = format!("--json copy --referrers store:x.test/app:1 {}/app:1", other.host());
    let run = desk.ok(&words).await;
    assert_eq!(run.json()["referrers"], 1);
    assert_eq!(other.requests(Kind::ManifestPut), 2, "{:#?}", other.lines());
}
