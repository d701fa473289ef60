//! What is not pulled.

use lazyblob::remote::testing::TestRegistry;
use lazyblob::worker::llb::{self, Copy, Files, merge};

use super::hub::Hub;
use super::support::{
    all_cached, blob_gets, build, built, can_run, events, file, gets, layers, plain_image, pulled, ran_only,
    read, shell, shell_image, vertices,
};
use crate::support::Desk;

/// testLazyImagePush: an image is pushed under another name of its repository, and to another repository, and none of its
/// layers is ever pulled; what was never pulled can be used afterwards.
#[tokio::test]
async fn an_image_is_pushed_and_never_pulled() {
    let image = plain_image(3);
    for hub in Hub::all("an_image_is_pushed_and_never_pulled").await {
        let desk = Desk::new();
        let state = llb::image(hub.seed("app", "1", &image).await);
        for (target, uploads) in [("app:new", 0), ("other/place:1", 1)] {
            let words = format!("-o type=image,name={}/{target},push=true", hub.host());
            let ran = built(&desk, &state, &words).await;
            assert_eq!(ran.digest(), image.manifest.digest().to_string(), "byte for byte the same image");
            let asked = hub.asked().await;
            assert_eq!(gets(&asked, &layers(&image)), 0, "{asked:#?}");
            assert_eq!(pulled(&desk, &image), [] as [String; 0]);
            // The config, which is here anyway.
            assert_eq!(ran.stats()["blobs"]["uploaded"], uploads, "{:#}", ran.stats());
            assert_eq!(asked.iter().filter(|line| line.starts_with("PATCH")).count(), uploads, "{asked:#?}");
        }
        let there = format!("{}/other/place:1", hub.host());
        let used = llb::scratch().file(Files::new().then(Copy::new(&llb::image(there), "/srv/1", "/one")));
        let other = Desk::new();
        built(&other, &used, &format!("-o type=local,dest={}", desk.path("out").display())).await;
        assert_eq!(read(&desk, "out/one"), "layer 1");
        assert_eq!(gets(&hub.asked().await, &layers(&image)), 3);
        // And by who pushed it, too.
        built(&desk, &used, &format!("-o type=local,dest={}", desk.path("again").display())).await;
        assert_eq!(read(&desk, "again/one"), "layer 1");
    }
}

/// An image and one file on top, pushed to the same registry: the base's layers are mounted, and none is pulled.
#[tokio::test]
async fn one_file_on_top_costs_one_layer() {
    let image = plain_image(3);
    for hub in Hub::all("one_file_on_top_costs_one_layer").await {
        let desk = Desk::new();
        let base = llb::image(hub.seed("app", "1", &image).await);
        let state = merge([&base, &file("/new", "new")]);
        let words = format!("-o type=image,name={}/other/app:2,push=true", hub.host());
        let ran = built(&desk, &state, &words).await;
        let asked = hub.asked().await;
        assert_eq!(gets(&asked, &layers(&image)), 0, "{asked:#?}");
        assert_eq!(pulled(&desk, &image), [] as [String; 0]);
        // The layer that was made, and the config.
        let blobs = &ran.stats()["blobs"];
        assert_eq!((blobs["mounted"].as_u64(), blobs["uploaded"].as_u64()), (Some(3), Some(2)));
    }
}

/// The second build, in a process of its own: everything is cached, still lazy, and only the image's name is asked for.
#[tokio::test]
async fn a_second_build_asks_for_the_name_alone() {
    let image = plain_image(2);
    for hub in Hub::all("a_second_build_asks_for_the_name_alone").await {
        let desk = Desk::new();
        let state = merge([&llb::image(hub.seed("app", "1", &image).await), &file("/new", "new")]);
        built(&desk, &state, "").await;
        hub.asked().await;
        let again = built(&desk, &state, "").await;
        all_cached(&again);
        let asked = hub.asked().await;
        assert_eq!(asked.len(), 1, "{asked:#?}");
        assert!(asked[0].contains("/app/manifests/1"), "{asked:#?}");
        assert_eq!(again.stats()["requests"]["total"], 1);
        assert_eq!(pulled(&desk, &image), [] as [String; 0]);
    }
}

/// A command on a lazy image: each layer is fetched once, and shown under the image.
#[tokio::test]
async fn a_command_fetches_each_layer_once() {
    if !can_run() {
        return;
    }
    let image = shell_image(3);
    for hub in Hub::all("a_command_fetches_each_layer_once").await {
        let desk = Desk::new();
        let base = llb::image(hub.seed("app", "1", &image).await);
        let state = base.run(shell("cat /srv/2 > /made")).root();
        let ran = built(&desk, &state, "").await;
        let asked = hub.asked().await;
        assert_eq!(gets(&asked, &layers(&image)), 4, "{asked:#?}");
        assert_eq!(vertices(&ran).values().filter(|state| *state == "completed").count(), 2);
        let events = events(&ran);
        let is_image = |name: &str| name.contains("docker-image");
        let image_vertex =
            &events.iter().find(|event| event["name"].as_str().is_some_and(is_image)).unwrap()["vertex"];
        let moved: Vec<_> =
            events.iter().filter(|event| event["type"] == "progress" && event["action"] == "done").collect();
        assert!(moved.len() >= 4 && moved.iter().all(|event| event["vertex"] == *image_vertex), "{moved:#?}");

        all_cached(&built(&desk, &state, "").await);
        assert_eq!(blob_gets(&hub.asked().await), [""; 0]);
        let failing = base.run(shell("echo oh no; exit 3")).root();
        let failed = build(&desk, &failing, "").await.exits(1);
        assert!(failed.stderr.contains("oh no") && failed.stderr.contains('3'), "{}", failed.stderr);
    }
}

/// A cached result has the layers of an image two vertices away, which only that image can bring: where the first build found
/// them is gone, and the same image stands elsewhere now.
#[tokio::test]
async fn a_grandparents_handler_brings_what_is_missing() {
    if !can_run() {
        return;
    }
    let image = shell_image(2);
    let (desk, elsewhere) = (Desk::new(), Hub::counting().await);
    let built_of = |name: &str| {
        let one = merge([&llb::image(name), &file("/a", "first ")]);
        merge([&one, &file("/b", "second")])
    };
    {
        let first = TestRegistry::start().await;
        first.seed("app", "1", &image).await;
        built(&desk, &built_of(&format!("{}/app:1", first.host())), "").await;
        assert_eq!(pulled(&desk, &image), [] as [String; 0]);
        first.close().await;
    }
    let there = built_of(&elsewhere.seed("moved/app", "1", &image).await);
    let made = there.run(shell("cat /srv/1 /a /b > /made")).root();
    let out = llb::scratch().file(Files::new().then(Copy::new(&made, "/made", "/made")));
    let ran = built(&desk, &out, &format!("-o type=local,dest={}", desk.path("out").display())).await;
    ran_only(&ran, &["/bin/sh", "copy"]);
    assert_eq!(read(&desk, "out/made"), "layer 1first second");
    let asked = elsewhere.asked().await;
    assert_eq!(gets(&asked, &layers(&image)), 3, "{asked:#?}");
    assert!(asked.iter().all(|line| line.ends_with(" 200")), "{asked:#?}");
    assert!(asked.len() <= 5, "{asked:#?}");
}
