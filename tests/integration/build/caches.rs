//! Caches that are given away and taken in: what they have, and what they cost.

use lazyblob::worker::llb::{self, Mount, State};
use serde_json::Value;

use super::hub::Hub;
use super::support::{
    all_cached, all_released, blob_gets, build, built, can_run, file, gets, into_dir, layers, only, read,
    shell, shell_image,
};
use crate::support::Desk;

/// Two commands, one after the other, that write a file each that is the same every time, and one that never is.
fn chained(base: &str) -> State {
    let base = llb::image(base);
    let one =
        base.run(shell("printf foobar > /out/const")).mount("/out", Mount::bind(&llb::scratch())).done();
    let mounted = one.mounted("/out").unwrap();
    let two = base
        .run(shell("head -c 64 /dev/urandom | od -An -tx1 > /out/unique"))
        .mount("/out", Mount::bind(&mounted))
        .done();
    two.mounted("/out").unwrap()
}

/// Both files.
fn both(desk: &Desk, dir: &str) -> (String, String) {
    (read(desk, &format!("{dir}/const")), read(desk, &format!("{dir}/unique")))
}

/// Builds and gives the cache away; then, with nothing left of it, builds again with these imports alone.
async fn there_and_back(hub: &Hub, base: &str, exports: &str, imports: &str) {
    let desk = Desk::new();
    let state = chained(base);
    built(&desk, &state, &format!("{} {exports}", into_dir(&desk, "first"))).await;
    let first = both(&desk, "first");
    assert_eq!(first.0, "foobar");
    all_released(&desk).await;
    hub.asked().await;
    let again = built(&desk, &state, &format!("{} {imports}", into_dir(&desk, "again"))).await;
    all_cached(&again);
    assert_eq!(both(&desk, "again"), first, "{exports}");
    let asked = hub.asked().await;
    assert_eq!(gets(&asked, &layers(&shell_image(0))), 0, "the base is needed by nobody: {asked:#?}");
    let blobs = blob_gets(&asked);
    // The configs of the image and of the cache, and the layers that are read: each once.
    assert!(blobs.len() <= 4, "{exports}: {blobs:#?}");
    let mut once = blobs.clone();
    once.dedup();
    assert_eq!(once, blobs);
    all_released(&desk).await;
}

/// testBasicCacheImportExport, testBasicLocalCacheImportExport, testBasicRegistryCacheImportExport,
/// testMultipleRegistryCacheImportExport, testImageManifestRegistryCacheImportExport, testUncompressedLocalCacheImportExport,
/// testUncompressedRegistryCacheImportExport, testZstdLocalCacheImportExport, testZstdRegistryCacheImportExport: what was built
/// comes back from the cache, to the byte, whichever form it has.
#[tokio::test]
async fn a_cache_brings_back_what_was_built() {
    if !can_run() {
        return;
    }
    for hub in Hub::all("a_cache_brings_back_what_was_built").await {
        let base = hub.seed("app", "1", &shell_image(0)).await;
        let (host, place) = (hub.host(), Desk::new());
        let variants = [
            "",
            ",mode=max",
            ",image-manifest=true,oci-mediatypes=true,mode=max",
            ",image-manifest=false",
            ",oci-mediatypes=false",
            ",compression=uncompressed,force-compression=true",
            ",compression=zstd,force-compression=true,mode=max",
        ];
        // Debian's need not see every form.
        let some = if matches!(hub, Hub::Debian(_)) { &variants[5..] } else { &variants[..] };
        for (at, words) in some.iter().enumerate() {
            let name = format!("{host}/cache:{at}");
            there_and_back(
                &hub,
                &base,
                &format!("--export-cache type=registry,ref={name}{words}"),
                &format!(
                    "--import-cache type=registry,ref={name} \
                     --import-cache type=registry,ref={host}/no/such:cache"
                ),
            )
            .await;
            let dir = place.path(&format!("cache-{at}"));
            let dir = dir.display();
            there_and_back(
                &hub,
                &base,
                &format!("--export-cache type=local,dest={dir}{words}"),
                &format!("--import-cache type=local,src={dir}"),
            )
            .await;
        }
    }
}

/// testImageManifestRegistryCacheImportExport, testImageManifestCacheImportExport: the forms of a cache's manifest.
#[tokio::test]
async fn a_caches_manifest_has_the_form_that_is_asked_for() {
    for hub in Hub::all("a_caches_manifest_has_the_form_that_is_asked_for").await {
        let desk = Desk::new();
        let state = only(&file("/x", "x"), "/x");
        for (at, (words, kind, list)) in [
            ("", "application/vnd.oci.image.manifest.v1+json", "layers"),
            (",image-manifest=false", "application/vnd.oci.image.index.v1+json", "manifests"),
            (
                ",oci-mediatypes=false",
                "application/vnd.docker.distribution.manifest.list.v2+json",
                "manifests",
            ),
        ]
        .iter()
        .enumerate()
        {
            let export =
                format!("--export-cache type=registry,ref={}/cache:{at},mode=max{words}", hub.host());
            built(&desk, &state, &export).await;
            let manifest = hub.json(&format!("cache/manifests/{at}")).await;
            assert_eq!(manifest["mediaType"], *kind);
            let list: &Vec<Value> = manifest[list].as_array().unwrap();
            let layers = list.iter().filter(|one| one["mediaType"].as_str().unwrap().contains("tar")).count();
            assert_eq!(layers, 1, "{manifest:#}");
        }
    }
}

/// Row 99: an export that fails is an error or a warning, as asked.
/// BuildKit row 93: so it is with each of several.
/// testCacheExportIgnoreError: an export that fails is an error, unless it is said that it is none.
#[tokio::test]
async fn an_export_that_fails_is_an_error_unless_told_otherwise() {
    let desk = Desk::new();
    let state = only(&file("/x", "x"), "/x");
    let hub = Hub::counting().await;
    let Hub::Counting(registry) = &hub else { unreachable!() };
    registry
        .add(lazyblob::remote::testing::Toxic::status(403).on(lazyblob::remote::request::Kind::ManifestPut));
    // A file where a directory is to be.
    desk.file("taken", "");
    let taken = desk.path("taken").display().to_string();
    for target in [format!("type=registry,ref={}/cache:1", hub.host()), format!("type=local,dest={taken}/x")]
    {
        let failed = build(&desk, &state, &format!("--export-cache {target}")).await;
        assert_ne!(failed.code, Some(0), "{target}");
        let why = if target.contains("local") { "taken" } else { "cache:1" };
        assert!(failed.stderr.contains(why), "{}", failed.stderr);
        let ran = built(&desk, &state, &format!("--export-cache {target},ignore-error=true")).await;
        assert!(ran.stderr.contains(why), "it is said all the same: {}", ran.stderr);
    }
}
