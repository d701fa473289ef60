//! Builds at the same time, over one cache.

use std::time::Duration;

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};
use lazyblob::worker::llb;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use super::support::{all_released, can_run, define, layers, shell, shell_image, vertices, with_image};
use crate::support::{Desk, Ran, signal};

/// Nothing of this takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often each layer was asked for, and from where on.
fn asked(registry: &TestRegistry, layer: &str) -> Vec<Option<String>> {
    let log = registry.log();
    let of_layer = log.iter().filter(|entry| entry.kind == Kind::BlobGet && entry.target.contains(layer));
    of_layer.map(|entry| entry.range.clone()).collect()
}

/// Starts a build of `state`.
fn start(desk: &Desk, name: &str, state: &llb::State) -> (String, Child) {
    let words = format!("build --stats --progress json {}", define(desk, name, state));
    let child = desk.command(&words).spawn().unwrap();
    (words, child)
}

/// Waits for it to end.
async fn ended((words, child): (String, Child)) -> Ran {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends");
    Ran::of(&words, output.unwrap())
}

/// Waits until bytes of a layer have come, and returns what it said until then.
async fn in_the_middle(child: &mut Child) -> String {
    let mut said = String::new();
    let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
    let moving = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it has not ended");
            said += &line;
            said.push('\n');
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["type"] == "progress"
                && event["current"].as_u64().is_some_and(|current| current > 0)
                && event["total"].as_u64().is_some_and(|total| total > 100_000)
            {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, moving).await.expect("bytes come");
    said
}

fn slowly(registry: &TestRegistry) {
    let slow = Effect::Slow { piece: 16 << 10, pause: Duration::from_millis(20) };
    registry.add(Toxic::new(slow).on(Kind::BlobGet));
}

/// BuildKit row 108: what is pulled is shared.
/// Two builds at once, of one base: it is pulled once.
#[tokio::test]
async fn two_builds_share_one_pull() {
    if !can_run() {
        return;
    }
    let image = shell_image(2);
    let (desk, registry, name) = with_image(&image).await;
    slowly(&registry);
    let states = ["one", "two"].map(|at| llb::image(&name).run(shell(&format!("echo {at} > /made"))).root());
    let first = start(&desk, "one", &states[0]);
    let second = start(&desk, "two", &states[1]);
    let (first, second) = futures::join!(ended(first), ended(second));
    for ran in [first.exits(0), second.exits(0)] {
        let command = vertices(&ran).into_iter().find(|(name, _)| name.contains("/bin/sh")).unwrap();
        assert_eq!(command.1, "completed", "{}", ran.stderr);
    }
    for layer in layers(&image) {
        assert_eq!(asked(&registry, &layer), [None], "{:#?}", registry.lines());
    }
}

/// Two builds at once, of one base, and who pulls it is interrupted: the other goes on from there, unharmed.
#[tokio::test]
async fn who_is_interrupted_harms_nobody_else() {
    if !can_run() {
        return;
    }
    let image = shell_image(2);
    let (desk, registry, name) = with_image(&image).await;
    slowly(&registry);
    let states = ["one", "two"].map(|at| llb::image(&name).run(shell(&format!("echo {at} > /made"))).root());
    let mut first = start(&desk, "one", &states[0]);
    in_the_middle(&mut first.1).await;
    let second = start(&desk, "two", &states[1]);
    signal(&first.1, "INT");
    // What it says now, it says to nobody.
    let mut rest = first.1.stderr.take().unwrap();
    let (_, first, second) = futures::join!(
        async move { rest.read_to_end(&mut Vec::new()).await.unwrap() },
        ended(first),
        ended(second)
    );
    first.exits(130);
    let second = second.exits(0);
    let command = vertices(&second).into_iter().find(|(name, _)| name.contains("/bin/sh")).unwrap();
    assert_eq!(command.1, "completed", "{}", second.stderr);
    for layer in layers(&image) {
        let asked = asked(&registry, &layer);
        assert!(asked.len() <= 2, "{:#?}", registry.lines());
        // What had come is not asked for again.
        assert!(asked.len() < 2 || asked[1].is_some(), "{:#?}", registry.log());
    }
    // Nothing of the interrupted one is left.
    all_released(&desk).await;
}
