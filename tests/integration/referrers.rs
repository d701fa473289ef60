//! Signatures and the like, at a registry that lists them and at one that does not know them.

use bytes::Bytes;
use lazyblob::remote::testing::{Image, installed};
use serde_json::{Value, json};

use crate::support::{Desk, DockerRegistry, Served, Written, get, image};

/// Something that refers to `subject`.
fn signature(subject: &Image, text: &'static str) -> Image {
    let fields = json!({
        "subject": subject.manifest.descriptor(),
        "artifactType": "application/vnd.test.signature",
    });
    Image::with(&[Bytes::from_static(text.as_bytes())], "application/vnd.test.signature.v1", &fields)
}

/// The digests `inspect --referrers` lists, with commas between them.
async fn listed(desk: &Desk, image: &str) -> String {
    let document = desk.ok(&format!("--json inspect --referrers {image}")).await.json();
    let referrers = document["referrers"].as_array().unwrap();
    let digests: Vec<_> = referrers.iter().map(|entry| entry["digest"].as_str().unwrap()).collect();
    digests.join(",")
}

/// Pushes an image and two signatures, the second of which signs the first, and promotes them.
async fn promoted_with_signatures(desk: &Desk, host: &str) {
    let image = image(2, "app");
    let first = signature(&image, "signed by mary");
    let second = signature(&first, "signed by john");
    let layout = Written::at(desk, "image").image("1", &image);
    layout.image("first", &first).image("second", &second);
    let from = desk.at("oci", "image");
    desk.ok(&format!("copy {from}:1 {host}/app:1")).await;
    for (tag, artifact) in [("first", &first), ("second", &second)] {
        let digest = artifact.manifest.digest();
        let pushed = desk.ok(&format!("copy {from}:{tag} {host}/app@{digest}")).await;
        assert_eq!(pushed.digest(), digest.to_string());
    }
    let (first, second) = (first.manifest.digest().to_string(), second.manifest.digest().to_string());
    assert_eq!(listed(desk, &format!("{host}/app:1")).await, first.as_str());

    // They stay behind unless they are asked for.
    desk.ok(&format!("copy {host}/app:1 {host}/plain:1")).await;
    assert_eq!(listed(desk, &format!("{host}/plain:1")).await, "");
    let run = desk.ok(&format!("--json copy --referrers {host}/app:1 {host}/prod:1")).await.json();
    assert_eq!(run["referrers"], 2, "{run}");
    assert_eq!(listed(desk, &format!("{host}/prod:1")).await, first.as_str());
    assert_eq!(listed(desk, &format!("{host}/prod@{first}")).await, second.as_str());
    let raw = desk.ok(&format!("inspect --raw {host}/prod@{second}")).await.stdout;
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap()["subject"]["digest"], first);

    // Once more, it finds everything there.
    let run = desk.ok(&format!("--stats --json copy --referrers {host}/app:1 {host}/prod:1")).await;
    assert_eq!((&run.json()["referrers"], &run.json()["unchanged"]), (&json!(0), &json!(true)));
    let requests = &run.stats()["requests"];
    assert_eq!((&requests["manifest_put"], &requests["mount"]), (&json!(0), &json!(0)), "{requests}");
    assert_eq!(listed(desk, &format!("{host}/prod:1")).await, first.as_str());
    // And into a layout, which lists them as well.
    let store = desk.at("oci", "store");
    desk.ok(&format!("copy --referrers {host}/prod:1 {store}:1")).await;
    assert_eq!(listed(desk, &format!("{store}:1")).await, first);
}

#[tokio::test]
async fn signatures_go_along_where_the_registry_lists_referrers() {
    let desk = Desk::new();
    let served = Served::start(&desk, "").await;
    promoted_with_signatures(&desk, served.host()).await;
    assert_eq!(desk.ok(&format!("tags {}/prod", served.host())).await.stdout, "1\n");
}

#[tokio::test]
async fn signatures_go_along_by_the_fallback_tag() {
    if !installed("referrers by their fallback tag", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    promoted_with_signatures(&desk, registry.host()).await;
    let digest = image(2, "app").manifest.digest().to_string();
    let tag = digest.replace(':', "-");
    let index = get(registry.host(), &format!("/v2/prod/manifests/{tag}")).await;
    assert!(index.starts_with("HTTP/1.1 200") && index.contains("vnd.test.signature"), "{index}");
}
