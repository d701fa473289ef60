//! `lazyblob verify`: what it finds, what it mends, and how it ends.

use lazyblob::remote::testing::TestRegistry;

use crate::support::{Desk, image};

#[tokio::test]
async fn a_flipped_byte_is_found_and_mended() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let extract = format!("extract {}/app:1", registry.host());
    desk.ok(&format!("{extract} one")).await;
    let clean = desk.ok("verify --json").await.json();
    assert_eq!((clean["clean"].as_bool(), clean["checked"]["blobs"].as_u64()), (Some(true), Some(4)));
    assert_eq!(clean["problems"].as_array().map(Vec::len), Some(0), "{clean}");

    let digest = image.layers().next().unwrap().digest().clone();
    let blob = desk.path("root/store/blobs/sha256").join(digest.digest());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let run = desk.run("verify").await.exits(6);
    assert!(run.stdout.contains(digest.as_ref()), "{}", run.stdout);
    let mended = desk.ok("verify --repair --json").await.json();
    assert_eq!(mended["problems"][0]["repair"], "done", "{mended}");
    assert!(!blob.exists());
    desk.ok("verify").await;
    desk.ok(&format!("{extract} two")).await;
    assert!(blob.exists(), "it came again");
}
