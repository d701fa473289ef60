//! What is not pulled.

use lazyblob::remote::testing::TestRegistry;
use lazyblob::worker::llb::{self, Copy, Files, Mkfile, merge};

use super::support::{
    all_cached, build, built, can_run, layers, plain_image, pulled, shell_image, vertices, with_image,
};
use crate::support::Desk;

fn blob_gets(registry: &TestRegistry, image: &lazyblob::remote::testing::Image) -> usize {
    let lines = registry.lines();
    let of_layer =
        |line: &&String| line.starts_with("GET") && layers(image).iter().any(|layer| line.contains(layer));
    lines.iter().filter(of_layer).count()
}

/// testLazyImagePush: an image is pushed under another name of its repository, and to another repository, and none of its
/// layers is ever pulled; what was never pulled can be used afterwards.
#[tokio::test]
async fn an_image_is_pushed_and_never_pulled() {
    let image = plain_image(3);
    let (desk, registry, name) = with_image(&image).await;
    let state = llb::image(&name);
    for target in ["app:new", "other/place:1"] {
        registry.reset();
        let ran =
            built(&desk, &state, &format!("-o type=image,name={}/{target},push=true", registry.host())).await;
        assert_eq!(ran.digest(), image.manifest.digest().to_string(), "byte for byte the same image");
        assert_eq!(blob_gets(&registry, &image), 0, "{:#?}", registry.lines());
        assert_eq!(pulled(&desk, &image), [] as [String; 0]);
        assert_eq!(ran.stats()["blobs"]["uploaded"], 0);
    }
    let there = format!("{}/other/place:1", registry.host());
    let used = llb::scratch().file(Files::new().then(Copy::new(&llb::image(there), "/srv/1", "/one")));
    let out = desk.path("out");
    built(&Desk::new(), &used, &format!("-o type=local,dest={}", out.display())).await;
    assert_eq!(std::fs::read_to_string(out.join("one")).unwrap(), "layer 1");
}

/// An image and one file on top, pushed to the same registry: the base's layers are mounted, and none is pulled.
#[tokio::test]
async fn one_file_on_top_costs_one_layer() {
    let image = plain_image(3);
    let (desk, registry, name) = with_image(&image).await;
    let file = llb::scratch().file(Files::new().then(Mkfile::new("/new", 0o644, "new")));
    let state = merge([&llb::image(&name), &file]);
    registry.reset();
    let ran =
        built(&desk, &state, &format!("-o type=image,name={}/other/app:2,push=true", registry.host())).await;
    assert_eq!(blob_gets(&registry, &image), 0, "{:#?}", registry.lines());
    assert_eq!(pulled(&desk, &image), [] as [String; 0]);
    // The layer that was made, and the config.
    assert_eq!(
        (ran.stats()["blobs"]["mounted"].as_u64(), ran.stats()["blobs"]["uploaded"].as_u64()),
        (Some(3), Some(2))
    );
}

/// The second build, in a process of its own: everything is cached, still lazy, and only the image's name is asked for.
#[tokio::test]
async fn a_second_build_asks_for_the_name_alone() {
    let image = plain_image(2);
    let (desk, registry, name) = with_image(&image).await;
    let file = llb::scratch().file(Files::new().then(Mkfile::new("/new", 0o644, "new")));
    let state = merge([&llb::image(&name), &file]);
    built(&desk, &state, "").await;
    registry.reset();
    let again = built(&desk, &state, "").await;
    all_cached(&again);
    assert_eq!(again.stats()["requests"]["total"], 1, "{:#?}", registry.lines());
    assert_eq!(again.stats()["requests"]["manifest_get"], 1);
    assert_eq!(pulled(&desk, &image), [] as [String; 0]);
}

/// A command on a lazy image: each layer is fetched once, and shown under the image.
#[tokio::test]
async fn a_command_fetches_each_layer_once() {
    if !can_run() {
        return;
    }
    let image = shell_image(3);
    let (desk, registry, name) = with_image(&image).await;
    let state = llb::image(&name).run(["/bin/sh", "-c", "cat /srv/2 > /made"]).root();
    registry.reset();
    let ran = built(&desk, &state, "").await;
    assert_eq!(blob_gets(&registry, &image), 4, "{:#?}", registry.lines());
    assert_eq!(vertices(&ran).values().filter(|state| *state == "completed").count(), 2);
    let events = super::support::events(&ran);
    let image_vertex = &events
        .iter()
        .find(|event| event["name"].as_str().is_some_and(|name| name.contains("docker-image")))
        .unwrap()["vertex"];
    let moved: Vec<_> =
        events.iter().filter(|event| event["type"] == "progress" && event["action"] == "done").collect();
    assert!(moved.len() >= 4 && moved.iter().all(|event| event["vertex"] == *image_vertex), "{moved:#?}");

    registry.reset();
    all_cached(&built(&desk, &state, "").await);
    assert_eq!(blob_gets(&registry, &image), 0);
    let failing = llb::image(&name).run(["/bin/sh", "-c", "echo oh no; exit 3"]).root();
    let failed = build(&desk, &failing, "").await.exits(1);
    assert!(failed.stderr.contains("oh no") && failed.stderr.contains('3'), "{}", failed.stderr);
}
