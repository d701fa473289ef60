//! What stands in a cache.

use std::collections::BTreeSet;

use lazyblob::worker::llb::{self, Copy, Files, Mount, State, merge};
use serde_json::Value;

use super::hub::Hub;
use super::support::{
    all_cached, all_released, blob_gets, build, built, can_run, digests, file, gets, into_dir, layers, only,
    read, shell, shell_image,
};
use crate::support::Desk;

/// The manifest of the cache `latest` in a layout on the desk, and its config.
fn exported(desk: &Desk, dir: &str) -> (Value, Value) {
    let blob = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().trim_start_matches("sha256:").to_owned();
        let bytes = std::fs::read(desk.path(dir).join("blobs/sha256").join(name)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let index: Value =
        serde_json::from_slice(&std::fs::read(desk.path(dir).join("index.json")).unwrap()).unwrap();
    let manifest = blob(&index["manifests"][0]["digest"]);
    let config = match manifest.get("config") {
        Some(config) => config.clone(),
        None => manifest["manifests"].as_array().unwrap().last().unwrap().clone(),
    };
    let config = blob(&config["digest"]);
    (manifest, config)
}

fn blobs(desk: &Desk, dir: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(desk.path(dir).join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Digests and links of all records, in a form that two caches can be compared by.
fn linked(config: &Value) -> BTreeSet<String> {
    let records = config["records"].as_array().unwrap();
    let digest = |at: &Value| records[usize::try_from(at.as_u64().unwrap()).unwrap()]["digest"].clone();
    let one = |record: &Value| {
        let inputs: Vec<Vec<String>> = record["inputs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|ways| {
                let mut ways: Vec<String> = ways
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|way| format!("{} {}", way["selector"], digest(&way["link"])))
                    .collect();
                ways.sort();
                ways
            })
            .collect();
        format!("{} {inputs:?}", record["digest"])
    };
    records.iter().map(one).collect()
}

/// BuildKit row 85: results whose blobs are gone are left out, and their keys stay.
/// testCacheExportCacheDeletedContent: a layer of a cache is gone, and who imports it and exports it again gives away every
/// record and every link of it, with the layers that are left.
#[tokio::test]
async fn a_cache_without_one_of_its_layers_keeps_its_records() {
    if !can_run() {
        return;
    }
    let hub = Hub::counting().await;
    let base = llb::image(hub.seed("base", "1", &shell_image(0)).await);
    let desk = Desk::new();
    let made = base.run(shell("echo one > /one; echo two > /two")).root();
    let state = only(&made, "/one");
    let at = |dir: &str| desk.path(dir).display().to_string();
    built(&desk, &state, &format!("--export-cache type=local,dest={},mode=max", at("whole"))).await;
    let (manifest, config) = exported(&desk, "whole");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.buildkit.cacheconfig.v0");
    let layers = config["layers"].as_array().unwrap();
    assert_eq!((layers.len(), digests(&manifest["layers"]).len()), (3, 3), "{config:#}");
    let has_parent = |layer: &&Value| layer.get("parent").is_none_or(|parent| parent != -1);
    let upper: Vec<_> = layers.iter().filter(has_parent).collect();
    assert_eq!(upper.len(), 1, "{config:#}");
    let lost = upper[0]["blob"].as_str().unwrap();
    std::fs::remove_file(desk.path("whole/blobs/sha256").join(lost.trim_start_matches("sha256:"))).unwrap();
    all_released(&desk).await;

    hub.asked().await;
    let words = format!(
        "--import-cache type=local,src={} --export-cache type=local,dest={},mode=max",
        at("whole"),
        at("less")
    );
    all_cached(&built(&desk, &state, &words).await);
    assert_eq!(blob_gets(&hub.asked().await).len(), 1, "the image's config");
    let (_, less) = exported(&desk, "less");
    assert_eq!((linked(&less).len(), linked(&less)), (5, linked(&config)));
    let left: Vec<&str> =
        less["layers"].as_array().unwrap().iter().map(|one| one["blob"].as_str().unwrap()).collect();
    assert!(left.len() == 1 && !left.contains(&lost), "{less:#}");
}

/// testCacheExportCacheKeyLoop: a file goes through two stages and back into the tree it came from; the cache of that comes to
/// an end, and so does who imports it.
#[tokio::test]
async fn a_file_that_goes_in_circles_makes_no_circle() {
    let hub = Hub::counting().await;
    for between in [false, true] {
        let (desk, fresh) = (Desk::new(), Desk::new());
        let start = file("/data", "data");
        let stage = if between {
            only(&llb::scratch().file(Files::new().then(Copy::new(&start, "/data", "/data"))), "/data")
        } else {
            only(&start, "/data")
        };
        let back = llb::scratch().file(Files::new().then(Copy::new(&stage, "/data", "/data")));
        let back = back.file(Files::new().then(Copy::new(&start, "/data", "/again")));
        let again = only(&only(&back, "/data"), "/data");
        let cache = format!("type=registry,ref={}/cache:{between},mode=max", hub.host());
        built(&desk, &again, &format!("--export-cache {cache}")).await;
        let config = hub.json(&format!("cache/manifests/{between}")).await["config"]["digest"].clone();
        let config = hub.json(&format!("cache/blobs/{}", config.as_str().unwrap())).await;
        assert!(!config["records"].as_array().unwrap().is_empty());
        let import = format!("--import-cache type=registry,ref={}/cache:{between}", hub.host());
        all_cached(&built(&fresh, &again, &format!("{import} {}", into_dir(&fresh, "out"))).await);
        assert_eq!(read(&fresh, "out/data"), "data");
        // And given away once more by who has it from there.
        built(&fresh, &again, &format!("{import} --export-cache {cache}")).await;
    }
}

/// testLocalCacheExportReset: a directory has nothing but the last cache where that is asked for, and all of them where not.
#[tokio::test]
async fn a_directory_is_tidied_where_that_is_asked_for() {
    let desk = Desk::new();
    let states = ["one", "two"].map(|text| only(&file("/x", text), "/x"));
    let export = format!("--export-cache type=local,dest={},mode=max", desk.path("cache").display());
    built(&desk, &states[0], &export).await;
    let first = blobs(&desk, "cache");
    built(&desk, &states[1], &export).await;
    assert!(blobs(&desk, "cache").is_superset(&first), "nobody asked for it");
    built(&desk, &states[1], &format!("{export},reset=true")).await;
    let (manifest, _) = exported(&desk, "cache");
    let index: Value =
        serde_json::from_slice(&std::fs::read(desk.path("cache/index.json")).unwrap()).unwrap();
    let mut named = digests(&manifest["layers"]);
    named.push(manifest["config"]["digest"].as_str().unwrap().to_owned());
    named.push(index["manifests"][0]["digest"].as_str().unwrap().to_owned());
    let named: BTreeSet<String> =
        named.iter().map(|digest| digest.trim_start_matches("sha256:").to_owned()).collect();
    assert_eq!(blobs(&desk, "cache"), named);
}

/// testMultipleRecordsWithSameLayersCacheImportExport: two vertices whose layers are the same bytes; who imports the cache for
/// one of them holds nothing afterwards.
#[tokio::test]
async fn two_vertices_with_one_layer_leave_nothing() {
    if !can_run() {
        return;
    }
    let hub = Hub::counting().await;
    let base = llb::image(hub.seed("base", "1", &shell_image(0)).await);
    let made = |salt: &str| {
        let script = format!("echo same > /out/file; touch -t 200001010000 /out/file /out; : {salt}");
        base.run(shell(&script)).mount("/out", Mount::bind(&llb::scratch())).done().mounted("/out").unwrap()
    };
    let (one, two) = (made("one"), made("two"));
    let desk = Desk::new();
    let cache = format!("{}/cache:1", hub.host());
    built(&desk, &merge([&one, &two]), &format!("--export-cache type=registry,ref={cache},mode=max")).await;
    let manifest = hub.json("cache/manifests/1").await;
    let all = digests(&manifest["layers"]);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 1, "the same bytes: {manifest:#}");
    all_released(&desk).await;
    let words = format!("--import-cache type=registry,ref={cache} {}", into_dir(&desk, "out"));
    let ran = built(&desk, &one, &words).await;
    all_cached(&ran);
    assert_eq!(read(&desk, "out/file"), "same\n");
    assert_eq!(gets(&hub.asked().await, &layers(&shell_image(0))), 0);
    all_released(&desk).await;
}

