//! `lazyblob verify`: what it finds, what it mends, and how it ends.

use lazyblob::remote::testing::TestRegistry;

use crate::support::{Desk, Written, image};

#[tokio::test]
async fn a_flipped_byte_is_found_and_mended() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(2, "app");
    registry.seed("app", "1", &image).await;
    let extract = format!("extract {}/app:1", registry.host());
    desk.ok(&format!("{extract} one")).await;
    let clean = desk.ok("verify --json").await.json();
    assert_eq!((clean["clean"].as_bool(), clean["checked"]["blobs"].as_u64()), (Some(true), Some(4)));
    assert_eq!(clean["problems"].as_array().map(Vec::len), Some(0), "{clean}");

    let digest = image.layers().next().unwrap().digest().clone();
    let blob = desk.path("root/store/blobs/sha256").join(digest.digest());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let run = desk.run("verify").await.exits(6);
    assert!(run.stdout.contains(digest.as_ref()), "{}", run.stdout);
    let mended = desk.ok("verify --repair --json").await.json();
    assert_eq!(mended["problems"][0]["repair"], "done", "{mended}");
    assert!(!blob.exists());
    desk.ok("verify").await;
    desk.ok(&format!("{extract} two")).await;
    assert!(blob.exists(), "it came again");
}

/// Damage is said wherever it is met, with what to do about it.
#[tokio::test]
async fn who_meets_damage_is_told_to_verify() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(1, "app");
    registry.seed("app", "1", &image).await;
    let name = format!("{}/app:1", registry.host());
    desk.ok(&format!("pull --unlazy {name}")).await;
    let at = |digest: &str| desk.path("root/store/blobs/sha256").join(digest);
    let change = |digest: &str| {
        let mut bytes = std::fs::read(at(digest)).unwrap();
        bytes[20] ^= 1;
        std::fs::write(at(digest), bytes).unwrap();
    };
    let (config, manifest) = (image.config().digest().digest(), image.manifest.digest().digest());
    change(config);
    let listed = desk.ok("ls").await;
    assert_eq!(listed.stdout.lines().count(), 1, "{}", listed.stdout);
    for part in [&*name, config, "lazyblob verify --repair"] {
        assert!(listed.stderr.contains(part), "no `{part}` in: {}", listed.stderr);
    }
    desk.run(&format!("extract {name} tree")).await.exits(6).says(&[config, "lazyblob verify --repair"]);
    let copy = format!("copy store:{name} {}:1", desk.at("oci", "layout"));
    let run = desk.run(&copy).await.exits(6);
    assert!(run.stderr.contains(" from oci:/") && run.stderr.contains("verify --repair"), "{}", run.stderr);
    change(config);
    change(manifest);
    let listed = desk.ok("ls").await;
    assert!(listed.stderr.contains("lazyblob verify --repair"), "{}", listed.stderr);
    desk.run(&format!("extract {name} tree")).await.exits(6).says(&[manifest, "lazyblob verify --repair"]);
    change(manifest);
    assert_eq!(desk.ok("ls").await.stderr, "");
}

#[tokio::test]
async fn a_blob_that_was_cut_is_said_to_be_short() {
    let (desk, registry) = (Desk::new(), TestRegistry::start().await);
    let image = image(1, "app");
    registry.seed("app", "1", &image).await;
    desk.ok(&format!("pull --unlazy {}/app:1", registry.host())).await;
    let layer = image.layers().next().unwrap();
    let blob = desk.path("root/store/blobs/sha256").join(layer.digest().digest());
    std::fs::File::options().write(true).open(blob).unwrap().set_len(10).unwrap();
    let run = desk.run("verify").await.exits(6);
    let said = format!("it has 10 bytes, and a record says {}", layer.size());
    assert!(run.stdout.contains(&said) && run.stdout.contains(", 1 name, "), "{}", run.stdout);
    assert!(
        run.stderr.contains("1 thing in the cache is damaged: `lazyblob verify --repair`"),
        "{}",
        run.stderr
    );
}

#[tokio::test]
async fn what_is_nowhere_any_more_is_to_be_brought_again() {
    let desk = Desk::new();
    let image = image(1, "app");
    Written::at(&desk, "layout").image("1", &image);
    desk.ok(&format!("copy {}:1 store:h.test/app:1", desk.at("oci", "layout"))).await;
    let config = image.config().digest().digest();
    std::fs::write(desk.path("root/store/blobs/sha256").join(config), "cut").unwrap();
    let run = desk.run("--offline extract h.test/app:1 tree").await.exits(4);
    run.says(&[config, "`lazyblob verify` says what is missing"]);
    let run = desk.run("verify").await.exits(6);
    assert!(run.stdout.contains("(over the 3 bytes there are)"), "{}", run.stdout);
}
