//! `lazyblob prune`: what has no name goes, what has one becomes lazy at most.

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::TestRegistry;

use crate::support::{Desk, image};

#[tokio::test]
async fn what_is_named_stays_or_becomes_lazy_and_what_is_not_goes() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(2, "app")).await;
    let name = format!("{}/app:1", registry.host());
    desk.ok(&format!("extract {name} one")).await;
    let pruned = desk.ok("prune --json").await.json();
    assert_eq!((pruned["blobs"].as_u64(), pruned["snapshots"].as_u64()), (Some(0), Some(0)), "{pruned}");

    let looked = desk.ok("prune --all --dry-run --json").await.json();
    assert_eq!(looked["dryRun"], true);
    registry.reset();
    desk.ok(&format!("extract {name} two")).await;
    assert_eq!(registry.requests(Kind::BlobGet), 0, "a look removes nothing");

    let pruned = desk.ok("prune --all --json").await.json();
    assert_eq!(pruned["blobs"], 2, "the layers: {pruned}");
    desk.ok("verify").await;
    desk.ok(&format!("extract {name} three")).await;
    assert_eq!(registry.requests(Kind::BlobGet), 2, "they were lazy, not broken");

    desk.ok(&format!("rm {name}")).await;
    desk.ok("prune --older-than 1h").await;
    assert!(desk.ok("verify --json").await.json()["checked"]["blobs"].as_u64() > Some(0));
    desk.ok("prune").await;
    let left = desk.ok("verify --json").await.json();
    assert_eq!((left["checked"]["blobs"].as_u64(), left["checked"]["records"].as_u64()), (Some(0), Some(0)));
    desk.run("prune --filter nonsense").await.exits(2);
    desk.run("prune --keep-bytes many").await.exits(2);
}
