//! SIGINT, SIGTERM and `--timeout` in the middle of a copy.

use std::time::Duration;

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::support::{Desk, Ran, get, signal, sized_image};

/// A copy would take minutes; an end takes much less than this.
const SOON: Duration = Duration::from_secs(8);

/// A registry whose layers come in drops.
async fn slow_registry() -> TestRegistry {
    let registry = TestRegistry::start().await;
    registry.seed("app", "1", &sized_image(2, 600_000, "slow")).await;
    let slow = Effect::Slow { piece: 512, pause: Duration::from_millis(100) };
    registry.add(Toxic::new(slow).on(Kind::BlobGet));
    registry
}

/// Waits until bytes of a layer have come.
async fn in_the_middle(child: &mut Child) {
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let moving = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it has not ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            let position = event["position"].as_u64().unwrap_or_default();
            if position > 0 && event["size"].as_u64().unwrap() > 100_000 {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, moving).await.expect("bytes come");
}

#[tokio::test]
async fn an_interrupted_copy_ends_soon_and_leaves_no_name() {
    let (desk, from, to) = (Desk::new(), slow_registry().await, TestRegistry::start().await);
    let (host, other) = (from.host(), to.host());
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        for target in [
            format!("{other}/app:1"),
            format!("{}:1", desk.at("oci", "layout")),
            format!("{}:1", desk.at("oci-archive", "archive.tar")),
            format!("{}:a:1", desk.at("docker-archive", "docker.tar")),
        ] {
            let words = format!("--progress json copy {host}/app:1 {target}");
            let mut child = desk.command(&words).spawn().unwrap();
            in_the_middle(&mut child).await;
            signal(&child, name);
            let ended = tokio::time::timeout(SOON, child.wait_with_output()).await;
            let run = Ran::of(&words, ended.expect("it ends soon").unwrap()).exits(code);
            assert_eq!(run.stdout, "", "{words}");
        }
    }
    assert!(get(other, "/v2/app/manifests/1").await.starts_with("HTTP/1.1 404"));
    assert_eq!(to.requests(Kind::ManifestPut), 0);
    for file in ["archive.tar", "docker.tar"] {
        assert!(!desk.path(file).exists());
    }
    // What was begun is tidied away: only a layout without names may be left.
    let left = std::fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name != "layout").count(), 0);
    let run = desk.run(&format!("inspect {}:1", desk.at("oci", "layout"))).await;
    assert!(matches!(run.code, Some(1 | 4)), "{run:?}");

    // And the same targets take the image when nobody interrupts.
    from.behave();
    let digest = desk.ok(&format!("copy {host}/app:1 {other}/app:1")).await.digest();
    let again = desk.ok(&format!("copy {host}/app:1 {}:1", desk.at("oci", "layout"))).await.digest();
    assert_eq!(digest, again);
}

#[tokio::test]
async fn a_timeout_ends_a_copy_as_well() {
    let (desk, from) = (Desk::new(), slow_registry().await);
    let target = desk.at("oci-archive", "archive.tar");
    let words = format!("--stats --timeout 500ms copy {}/app:1 {target}:1", from.host());
    let run = tokio::time::timeout(SOON, desk.run(&words)).await.expect("it ends soon").exits(1);
    assert!(run.stats()["requests"]["blob_get"].as_u64().unwrap() > 0);
    run.says(&["0.5 s", "--timeout"]);
    assert!(!desk.path("archive.tar").exists());
}

#[tokio::test]
async fn a_registry_that_never_answers_does_not_hold_the_end_up() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.add(Toxic::new(Effect::Hang));
    let words = format!("--timeout 300ms inspect {}/app:1", registry.host());
    let run = tokio::time::timeout(SOON, desk.run(&words)).await.expect("it ends soon").exits(1);
    run.says(&["--timeout"]);
}

#[tokio::test]
async fn what_a_killed_copy_left_behind_is_no_hindrance() {
    let (desk, from) = (Desk::new(), slow_registry().await);
    let targets =
        [format!("{}:1", desk.at("oci", "layout")), format!("{}:1", desk.at("oci-archive", "archive.tar"))];
    for target in &targets {
        let words = format!("--progress json copy {}/app:1 {target}", from.host());
        let mut child = desk.command(&words).spawn().unwrap();
        in_the_middle(&mut child).await;
        signal(&child, "KILL");
        assert_eq!(child.wait().await.unwrap().code(), None);
        assert!(matches!(desk.run(&format!("inspect {target}")).await.code, Some(1 | 4)), "{target}");
    }
    from.behave();
    let mut digests = Vec::new();
    for target in &targets {
        digests.push(desk.ok(&format!("copy {}/app:1 {target}", from.host())).await.digest());
        // Every byte is there: it is pushed from here.
        let to = TestRegistry::start().await;
        digests.push(desk.ok(&format!("copy {target} {}/app:1", to.host())).await.digest());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}
