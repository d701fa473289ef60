//! `lazyblob du`.

use lazyblob::remote::Descriptor;
use serde_json::json;

use super::support::{costs, with_app};
use crate::support::image;

#[tokio::test]
async fn it_tells_what_is_here_from_what_is_lazy_and_what_is_needed() {
    let (desk, registry, app) = with_app(3).await;
    let host = registry.host();
    let empty = json!({
        "blobs": 0, "snapshots": 0, "mutable": 0, "unfinished": 0, "mounts": 0, "trash": 0, "reclaimable": 0, "lazy": 0,
    });
    assert_eq!(desk.ok("--json du").await.json(), json!({"total": empty, "records": []}));
    desk.ok(&format!("pull {host}/app:1")).await;
    let layers: u64 = app.layers().map(Descriptor::size).sum();
    let local = app.manifest.descriptor().size() + app.config().size();
    let said = costs(&desk, &registry, "--json du", &[]).await.json();
    let mut total = empty.clone();
    (total["blobs"], total["lazy"]) = (json!(local), json!(layers));
    assert_eq!(said["total"], total);
    assert_eq!(said["records"].as_array().unwrap().len(), 3);
    for record in said["records"].as_array().unwrap() {
        assert_eq!(
            (&record["named"], &record["in_use"], &record["size"]),
            (&json!(true), &json!(false), &json!(0))
        );
        assert_eq!(record["description"], format!("pulled from {host}/app:1"));
    }
    // An image that shares them adds its own.
    let larger = image(4, "app");
    registry.seed("larger", "1", &larger).await;
    desk.ok(&format!("pull --unlazy {host}/larger:1")).await;
    let said = desk.ok("--json du").await.json();
    assert_eq!((&said["total"]["lazy"], &said["total"]["reclaimable"]), (&json!(0), &json!(0)));
    let here =
        larger.manifest.descriptor().size() + larger.blobs.iter().map(|(blob, _)| blob.size()).sum::<u64>();
    assert_eq!(said["total"]["blobs"], json!(local + here));
    assert_eq!(said["records"].as_array().unwrap().len(), 4);
    // Without their names, all of it may go.
    desk.ok(&format!("rm {host}/app:1 {host}/larger:1")).await;
    let said = desk.ok("--json du").await.json();
    assert_eq!(said["total"]["reclaimable"], said["total"]["blobs"]);
    let lines = desk.ok("du").await.stdout;
    assert_eq!(lines.lines().count(), 8, "{lines}");
    assert!(lines.starts_with("blobs\t"), "{lines}");
    let lines = desk.ok("du --records").await.stdout;
    assert_eq!(lines.lines().filter(|line| line.split('\t').count() == 8).count(), 4, "{lines}");
}
