//! `lazyblob ls`.

use std::time::{Duration, Instant};

use lazyblob::remote::Descriptor;
use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, Toxic};
use serde_json::json;

use super::support::{forget, seed_index, with_app};
use crate::support::image;

#[tokio::test]
async fn it_lists_names_with_what_of_them_is_lazy() {
    let (desk, registry, app) = with_app(2).await;
    assert_eq!(desk.ok("ls").await.stdout, "", "an empty cache has no lines");
    assert_eq!(desk.ok("--json ls").await.json(), json!([]));
    let (one, other) = (image(2, "amd64"), image(3, "s390x"));
    let index = seed_index(&registry, "multi", &[("amd64", &one), ("s390x", &other)]).await;
    let host = registry.host();
    desk.ok(&format!("pull {host}/app:1")).await;
    desk.ok(&format!("pull --unlazy --platform linux/amd64 {host}/multi:1")).await;
    registry.reset();
    let said = desk.ok("--json ls").await.json();
    assert_eq!(registry.lines(), [""; 0]);
    assert_eq!(said[0]["reference"], format!("{host}/app:1"));
    assert_eq!(said[0]["digest"], json!(app.manifest.digest()));
    assert_eq!(said[0]["platforms"], json!(["linux/amd64"]));
    let layers: u64 = app.layers().map(Descriptor::size).sum();
    assert_eq!(said[0]["lazy"], json!(layers));
    let blobs: u64 = app.blobs.iter().map(|(blob, _)| blob.size()).sum();
    assert_eq!(said[0]["size"], json!(blobs + app.manifest.descriptor().size()));
    assert!(said[0]["created"].is_u64() && said[0]["used"].is_u64());
    assert_eq!((&said[1]["kind"], &said[1]["digest"]), (&json!("index"), &json!(index.digest())));
    assert_eq!(said[1]["lazy"], json!(other.manifest.descriptor().size()), "the manifest not pulled");

    let text = desk.ok("ls").await.stdout;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "no head for programs: {text}");
    assert_eq!((lines[0].len(), lines[0][0], lines[0][2]), (7, &*format!("{host}/app:1"), "linux/amd64"));
    // An image whose manifest is gone is said to be so, and the others are listed.
    forget(&desk, app.manifest.digest().as_ref());
    let run = desk.ok("ls").await;
    assert_eq!(run.stdout.lines().next().unwrap().split('\t').nth(3), Some("?"), "{}", run.stdout);
    assert!(run.stderr.contains(app.manifest.digest().as_ref()), "{}", run.stderr);
}

#[tokio::test]
async fn it_does_not_wait_for_a_pull_under_way() {
    let (desk, registry, _) = with_app(2).await;
    let host = registry.host();
    desk.ok(&format!("pull {host}/app:1")).await;
    registry.add(Toxic::new(Effect::Hang).on(Kind::BlobGet));
    let mut pull = desk.command(&format!("pull --unlazy {host}/app:1")).spawn().unwrap();
    // Until it is at it.
    let began = Instant::now();
    while registry.requests(Kind::BlobGet) < 3 {
        assert!(began.elapsed() < Duration::from_secs(20), "{:#?}", registry.lines());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let listed = desk.ok("ls").await.stdout;
    assert_eq!(listed.lines().count(), 1);
    desk.ok(&format!("retag store:{host}/app:1 :2")).await;
    assert!(pull.try_wait().unwrap().is_none(), "it still waits");
    pull.kill().await.unwrap();
    assert_eq!(desk.ok("ls").await.stdout.lines().count(), 2);
}
