//! `lazyblob extract`: the whole tree or nothing, however it ends.

use std::time::Duration;

use lazyblob::remote::request::Kind;
use lazyblob::remote::testing::{Effect, TestRegistry, Toxic};
use tokio::process::Child;

use crate::support::{Desk, Ran, image, signal, sized_image};

const SOON: Duration = Duration::from_secs(10);

/// What is on the desk beside the cache.
fn beside(desk: &Desk) -> Vec<String> {
    let entries = std::fs::read_dir(desk.path("")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "root");
    names.sort();
    names
}

/// Waits until layers are on their way to a tree that is being made.
async fn in_the_middle(desk: &Desk, registry: &TestRegistry, child: &mut Child) {
    let begun = async {
        while beside(desk).is_empty() || registry.requests(Kind::BlobGet) < 2 {
            assert!(child.try_wait().unwrap().is_none(), "it has not ended");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, begun).await.expect("it begins");
}

#[tokio::test]
async fn an_image_is_extracted_and_its_blobs_come_once() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &image(3, "app")).await;
    let words = format!("--json extract {}/app:1 tree", registry.host());
    let run = desk.ok(&words).await;
    assert!(run.stderr.contains("unpacking 3 layers\n"), "{}", run.stderr);
    assert!(run.stderr.contains("tree: 4 files and directories"), "{}", run.stderr);
    let document = run.json();
    assert_eq!(document["entries"], 4, "a directory and three files: {document}");
    assert_eq!(std::fs::read_dir(desk.path("tree/srv")).unwrap().count(), 3);
    assert_eq!((registry.requests(Kind::ManifestGet), registry.requests(Kind::BlobGet)), (1, 4));
    // The name and the blobs are here now.
    registry.reset();
    let run = desk.ok(&format!("--stats extract {}/app:1 again", registry.host())).await;
    assert_eq!((run.stats()["requests"]["total"].as_u64(), registry.log().len()), (Some(0), 0));
    assert_eq!(beside(&desk), ["again", "tree"]);

    let run = desk.run(&format!("extract {}/app:1 tree", registry.host())).await.exits(1);
    run.says(&["tree", "something in it"]);
    desk.run(&format!("extract {}/nothing:1 other", registry.host())).await.exits(4);
    assert_eq!(beside(&desk), ["again", "tree"]);
}

#[tokio::test]
async fn an_end_in_the_middle_leaves_nothing() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    registry.seed("app", "1", &sized_image(2, 600_000, "slow")).await;
    let words = format!("extract {}/app:1 tree", registry.host());
    for (name, code) in [("INT", Some(130)), ("TERM", Some(143)), ("KILL", None)] {
        let slow = Effect::Slow { piece: 512, pause: Duration::from_millis(100) };
        registry.add(Toxic::new(slow).on(Kind::BlobGet));
        registry.reset();
        let mut child = desk.command(&words).spawn().unwrap();
        in_the_middle(&desk, &registry, &mut child).await;
        signal(&child, name);
        let ended =
            tokio::time::timeout(SOON, child.wait_with_output()).await.expect("it ends soon").unwrap();
        let run = Ran::of(&words, ended);
        assert_eq!(run.code, code, "{run:?}");
        assert!(!desk.path("tree").exists());
        if code.is_some() {
            assert!(beside(&desk).is_empty(), "{name}: {:?}", beside(&desk));
            let (_, after) = run.stderr.split_once(" blobs: ").expect("it says what it came to");
            assert!(!after.contains("] sha256:"), "nothing of blobs after the sum: {}", run.stderr);
        }
    }
    registry.behave();
    desk.ok(&words).await;
    assert_eq!(beside(&desk), ["tree"], "what the killed one left is gone, too");
    assert_eq!(std::fs::read_dir(desk.path("tree/srv")).unwrap().count(), 2);
}
