//! BuildKit's own caches, in both of their forms, through every place a cache may be kept in.

use std::fs;

use lazyblob::remote::testing::installed;
use lazyblob::remote::{Descriptor, Manifest, media};
use serde_json::Value;

use crate::support::{Desk, DockerRegistry, Written, buildkit_caches, get, image};

/// The layer of the base image, which the fixture leaves out.
const MISSING: &str = "sha256:ef58abad";
/// Both forms of a cache of the last stage and of one of all stages.
const CACHES: [&str; 4] = ["cache-min-true", "cache-max-true", "cache-min-false", "cache-max-false"];

/// Writes the fixture's caches to a layout, with a layer of our own in place of the one that is missing.
fn completed(desk: &Desk, name: &str) -> Vec<(&'static str, Manifest)> {
    let fixture = buildkit_caches();
    let blob_of = |digest: &str| {
        let (_, hex) = digest.split_once(':').unwrap();
        fs::read_to_string(fixture.join("blobs/sha256").join(hex)).unwrap()
    };
    let index: Value = serde_json::from_slice(&fs::read(fixture.join("index.json")).unwrap()).unwrap();
    let mut layout = Written::at(desk, name);
    for entry in fs::read_dir(fixture.join("blobs/sha256")).unwrap() {
        layout.blob(&fs::read(entry.unwrap().path()).unwrap());
    }
    let substitute = image(1, "base").blobs[1].1.clone();
    let (own, own_size) = (layout.blob(&substitute), substitute.len().to_string());
    let mut caches = Vec::new();
    for tag in CACHES {
        let has_tag = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let entry = index["manifests"].as_array().unwrap().iter().find(has_tag).unwrap();
        let text = blob_of(entry["digest"].as_str().unwrap());
        let sparse = Manifest::parse(text.clone().into(), None, None, tag).unwrap();
        let blobs = sparse.child_blobs();
        let missing = blobs.iter().find(|blob| blob.digest().as_ref().starts_with(MISSING)).unwrap();
        let is_config = |blob: &&&Descriptor| blob.media_type().as_ref() == media::BUILDKIT_CACHE;
        let config = blobs.iter().find(is_config).unwrap().digest();
        // BuildKit's text stays as it is but for these two digests and that size.
        let own_config = blob_of(config.as_ref()).replace(missing.digest().as_ref(), &own);
        let own_config = layout.blob(own_config.as_bytes());
        let text = text
            .replace(missing.digest().as_ref(), &own)
            .replace(&missing.size().to_string(), &own_size)
            .replace(config.as_ref(), &own_config);
        let cache = Manifest::parse(text.into(), None, None, tag).unwrap();
        assert!(cache.is_build_cache());
        assert_eq!(cache.is_index(), tag.ends_with("false"));
        layout = layout.name(tag, &cache);
        caches.push((tag, cache));
    }
    caches
}

