//! `lazyblob serve --store`.

use lazyblob::remote::request::Kind;

use super::support::{lazily, stored, with_app};
use crate::support::{Desk, Served, get, htpasswd};

#[tokio::test]
async fn what_is_here_is_served_and_what_is_lazy_is_not() {
    let (desk, registry, image) = with_app(2).await;
    let host = registry.host().to_owned();
    desk.ok(&format!("pull {host}/app:1")).await;
    let (served, client) = (Served::start(&desk, "--store").await, Desk::new());
    let full = format!("{}/{}/app", served.host(), host.replace(':', "_"));
    registry.reset();
    for name in [format!("{}/app:1", served.host()), format!("{full}:1")] {
        let raw = client.ok(&format!("inspect --raw {name}")).await.stdout;
        assert_eq!(raw.as_bytes(), image.manifest.bytes(), "{name}");
    }
    let layer = image.blobs[1].0.digest();
    let answer = get(served.host(), &format!("/v2/app/blobs/{layer}")).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("BLOB_UNKNOWN"), "{answer}");
    client.run(&format!("copy {full}:1 {}:1", client.at("oci", "out"))).await.exits(4);
    assert_eq!(registry.lines(), [""; 0], "upstream is not asked");

    // What comes into the cache while it serves is served.
    desk.ok(&format!("retag store:{host}/app:1 :2")).await;
    desk.ok(&format!("pull --unlazy {host}/app:1")).await;
    client.ok(&format!("copy {}/app:2 {}:2", served.host(), client.at("oci", "out"))).await;
    // It is not written to.
    let run = client.run(&format!("copy {}:2 {}/app:3", client.at("oci", "out"), served.host())).await;
    run.exits(3);
    assert!(!desk.ok("ls").await.stdout.contains("app:3"));
    served.end("TERM").await.exits(143);
}

#[tokio::test]
async fn lazy_upstream_fetches_once_what_is_asked_for() {
    let (desk, registry, image) = with_app(3).await;
    desk.ok(&format!("pull {}/app:1", registry.host())).await;
    let served = Served::start(&desk, "--store --lazy-upstream").await;
    registry.reset();
    let clients = [Desk::new(), Desk::new(), Desk::new()];
    let copies = clients.iter().map(|client| {
        let words = format!("copy {}/app:1 {}:1", served.host(), client.at("oci", "out"));
        async move { client.ok(&words).await.digest() }
    });
    for digest in futures::future::join_all(copies).await {
        assert_eq!(digest, image.manifest.digest().to_string());
    }
    assert_eq!(registry.requests(Kind::BlobGet), 3, "{:#?}", registry.lines());
    assert_eq!(registry.counter().total(), 3);
    assert_ne!(stored(&desk), lazily(&image));
    served.end("INT").await.exits(130);
}

#[tokio::test]
async fn it_wants_to_know_who_reads() {
    let (desk, registry, _) = with_app(1).await;
    desk.ok(&format!("pull {}/app:1", registry.host())).await;
    let file = desk.file("htpasswd", &htpasswd());
    let served = Served::start(&desk, &format!("--store --htpasswd {}", file.display())).await;
    assert!(get(served.host(), "/v2/app/manifests/1").await.starts_with("HTTP/1.1 401"));
    served.end("TERM").await.exits(143);
    desk.run("serve --store somewhere").await.exits(2);
    desk.run("serve --lazy-upstream").await.exits(2);
    desk.run("serve --store --addr 0.0.0.0:0").await.exits(2).says(&["--htpasswd"]);
}
