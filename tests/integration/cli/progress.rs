//! What is shown while things move: on a terminal, in a log, to a program, and to who wants silence.

use std::time::Duration;

use lazyblob::remote::digest::short;
use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, Image, TestRegistry, Toxic, installed};
use serde_json::Value;

use crate::support::{Desk, Ran, sized_image};

/// A registry with an image whose blobs take a few tenths of a second each.
async fn unhurried() -> (TestRegistry, Image) {
    let registry = TestRegistry::start().await;
    let image = sized_image(2, 20_000, "app");
    registry.seed("app", "1", &image).await;
    let slow = Effect::Slow { piece: 4096, pause: Duration::from_millis(80) };
    registry.add(Toxic::new(slow).on(Kind::BlobGet));
    (registry, image)
}

fn has_control_codes(run: &Ran) -> bool {
    run.stderr.contains(|char: char| char.is_control() && char != '\n')
}

/// Rows 90, 97: in a pipe there is one line for each phase of each blob, and no control code.
#[tokio::test]
async fn a_log_has_a_line_for_each_phase() {
    let (desk, (registry, image)) = (Desk::new(), unhurried().await);
    let run = desk.ok(&format!("copy {}/app:1 {}:1", registry.host(), desk.at("oci", "layout"))).await;
    assert!(!has_control_codes(&run), "{:?}", run.stderr);
    for (blob, _) in &image.blobs {
        let name = format!(" {} ", short(blob.digest()));
        let lines: Vec<_> = run.stderr.lines().filter(|line| line.contains(&name)).collect();
        let of = |word: &str| lines.iter().filter(|line| line.contains(&format!("{name}{word}, "))).count();
        assert_eq!(of("downloading") + of("uploading"), 1, "{}", run.stderr);
        assert_eq!((of("done"), of("waiting")), (1, 0), "{}", run.stderr);
        assert!(lines.iter().all(|line| line.starts_with('[') && line.contains(" of ")), "{}", run.stderr);
    }
    let last = run.stderr.lines().last().unwrap();
    assert!(last.starts_with("3 blobs: 3 moved ("), "{last}");
}

/// Row 97: silence drops progress, but no retry and no error.
#[tokio::test]
async fn silence_is_not_deafness() {
    let (desk, (registry, _)) = (Desk::new(), unhurried().await);
    let host = registry.host();
    registry.add(Toxic::status(503).on(Kind::ManifestGet).times(1));
    let words = format!("--progress quiet copy {host}/app:1 {}:1", desk.at("oci", "layout"));
    let run = desk.ok(&words).await;
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.ends_with("; retrying in 1 second\n"), "{}", run.stderr);
    let words = format!("--progress quiet copy {host}/none:1 {}:1", desk.at("oci", "other"));
    desk.run(&words).await.exits(4).says(&["not found"]);
}

/// Rows 89a, 97: programs get objects, positions that rise, the first and the last of them.
#[tokio::test]
async fn programs_get_positions_that_rise() {
    let (desk, (registry, image)) = (Desk::new(), unhurried().await);
    let words = format!("--progress json copy {}/app:1 {}:1", registry.host(), desk.at("oci", "layout"));
    let run = desk.ok(&words).await;
    assert!(!has_control_codes(&run), "{:?}", run.stderr);
    let events: Vec<Value> = run.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (blob, _) in &image.blobs {
        let own: Vec<_> = events.iter().filter(|event| event["digest"] == blob.digest().as_ref()).collect();
        let positions: Vec<_> = own.iter().filter_map(|event| event["position"].as_u64()).collect();
        assert!(positions.is_sorted() && positions.last() == Some(&blob.size()), "{own:?}");
        let told =
            |event: &&&Value| event["state"] != "done" && event["position"].as_u64() == Some(blob.size());
        assert_eq!(own.iter().filter(told).count(), 1, "the last position is told in its own state: {own:?}");
        let ends = own.iter().filter(|event| event["state"] == "done").count();
        assert_eq!((ends, &own.last().unwrap()["state"]), (1, &Value::from("done")), "{own:?}");
    }
}

/// Rows 89b, 97: a terminal gets lines that change in place, and is left with what it came to.
#[tokio::test]
async fn a_terminal_is_drawn_in_place() {
    if !installed("progress on a terminal", &["script"]) {
        return;
    }
    let (desk, (registry, image)) = (Desk::new(), unhurried().await);
    let words = format!("copy {}/app:1 {}:1", registry.host(), desk.at("oci", "layout"));
    let command = format!("{} {words}", env!("CARGO_BIN_EXE_lazyblob"));
    let mut script = tokio::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    script.env_clear().env("PATH", path).env("HOME", desk.path("home")).env("TERM", "xterm");
    script.stdin(std::process::Stdio::null());
    let shown = Ran::of(&words, script.output().await.unwrap()).exits(0).stdout;

    let layer = image.blobs.iter().map(|(blob, _)| blob).max_by_key(|blob| blob.size()).unwrap();
    let row = format!("{} uploading", short(layer.digest()));
    let row = if shown.contains(&row) { row } else { row.replace("uploading", "downloading") };
    assert!(shown.contains(&row) && shown.contains(" of 3 blobs, "), "{shown:?}");
    assert!(shown.contains('\u{1b}') && shown.contains("━"), "{shown:?}");
    // What stays is in the lines after the last one that was erased.
    let left = shown.rsplit('\u{1b}').next().unwrap();
    assert!(left.contains("3 blobs: 3 moved (") && !left.contains('━'), "{left:?}");
}
