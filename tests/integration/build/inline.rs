//! Caches that images have of their own.

use lazyblob::worker::llb::{self, Mount, State, host_platform};

use super::hub::Hub;
use super::support::{
    all_cached, built, can_run, digests, gets, into_dir, layers, only, read, shell, shell_image, vertices,
    wiped,
};
use crate::support::Desk;

/// A command that writes what is the same every time, and one that never does.
fn chained(base: &str) -> State {
    let one = llb::image(base).run(shell("printf foobar > /const")).root();
    one.run(shell("head -c 64 /dev/urandom | od -An -tx1 > /unique")).root()
}

/// testBasicInlineCacheImportExport: an image is pushed with its own cache; who builds it again with that has the same image,
/// and with another compression or without the cache in it the same files in another image.
#[tokio::test]
async fn an_image_brings_its_own_cache() {
    if !can_run() {
        return;
    }
    let image = shell_image(0);
    for hub in Hub::all("an_image_brings_its_own_cache").await {
        let desk = Desk::new();
        let state = chained(&hub.seed("base", "1", &image).await);
        let name = format!("{}/app:1", hub.host());
        let push = format!("-o type=image,name={name},push=true");
        let import = format!("--import-cache type=registry,ref={name}");
        let first = built(&desk, &state, &format!("{push} --export-cache type=inline")).await;
        let pushed = digests(&hub.json("app/manifests/1").await["layers"]);
        built(&desk, &state, &into_dir(&desk, "first")).await;
        let unique = read(&desk, "first/unique");
        assert_eq!(read(&desk, "first/const"), "foobar");
        wiped(&desk, &name).await;
        hub.asked().await;

        let again = built(&desk, &state, &format!("{push} {import} --export-cache type=inline")).await;
        all_cached(&again);
        assert_eq!(again.digest(), first.digest(), "the same image, its config included");
        let asked = hub.asked().await;
        assert_eq!(gets(&asked, &pushed), 0, "{asked:#?}");
        wiped(&desk, &name).await;

        let other = format!("{}/plain:1", hub.host());
        let words = "compression=uncompressed,force-compression=true";
        let plain =
            built(&desk, &state, &format!("-o type=image,name={other},push=true,{words} {import}")).await;
        all_cached(&plain);
        assert_ne!(plain.digest(), first.digest());
        let manifest = hub.json("plain/manifests/1").await;
        for layer in manifest["layers"].as_array().unwrap() {
            assert!(layer["mediaType"].as_str().unwrap().ends_with(".tar"), "{manifest:#}");
        }
        built(&desk, &only(&llb::image(&other), "/unique"), &into_dir(&desk, "plain")).await;
        assert_eq!(read(&desk, "plain/unique"), unique);
        desk.ok(&format!("rm store:{other}")).await;
        desk.ok("prune --all").await;

        let without = built(&desk, &state, &format!("{push} {import}")).await;
        all_cached(&without);
        assert_ne!(without.digest(), first.digest(), "the config has no cache in it now");
        assert_eq!(digests(&hub.json("app/manifests/1").await["layers"]), pushed);
        built(&desk, &only(&llb::image(&name), "/unique"), &into_dir(&desk, "without")).await;
        assert_eq!(read(&desk, "without/unique"), unique);
    }
}

/// testCacheMultiPlatformImportExport: an image for two platforms has the cache of each, and brings back both.
#[tokio::test]
async fn an_image_of_two_platforms_brings_both_caches() {
    if !can_run() {
        return;
    }
    let image = shell_image(0);
    for hub in Hub::all("an_image_of_two_platforms_brings_both_caches").await {
        let desk = Desk::new();
        let base = hub.seed("base", "1", &image).await;
        // The definition says nothing of the platform of what it makes, and runs on this one's.
        let here = llb::image(&base).platform(host_platform());
        let made = here
            .run(shell("head -c 64 /dev/urandom | od -An -tx1 > /out/unique"))
            .mount("/out", Mount::bind(&llb::scratch()))
            .done();
        let state = only(&made.mounted("/out").unwrap(), "/unique");
        let name = format!("{}/app:1", hub.host());
        let words = format!("--platform linux/amd64,linux/arm64 -o type=image,name={name},push=true");
        let first = built(&desk, &state, &format!("{words} --export-cache type=inline")).await;
        let index = hub.json("app/manifests/1").await;
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2), "{index:#}");
        let mut pushed = Vec::new();
        for digest in digests(&index["manifests"]) {
            let manifest = hub.json(&format!("app/manifests/{digest}")).await;
            pushed.extend(digests(&manifest["layers"]));
            let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
            let config = hub.json(&format!("app/blobs/{config}")).await;
            assert!(config["moby.buildkit.cache.v0"].is_string(), "{config:#}");
        }
        wiped(&desk, &name).await;
        hub.asked().await;
        let import = format!("--import-cache type=registry,ref={name} --export-cache type=inline");
        let again = built(&desk, &state, &format!("{words} {import}")).await;
        all_cached(&again);
        let asked = hub.asked().await;
        assert_eq!(gets(&asked, &pushed), 0, "{asked:#?}");
        assert_eq!(again.digest(), first.digest());
    }
}

