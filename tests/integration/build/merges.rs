//! Trees of which parts are lazy, given away with their cache.

use lazyblob::worker::llb::{self, Mount, merge};

use super::hub::Hub;
use super::support::{
    all_cached, built, can_run, digests, file, gets, here, into_dir, layers, only, plain_image, pulled,
    ran_only, read, shell, shell_image, vertices, wiped,
};
use crate::support::Desk;

/// testMergeOpCacheInline, testMergeOpCacheMin, testMergeOpCacheMax: a merge of a lazy image and two files is pushed with its
/// cache, and built again with it: nothing is pulled that is not read, and only what changed is made again.
#[tokio::test]
async fn a_merge_stays_lazy_with_each_cache() {
    if !can_run() {
        return;
    }
    let image = shell_image(1);
    for hub in Hub::all("a_merge_stays_lazy_with_each_cache").await {
        let (base, host) = (hub.seed("base", "1", &image).await, hub.host().to_owned());
        for mode in ["inline", "min", "max"] {
            let desk = Desk::new();
            let image_name = format!("{host}/merged-{mode}:1");
            let (export, import) = match mode {
                "inline" => ("--export-cache type=inline".to_owned(), image_name.clone()),
                _ => {
                    let name = format!("{host}/cache-{mode}:1");
                    (format!("--export-cache type=registry,ref={name},mode={mode}"), name)
                }
            };
            let import = format!("--import-cache type=registry,ref={import}");
            let push = format!("-o type=image,name={image_name},push=true");
            let merged = |one: &str| {
                let random = llb::image(&base)
                    .run(shell("mkdir /r/bar; head -c 32 /dev/urandom | od -An -tx1 > /r/bar/2"))
                    .mount("/r", Mount::bind(&llb::scratch()))
                    .done();
                let first = only(&file("/foo", one), "/foo");
                let second = only(&random.mounted("/r").unwrap(), "/bar");
                merge([&llb::image(&base), &first, &second])
            };
            built(&desk, &merged("one"), &format!("{push} {export}")).await;
            let first = hub.json(&format!("merged-{mode}/manifests/1")).await;
            assert_eq!(digests(&first["layers"]).len(), 4, "{first:#}");
            built(&desk, &merged("one"), &into_dir(&desk, "first")).await;
            let bar = read(&desk, "first/bar/2");
            wiped(&desk, &image_name).await;
            hub.asked().await;

            // With nothing left: the same image, and not one layer pulled.
            let ran = built(&desk, &merged("one"), &format!("{push} {import} {export}")).await;
            let all = vertices(&ran);
            let commands = all.iter().filter(|(_, state)| *state == "completed").count();
            assert_eq!(commands, 0, "{mode}: {all:#?}");
            let asked = hub.asked().await;
            let manifest = hub.json(&format!("merged-{mode}/manifests/1")).await;
            let pushed: Vec<String> = digests(&manifest["layers"]);
            assert_eq!(pushed.len(), 4, "{manifest:#}\n{}", ran.stderr);
            assert_eq!(gets(&asked, &pushed), 0, "{mode}: {asked:#?}");
            assert_eq!(here(&desk, &pushed), [] as [String; 0], "{mode}");

            // One input is another: its layer is made, and no other is pulled.
            let ran = built(&desk, &merged("other"), &format!("{push} {import} {export}")).await;
            let asked = hub.asked().await;
            let manifest = hub.json(&format!("merged-{mode}/manifests/1")).await;
            let changed = digests(&manifest["layers"]);
            assert_eq!((&changed[..2], &changed[3]), (&pushed[..2], &pushed[3]), "{mode}\n{}", ran.stderr);
            assert_ne!(changed[2], pushed[2]);
            assert_eq!(here(&desk, &changed), [changed[2].clone()], "{mode}");
            assert_eq!(gets(&asked, &pushed), 0, "{mode}: {asked:#?}");
            built(&desk, &merged("other"), &into_dir(&desk, "other")).await;
            assert_eq!(
                (read(&desk, "other/bar/2"), read(&desk, "other/foo")),
                (bar.clone(), "other".to_owned())
            );
            wiped(&desk, &image_name).await;
            hub.asked().await;

            // A file on top of the merge, and the cache of that: once more everything stays where it is.
            let top = || {
                let tree = merged("other");
                merge([&tree, &file("/top", "top")])
            };
            built(&desk, &top(), &format!("{push} {import} {export}")).await;
            wiped(&desk, &image_name).await;
            hub.asked().await;
            let ran = built(&desk, &top(), &format!("{push} {import} {export}")).await;
            let asked = hub.asked().await;
            let manifest = hub.json(&format!("merged-{mode}/manifests/1")).await;
            let all = digests(&manifest["layers"]);
            assert_eq!(&all[..4], &changed[..], "{mode}");
            assert_eq!(gets(&asked, &all[..4]), 0, "{mode}: {asked:#?}\n{}", ran.stderr);
            let here = here(&desk, &all[..4]);
            assert_eq!(here, [] as [String; 0], "{mode}");
            built(&desk, &top(), &format!("{import} {}", into_dir(&desk, "top"))).await;
            assert_eq!((read(&desk, "top/bar/2"), read(&desk, "top/top")), (bar, "top".to_owned()));
        }
    }
}