#[tokio::test]
async fn a_sparse_cache_names_what_is_missing_and_leaves_the_target_as_it_was() {
    if !installed("a sparse cache to a registry", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let fixture = buildkit_caches();
    for tag in CACHES {
        let source = format!("oci:{}:{tag}", fixture.display());
        let host = registry.host();
        desk.run(&format!("copy {source} {host}/cache:{tag}")).await.exits(4).says(&[MISSING]);
        assert!(get(host, &format!("/v2/cache/manifests/{tag}")).await.starts_with("HTTP/1.1 404"));
        let puts = registry
            .answered()
            .await
            .into_iter()
            .filter(|request| request.method == "PUT" && request.path.contains("/manifests/"));
        assert_eq!(puts.count(), 0, "{tag}");

        desk.run(&format!("copy {source} {}:{tag}", desk.at("oci", "sparse")))
            .await
            .exits(4)
            .says(&[MISSING]);
        desk.run(&format!("inspect {}:{tag}", desk.at("oci", "sparse"))).await.exits(4);
        let archive = desk.at("oci-archive", "sparse.tar");
        desk.run(&format!("copy {source} {archive}:{tag}")).await.exits(4).says(&[MISSING]);
        assert!(!desk.path("sparse.tar").exists());
    }
}

#[tokio::test]
async fn caches_pass_through_a_registry_and_no_layer_is_pulled() {
    if !installed("caches in a registry", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let host = registry.host();
    for (tag, cache) in completed(&desk, "caches") {
        let digest = cache.digest().to_string();
        let pushed = desk.ok(&format!("copy {}:{tag} {host}/pr:{tag}", desk.at("oci", "caches"))).await;
        assert_eq!(pushed.digest(), digest);
        registry.answered().await;

        assert_eq!(desk.ok(&format!("retag {host}/pr:{tag} :green")).await.digest(), digest);
        assert_eq!(registry.answered().await.len(), 2);

        let promoted = desk.ok(&format!("--stats copy {host}/pr:{tag} {host}/{tag}:main")).await;
        assert_eq!(promoted.digest(), digest);
        let counts = registry.counts().await;
        let distinct = cache.child_blobs().len() as u64;
        assert_eq!(counts["mount"], distinct);
        assert_eq!(counts.values().sum::<u64>(), distinct + 3, "{counts:?}");
        let raw = desk.ok(&format!("inspect --raw {host}/{tag}:main")).await;
        assert_eq!(raw.stdout.as_bytes(), &cache.bytes()[..]);
    }
}

#[tokio::test]
async fn caches_pass_through_layouts_and_archives_unchanged() {
    let desk = Desk::new();
    for (tag, cache) in completed(&desk, "caches") {
        let digest = cache.digest().to_string();
        let stations = [
            format!("{}:{tag}", desk.at("oci", "caches")),
            format!("{}:{tag}", desk.at("oci-archive", &format!("{tag}.tar"))),
            format!("{}:{tag}", desk.at("oci", "again")),
        ];
        for leg in stations.windows(2) {
            assert_eq!(desk.ok(&format!("copy {} {}", leg[0], leg[1])).await.digest(), digest);
            let raw = desk.ok(&format!("inspect --raw {}", leg[1])).await;
            assert_eq!(raw.stdout.as_bytes(), &cache.bytes()[..]);
        }
        for blob in cache.child_blobs() {
            let name = blob.digest().digest();
            let at = |layout: &str| fs::read(desk.path(layout).join("blobs/sha256").join(name)).unwrap();
            assert_eq!(at("again"), at("caches"));
        }

        let archive = desk.at("docker-archive", "no.tar");
        let refused = desk.run(&format!("copy {} {archive}:{tag}", stations[0])).await.exits(1);
        refused.says(&["docker-archive", "cache"]);
        assert!(!desk.path("no.tar").exists());
    }
}

#[tokio::test]
async fn a_cache_in_the_other_form_and_back_is_the_same() {
    if !installed("converted caches in a registry", &["docker-registry"]) {
        return;
    }
    let (desk, registry) = (Desk::new(), DockerRegistry::open().await);
    let host = registry.host();
    for (tag, cache) in completed(&desk, "caches") {
        let (other, same) = if cache.is_index() { ("manifest", "index") } else { ("index", "manifest") };
        desk.ok(&format!("copy {}:{tag} {host}/a:{tag}", desk.at("oci", "caches"))).await;
        registry.answered().await;

        let there = desk.ok(&format!("copy --cache-form {other} {host}/a:{tag} {host}/b:{tag}")).await;
        assert_ne!(there.digest(), cache.digest().to_string());
        let shown = desk.ok(&format!("inspect {host}/b:{tag}")).await.stdout;
        assert!(shown.contains(&format!("build cache ({other} form)")), "{shown}");
        let back = desk.ok(&format!("copy --cache-form {same} {host}/b:{tag} {host}/c:{tag}")).await;
        assert_eq!(back.digest(), cache.digest().to_string());
        assert!(!registry.counts().await.contains_key("blob_get"));

        // Asked for the form it has, it is not touched.
        let kept = desk.ok(&format!("copy --cache-form {same} {host}/a:{tag} {host}/d:{tag}")).await;
        assert_eq!(kept.digest(), cache.digest().to_string());
    }
    // An image has no such form.
    Written::at(&desk, "image").image("1", &image(1, "image"));
    let source = desk.at("oci", "image");
    let refused = desk.run(&format!("copy --cache-form index {source} {host}/e:1")).await.exits(1);
    refused.says(&["not a BuildKit cache"]);
}