/// BuildKit row 93: several caches are exported side by side.
/// testMultipleCacheExports: four caches of one build, each whole, and an image with its own that is the same every time.
#[tokio::test]
async fn one_build_gives_away_many_caches() {
    if !can_run() {
        return;
    }
    let image = shell_image(0);
    for hub in Hub::all("one_build_gives_away_many_caches").await {
        let desk = Desk::new();
        let state = chained(&hub.seed("base", "1", &image).await);
        let name = format!("{}/app:1", hub.host());
        let cache = format!("{}/cache:1", hub.host());
        let push = format!("-o type=image,name={name},push=true");
        let exports = format!(
            "--export-cache type=inline --export-cache type=registry,ref={cache} \
             --export-cache type=local,dest={one} --export-cache type=local,dest={two},mode=max",
            one = desk.path("one").display(),
            two = desk.path("two").display(),
        );
        let first = built(&desk, &state, &format!("{push} {exports}")).await;
        let again = built(&desk, &state, &format!("{push} {exports}")).await;
        assert_eq!(again.digest(), first.digest());
        all_cached(&again);
        built(&desk, &state, &into_dir(&desk, "first")).await;
        for source in
            [format!("type=registry,ref={cache}"), desk_cache(&desk, "one"), desk_cache(&desk, "two")]
        {
            let fresh = Desk::new();
            let back =
                built(&fresh, &state, &format!("--import-cache {source} {}", into_dir(&fresh, "back"))).await;
            all_cached(&back);
            assert_eq!(read(&fresh, "back/unique"), read(&desk, "first/unique"), "{source}");
        }
    }
}

fn desk_cache(desk: &Desk, name: &str) -> String {
    assert!(desk.path(name).join("index.json").is_file());
    format!("type=local,src={}", desk.path(name).display())
}

/// testNoCache: nothing is looked up where that is said, for all of a build or for one vertex.
#[tokio::test]
async fn nothing_is_looked_up_where_that_is_said() {
    if !can_run() {
        return;
    }
    let image = shell_image(0);
    let (desk, hub) = (Desk::new(), Hub::counting().await);
    let base = hub.seed("base", "1", &image).await;
    let random = |state: &State, path: &str| {
        state.run(shell(&format!("head -c 64 /dev/urandom | od -An -tx1 > {path}"))).root()
    };
    let below = random(&llb::image(&base), "/below");
    let whole = random(&below, "/above");
    let mut seen = Vec::new();
    let mut look = async |state: &State, words: &str| {
        let dir = format!("out-{}", seen.len());
        let ran = built(&desk, state, &format!("{words} {}", into_dir(&desk, &dir))).await;
        let found = (read(&desk, &format!("{dir}/below")), read(&desk, &format!("{dir}/above")));
        seen.push(found.clone());
        (found, vertices(&ran))
    };
    let (first, _) = look(&whole, "").await;
    let (again, states) = look(&whole, "").await;
    assert_eq!(again, first);
    assert!(states.values().all(|state| state == "cached"), "{states:#?}");
    let (anew, states) = look(&whole, "--no-cache").await;
    assert!(anew.0 != first.0 && anew.1 != first.1, "{states:#?}");
    // What was made without looking is found by who looks again.
    let (kept, states) = look(&whole, "").await;
    assert_eq!(kept, anew);
    assert!(states.values().all(|state| state == "cached"), "{states:#?}");
    // One vertex alone.
    let (half, states) = look(&whole.clone().ignore_cache(), "").await;
    assert!(half.0 == kept.0 && half.1 != kept.1, "{states:#?}");
    // The layers are fetched once, whatever is made again.
    assert_eq!(gets(&hub.asked().await, &layers(&image)), 1);
}
