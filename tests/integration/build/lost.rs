//! What was found, and is gone when it is read.

use lazyblob::worker::llb::{self, Mount, merge};

use super::hub::Hub;
use super::support::{
    Door, all_cached, all_released, built, can_run, define, events, file, gets, into_dir, layers, only,
    plain_image, pulled, ran_only, read, shell, shell_image, vertices,
};
use crate::support::{Desk, Ran};

/// An imported result is found by its record, and its layer is gone when it is read: the vertex runs, and then the one that
/// needs it. What does not read it is built without it.
#[tokio::test]
async fn a_layer_that_is_deleted_after_the_hit_is_made_again() {
    if !can_run() {
        return;
    }
    let image = shell_image(1);
    for hub in Hub::all("a_layer_that_is_deleted_after_the_hit_is_made_again").await {
        let (maker, desk) = (Desk::new(), Desk::new());
        let base = llb::image(hub.seed("app", "1", &image).await);
        let made = base.run(shell("echo made > /made")).root();
        let cache = format!("{}/cache:1", hub.host());
        built(&maker, &made, &format!("--export-cache type=registry,ref={cache},mode=max")).await;
        let manifest = hub.json("cache/manifests/1").await;
        let all = manifest["layers"].as_array().unwrap().iter();
        let mut all = all.map(|layer| layer["digest"].as_str().unwrap().to_owned());
        let layer = all.find(|layer| !layers(&image).contains(layer)).unwrap();
        let import = format!("--import-cache type=registry,ref={cache}");
        // It is found, and stays lazy.
        all_cached(&built(&desk, &made, &import).await);
        hub.delete(&format!("cache/blobs/{layer}")).await;
        all_cached(&built(&desk, &made, &import).await);
        assert_eq!(gets(&hub.asked().await, std::slice::from_ref(&layer)), 0);

        let needs = made.run(shell("cat /made > /both; cat /srv/0 >> /both")).root();
        let ran = built(&desk, &only(&needs, "/both"), &format!("{import} {}", into_dir(&desk, "out"))).await;
        assert_eq!(read(&desk, "out/both"), "made\nlayer 0");
        let states = vertices(&ran);
        let of_made = states.iter().find(|(name, _)| name.contains("echo made")).unwrap();
        assert_eq!(of_made.1, "completed", "{states:#?}\n{}", ran.stderr);
        let events = events(&ran);
        let lost = events.iter().filter(|event| event["state"] == "lost").collect::<Vec<_>>();
        // The record of the import, and the one that was kept of it here.
        assert!((1..=2).contains(&lost.len()), "{lost:#?}");
        assert!(lost.iter().all(|event| event["cause"].as_str().unwrap().contains(&layer)), "{lost:#?}");
        let asked = hub.asked().await;
        let of_layer: Vec<_> = asked.iter().filter(|line| line.contains(&layer)).collect();
        assert_eq!(of_layer.len(), lost.len(), "{asked:#?}");
        assert!(of_layer.iter().all(|line| line.ends_with(" 404")), "{asked:#?}");
        for layer in layers(&image) {
            assert_eq!(gets(&asked, &[layer]), 1, "{asked:#?}");
        }
    }
}

/// Everything is removed between two builds: the second does all of the first again, and no more.
#[tokio::test]
async fn a_cache_that_is_pruned_between_builds_is_made_again() {
    if !can_run() {
        return;
    }
    let image = shell_image(2);
    for hub in Hub::all("a_cache_that_is_pruned_between_builds_is_made_again").await {
        let desk = Desk::new();
        let base = llb::image(hub.seed("app", "1", &image).await);
        let made = base.run(shell("cat /srv/1 > /made")).root();
        let state = only(&made, "/made");
        for _ in 0..2 {
            let ran = built(&desk, &state, &into_dir(&desk, "out")).await;
            ran_only(&ran, &["docker-image", "/bin/sh", "copy"]);
            assert_eq!(read(&desk, "out/made"), "layer 1");
            let asked = hub.asked().await;
            assert_eq!(gets(&asked, &layers(&image)), 3, "{asked:#?}");
            all_released(&desk).await;
            assert_eq!(pulled(&desk, &image), [] as [String; 0]);
        }
    }
}

/// What nobody holds is removed while a build is under way, after it was found and before it is used: the build makes it again,
/// or has held it, but comes to its end.
#[tokio::test]
async fn a_prune_between_cache_map_and_exec_harms_nothing() {
    if !can_run() {
        return;
    }
    let (image, other) = (shell_image(0), plain_image(2));
    let (desk, hub, door) = (Desk::new(), Hub::counting().await, Door::new().await);
    let base = llb::image(hub.seed("app", "1", &image).await);
    let lazy = merge([&llb::image(hub.seed("data", "1", &other).await), &file("/x", "x")]);
    // Found by the second build, the one lazy and the other not.
    built(&desk, &lazy, "").await;
    let kept = base.run(shell("echo kept > /kept")).root();
    built(&desk, &kept, "").await;
    let waits = base.run(shell(&format!("{}; echo waited > /waited", door.knock()))).root();
    let uses = waits
        .run(shell("cat /waited /lazy/srv/1 /lazy/x /k/kept > /all"))
        .mount("/lazy", Mount::bind(&lazy).read_only())
        .mount("/k", Mount::bind(&kept).read_only());
    let state = only(&uses.root(), "/all");
    hub.asked().await;
    let words =
        format!("build --stats --progress json {} {}", into_dir(&desk, "out"), define(&desk, "uses", &state));
    let child = desk.command(&words).spawn().unwrap();
    let waiting = door.somebody().await;
    desk.ok("prune --all").await;
    drop(waiting);
    let ran = Ran::of(&words, child.wait_with_output().await.unwrap()).exits(0);
    assert_eq!(read(&desk, "out/all"), "waited\nlayer 1xkept\n", "{}", ran.stderr);
    let asked = hub.asked().await;
    assert_eq!(gets(&asked, &layers(&other)), 2, "{asked:#?}");
    // The base is in use all the time, by the command that waits.
    assert_eq!(gets(&asked, &layers(&image)), 0, "{asked:#?}");
    all_released(&desk).await;
}