/// testRegistryEmptyCacheExport: nothing was made, so nothing is pushed, in any form, and it is no error.
#[tokio::test]
async fn a_cache_of_nothing_is_not_pushed() {
    for hub in Hub::all("a_cache_of_nothing_is_not_pushed").await {
        let desk = Desk::new();
        // One file on nothing: what has no inputs is no result in a cache.
        let state = file("/x", "x");
        for (at, words) in
            ["", ",image-manifest=false", ",oci-mediatypes=false", ",mode=max"].iter().enumerate()
        {
            let target = format!("type=registry,ref={}/empty:{at}{words}", hub.host());
            built(&desk, &state, &format!("--export-cache {target}")).await;
            let asked = hub.asked().await;
            assert!(!asked.iter().any(|line| line.starts_with("PUT")), "{words}: {asked:#?}");
            assert_eq!(hub.status(&format!("empty/manifests/{at}")).await, 404);
        }
    }
}

/// testZstdLocalCacheExport: an index whose last entry is the config, and the one before it a zstd layer.
#[tokio::test]
async fn a_zstd_cache_is_zstd() {
    let desk = Desk::new();
    let state = only(&file("/x", "x"), "/x");
    let words = "mode=max,image-manifest=false,compression=zstd,force-compression=true";
    built(&desk, &state, &format!("--export-cache type=local,dest={},{words}", desk.path("cache").display()))
        .await;
    let (index, _) = exported(&desk, "cache");
    let entries = index["manifests"].as_array().unwrap();
    let layer = &entries[entries.len() - 2];
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd", "{index:#}");
    let name = layer["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let bytes = std::fs::read(desk.path("cache/blobs/sha256").join(name)).unwrap();
    assert_eq!(bytes[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}

/// A build that fails gives away what it had made, and who comes next begins there.
#[tokio::test]
async fn a_build_that_fails_gives_away_its_cache() {
    if !can_run() {
        return;
    }
    for hub in Hub::all("a_build_that_fails_gives_away_its_cache").await {
        let base = llb::image(hub.seed("base", "1", &shell_image(0)).await);
        let slow: State = base.run(shell("head -c 64 /dev/urandom | od -An -tx1 > /slow")).root();
        let fails = slow.run(shell("test -e /fixed")).root();
        let (desk, fresh) = (Desk::new(), Desk::new());
        let cache = format!("{}/cache:1", hub.host());
        build(&desk, &fails, &format!("--export-cache type=registry,ref={cache},mode=max")).await.exits(1);
        let words = format!("--import-cache type=registry,ref={cache}");
        all_cached(&built(&fresh, &slow, &words).await);
    }
}
