//! Copies that were killed and gone on with, and processes that write one layout together.

use std::time::Duration;

use futures::future::join_all;
use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};

use crate::support::{Desk, Ran, image, signal, sized_image, skopeo};

/// Bytes of a layer: more than lie between two save points.
const LAYER: usize = 40 << 20;

/// Row 47: a copy killed in the middle is gone on with by the next process: it asks only for what is not durable yet, and
/// what arrives is the image.
#[tokio::test]
async fn a_killed_copy_is_gone_on_with() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let layer = sized_image(1, LAYER, "killed");
    registry.seed("app", "1", &layer).await;
    registry.add(slowly());
    let (source, target) = (format!("{}/app:1", registry.host()), desk.at("oci", "layout"));
    let words = format!("copy {source} {target}:1");
    let mut child = desk.command(&words).spawn().unwrap();
    let saved = saved(&desk).await;
    signal(&child, "KILL");
    assert!(!child.wait().await.unwrap().success());

    registry.behave();
    registry.reset();
    let run = desk.ok(&words).await;
    assert_eq!(run.digest(), layer.manifest.digest().to_string());
    let asked = registry.log().into_iter().find(|entry| entry.target.contains(&digest_of(&layer))).unwrap();
    let range = asked.range.expect("it asks for the rest only");
    let begin: u64 = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap();
    assert!(begin >= saved && begin < LAYER as u64, "{range}, saved were {saved}");
    assert!(!desk.path("layout/.ingest").exists());
}

/// A layer takes several seconds, so that it is killed after a save point and before the end.
fn slowly() -> Toxic {
    let slow = Effect::Slow { piece: 256 << 10, pause: Duration::from_millis(25) };
    Toxic::new(slow).on(Kind::BlobGet)
}

fn digest_of(image: &lazyblob::remote::testing::Image) -> String {
    image.layers().next().unwrap().digest().digest().to_owned()
}

/// Waits for a save point of the only unfinished blob, and returns its offset.
async fn saved(desk: &Desk) -> u64 {
    let look = || -> Option<u64> {
        let partial = std::fs::read_dir(desk.path("layout/.ingest")).ok()?.flatten().next()?;
        let state = std::fs::read_to_string(partial.path().join("state")).ok()?;
        let state: serde_json::Value = serde_json::from_str(state.lines().next()?).ok()?;
        state["offset"].as_u64()
    };
    let waiting = async {
        loop {
            match look() {
                Some(offset) if offset > 0 => return offset,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("a save point")
}

/// Rows 67, 68a: processes that bring images with layers in common into one layout fetch each layer once, and all of
/// their names are there in the end.
#[tokio::test]
async fn processes_that_write_one_layout_share_what_they_fetch() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let shared = image(5, "shared");
    for nth in 0..6 {
        registry.seed("app", &format!("{nth}"), &shared).await;
    }
    // Slow enough for all to meet.
    registry.add(Toxic::new(Effect::Delay(Duration::from_millis(200))).on(Kind::BlobGet));
    let target = desk.at("oci", "layout");
    let words: Vec<_> =
        (0..6).map(|nth| format!("copy {}/app:{nth} {target}:tag-{nth}", registry.host())).collect();
    for run in join_all(words.iter().map(|words| desk.run(words))).await {
        assert_eq!(run.exits(0).digest(), shared.manifest.digest().to_string());
    }
    assert_eq!(registry.requests(Kind::BlobGet), 6, "five layers and a config, once each");
    for nth in 0..6 {
        desk.ok(&format!("inspect {target}:tag-{nth}")).await;
    }
    assert!(!desk.path("layout/.ingest").exists());
    if lazyblob::remote::testing::installed("reading the layout", &["skopeo"]) {
        skopeo(&desk, &format!("inspect {target}:tag-3")).await;
    }
}

/// Row 98: a copy that is interrupted says what stays, and where; it is listed with its size and age, while it is written
/// and afterwards, and is not touched meanwhile.
#[tokio::test]
async fn what_stays_of_an_interrupted_copy_is_said() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let layer = sized_image(1, LAYER, "interrupted");
    registry.seed("app", "1", &layer).await;
    registry.add(slowly());
    let layout = desk.at("oci", "layout");
    registry.seed("other", "1", &image(1, "other")).await;
    desk.ok(&format!("copy {}/other:1 {layout}:other", registry.host())).await;
    let words = format!("copy {}/app:1 {layout}:1", registry.host());
    let child = desk.command(&words).spawn().unwrap();
    saved(&desk).await;
    let inspect = format!("inspect {layout}:other");
    let shown = desk.ok(&inspect).await.stdout;
    assert!(shown.contains(" MiB, being written"), "{shown}");
    let partial = std::fs::read_dir(desk.path("layout/.ingest")).unwrap().flatten().next().unwrap();
    let lock = std::fs::read_to_string(partial.path().join("lock")).unwrap();
    assert!(lock.contains(r#""command":"lazyblob copy""#), "{lock}");
    signal(&child, "INT");
    let run = Ran::of(&words, child.wait_with_output().await.unwrap()).exits(130);
    run.says(&[
        "1 unfinished blob (",
        "stays in",
        "layout/.ingest for 24 hours",
        "copy that needs it goes on",
    ]);
    // A copy of something else has no part in it.
    let other = desk.run(&format!("copy {}/other:missing {layout}:2", registry.host())).await;
    assert!(!other.stderr.is_empty() && !other.stderr.contains("unfinished"), "{}", other.stderr);
    let shown = desk.ok(&inspect).await.stdout;
    assert!(shown.contains(&digest_of(&layer)) && shown.contains(" MiB, saved "), "{shown}");
    let listed = desk.ok(&format!("--json {inspect}")).await.json()["unfinished"][0].clone();
    assert_eq!(
        (&listed["size"], &listed["in_use"]),
        (&layer.layers().next().unwrap().size().into(), &false.into())
    );
    assert!(listed["offset"].as_u64().unwrap() > 0 && listed["age"].as_u64().unwrap() < 60, "{listed}");
}