/// A whole cache of a build with a lazy stage in its middle: nothing is left out, nothing is pulled for it; who has nothing but
/// this cache finds every vertex in it, and pulls a layer when a command needs it, not before.
#[tokio::test]
async fn a_lazy_stage_in_the_middle_goes_into_the_whole_cache() {
    if !can_run() {
        return;
    }
    let (image, data) = (shell_image(1), plain_image(2));
    for hub in Hub::all("a_lazy_stage_in_the_middle_goes_into_the_whole_cache").await {
        let (base, data_name) = (hub.seed("base", "1", &image).await, hub.seed("data", "1", &data).await);
        let host = hub.host();
        let built_stage = llb::image(&base).run(shell("echo stage > /stage")).root();
        let middle = merge([&built_stage, &llb::image(&data_name), &file("/middle", "middle ")]);
        let cache = |name: &str| format!("type=registry,ref={host}/{name},mode=max");
        // Somebody built the first stage.
        let first = Desk::new();
        built(&first, &built_stage, &format!("--export-cache {}", cache("one:1"))).await;

        // The next one has it from there, lazy, and gives all away.
        let second = Desk::new();
        hub.asked().await;
        let import = format!("--import-cache type=registry,ref={host}/one:1");
        let last = merge([&middle, &file("/last", "last")]);
        let ran = built(&second, &last, &format!("{import} --export-cache {}", cache("two:1"))).await;
        ran_only(&ran, &["mkfile", "merge", "data:1"]);
        let asked = hub.asked().await;
        let manifest = hub.json("two/manifests/1").await;
        let all = digests(&manifest["layers"]);
        // base 2, stage 1, data 2, middle 1, last 1
        assert_eq!(all.len(), 7, "{manifest:#}");
        for layer in layers(&image).iter().chain(&layers(&data)) {
            assert!(all.contains(layer), "{layer} was dropped: {manifest:#}");
        }
        assert_eq!(pulled(&second, &image), [] as [String; 0]);
        let made: Vec<String> = here(&second, &all);
        let lazy: Vec<String> = all.iter().filter(|layer| !made.contains(layer)).cloned().collect();
        assert_eq!(lazy.len(), 5, "{made:?}");
        assert_eq!(gets(&asked, &lazy), 0, "{asked:#?}");

        // Nothing but the cache: everything is found, and nothing is pulled.
        let third = Desk::new();
        let import = format!("--import-cache type=registry,ref={host}/two:1");
        all_cached(&built(&third, &last, &import).await);
        let asked = hub.asked().await;
        assert_eq!(gets(&asked, &all), 0, "{asked:#?}");
        assert_eq!(here(&third, &all), [] as [String; 0]);
        // Until a command needs it.
        let needs = last.run(shell("cat /stage /srv/1 /middle /last > /all")).root();
        let ran =
            built(&third, &only(&needs, "/all"), &format!("{import} {}", into_dir(&third, "out"))).await;
        ran_only(&ran, &["/bin/sh -c cat", "copy"]);
        assert_eq!(read(&third, "out/all"), "stage\nlayer 1middle last");
        let asked = hub.asked().await;
        for layer in &all {
            assert_eq!(gets(&asked, std::slice::from_ref(layer)), 1, "{layer}: {asked:#?}");
        }
    }
}
