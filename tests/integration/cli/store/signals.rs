//! A pull that is ended in the middle, and what the next one makes of it.

use std::time::Duration;

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::support::lazily;
use crate::support::{Desk, Ran, signal, sized_image};

/// A pull would take minutes; an end takes much less than this.
const SOON: Duration = Duration::from_secs(10);
/// On a busy machine it takes less than this.
const PATIENCE: Duration = Duration::from_secs(180);
/// Bytes of a layer: more than lie between two save points.
const LAYER: usize = 24 << 20;

/// Waits until so many bytes of a layer have come.
async fn in_the_middle(child: &mut Child, bytes: u64) {
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let moving = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it has not ended");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["position"].as_u64().is_some_and(|position| position >= bytes) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, moving).await.expect("bytes come");
}

#[tokio::test]
async fn an_interrupted_pull_ends_soon_and_is_gone_on_with() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = sized_image(1, 4 << 20, "slow");
    registry.seed("app", "1", &image).await;
    let slow = Effect::Slow { piece: 16 << 10, pause: Duration::from_millis(20) };
    registry.add(Toxic::new(slow).on(Kind::BlobGet));
    let app = format!("{}/app:1", registry.host());
    for (how, name, code) in [("--unlazy", "INT", 130), ("--unpack", "TERM", 143)] {
        let words = format!("--progress json pull {how} {app}");
        let mut child = desk.command(&words).spawn().unwrap();
        in_the_middle(&mut child, 256 << 10).await;
        signal(&child, name);
        let ended = tokio::time::timeout(SOON, child.wait_with_output()).await;
        let run = Ran::of(&words, ended.expect("it ends soon").unwrap()).exits(code);
        assert_eq!(run.stdout, "", "{words}");
        assert_eq!(super::support::stored(&desk), lazily(&image), "{how}: nothing unverified is seen");
        let staging = std::fs::read_dir(desk.path("root/staging")).unwrap().count();
        assert_eq!(staging, 0, "{how}: what was begun is put away");
    }
    let partial = std::fs::read_dir(desk.path("root/ingest")).unwrap().count();
    assert_eq!(partial, 1, "what has come stays for the next");
    registry.behave();
    registry.reset();
    desk.ok(&format!("pull --unpack {app}")).await;
    let asked = registry.log().into_iter().find(|entry| entry.kind == Kind::BlobGet).unwrap();
    let range = asked.range.expect("it asks for the rest only");
    assert!(!range.starts_with("bytes=0-"), "{range}");
    assert_eq!(registry.requests(Kind::BlobGet), 1);
    assert_eq!(std::fs::read_dir(desk.path("root/ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_waiter_finishes_what_a_killed_process_began() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = sized_image(1, LAYER, "killed");
    registry.seed("app", "1", &image).await;
    let slow = Effect::Slow { piece: 256 << 10, pause: Duration::from_millis(20) };
    registry.add(Toxic::new(slow).on(Kind::BlobGet));
    let app = format!("{}/app:1", registry.host());
    let words = format!("--progress json pull --unlazy {app}");
    let mut maker = desk.command(&words).spawn().unwrap();
    in_the_middle(&mut maker, 20 << 20).await;
    let mut waiter = desk.command(&words).spawn().unwrap();
    let mut lines = BufReader::new(waiter.stderr.take().unwrap()).lines();
    let waits = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("waiting for process") {
                return line;
            }
        }
        panic!("it does not wait");
    };
    let said = tokio::time::timeout(SOON, waits).await.expect("it says that it waits");
    let pid = maker.id().unwrap().to_string();
    assert!(said.contains(&pid) && said.contains("lazyblob pull"), "{said}");
    registry.behave();
    registry.reset();
    signal(&maker, "KILL");
    assert!(!maker.wait().await.unwrap().success());
    // What it says is to be read, or it could not go on saying it.
    let read = async { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} };
    let ends = async { tokio::join!(read, waiter.wait()).1 };
    let ended = tokio::time::timeout(PATIENCE, ends).await;
    assert!(ended.expect("it takes over").unwrap().success());
    let asked: Vec<_> = registry.log().into_iter().filter(|entry| entry.kind == Kind::BlobGet).collect();
    assert_eq!(asked.len(), 1, "{asked:#?}");
    let range = asked[0].range.as_ref().expect("it asks for the rest only");
    let begin: u64 = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();
    assert!(begin > 0, "{range}");
}
