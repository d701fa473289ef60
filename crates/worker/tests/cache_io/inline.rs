//! The cache that an image has in its own config.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lazyblob_cache::record::LayerBlob;
use lazyblob_remote::buildcache::Config;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::TestRegistry;
use lazyblob_remote::{Descriptor, Digest, Manifest, digest, media};
use lazyblob_worker::cache_io::{INLINE_FIELD, inline};
use serde_json::{Value, json};

use crate::ops::{Does, Made, Step};
use crate::support::{Bench, MIN, blobs, learned, registry};

/// Puts an image of these layers with this config into a repository, and says what it is.
async fn seed(
    registry: &TestRegistry,
    repository: &str,
    name: &str,
    layers: &[LayerBlob],
    config: Value,
) -> Manifest {
    let stored = registry.seed_blob(repository, Bytes::from(config.to_string())).await;
    let config = Descriptor::new(media::OCI_CONFIG.into(), stored.size(), stored.digest().clone());
    let layers: Vec<&Descriptor> = layers.iter().map(|layer| &layer.descriptor).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": layers,
    });
    let manifest = Manifest::parse(Bytes::from(manifest.to_string()), None, None, "test").unwrap();
    registry
        .seed_manifest(repository, if name.is_empty() { manifest.digest().as_ref() } else { name }, &manifest)
        .await;
    manifest
}

fn config(layers: &[LayerBlob], cache: Option<&str>) -> Value {
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_ref()).collect();
    let mut config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        // Shorter than there are layers, and with an empty one.
        "history": [{ "created": "2026-01-02T03:04:05Z", "created_by": "nothing", "empty_layer": true }],
    });
    if let Some(cache) = cache {
        config[INLINE_FIELD] = cache.into();
    }
    config
}

struct Ops {
    base: Step,
    run: Step,
    top: Step,
    layers: Vec<LayerBlob>,
}

fn ops(bench: &Bench) -> Ops {
    let layers = ["one", "two", "run", "top"].map(Made::new);
    let base = Step::new("base", Does::Image(bench.worker.clone(), "base".to_owned(), layers[..2].to_vec()));
    let run = Step::new("run", Does::Layer(bench.worker.clone(), Box::new(layers[2].clone()))).on(&base);
    let top = Step::new("top", Does::Layer(bench.worker.clone(), Box::new(layers[3].clone()))).on(&run);
    Ops { base, run, top, layers: layers.into_iter().map(|made| made.blob).collect() }
}

/// testBasicInlineCacheImportExport: an image with its own cache is all that another builder needs; two requests tell it.
/// BuildKit row 89: nothing of it is pulled for that.
#[tokio::test]
async fn an_image_brings_its_own_cache() {
    let registry = registry().await;
    let bench = Bench::new(&registry).await;
    let built = ops(&bench);
    let (job, _) = bench.build(&[], &[&built.base, &built.run, &built.top]).await;
    let exported = learned(&job, &built.top.edge(), MIN).await;
    let value = inline(&exported, &built.layers).unwrap().unwrap();
    assert_eq!(inline(&exported, &built.layers).unwrap().unwrap(), value);
    let image = seed(&registry, "app", "1", &built.layers, config(&built.layers, Some(&value))).await;
    let plain = seed(&registry, "app", "", &built.layers, config(&built.layers, None)).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX,
        "manifests": [plain.descriptor(), image.descriptor(), missing()],
    });
    let index = Manifest::parse(Bytes::from(index.to_string()), None, None, "test").unwrap();
    registry.seed_manifest("app", "many", &index).await;
    seed(&registry, "app", "", &built.layers, config(&built.layers, Some(&value))).await;

    for (tag, requests) in [("1", 2), ("many", 6)] {
        registry.reset();
        let fresh = Bench::new(&registry).await;
        let import = fresh.import(&format!("type=registry,ref=registry.test/app:{tag}"));
        let again = ops(&fresh);
        let (job, result) = fresh.build(&[import], &[&again.base, &again.run, &again.top]).await;
        assert_eq!([&again.base, &again.run, &again.top].map(Step::execs), [0, 0, 0], "{tag}");
        let layers: Vec<Digest> =
            built.layers.iter().map(|layer| layer.descriptor.digest().clone()).collect();
        assert_eq!(blobs(&result), layers);
        assert_eq!(registry.counter().total(), requests, "{tag}: {:?}", registry.lines());
        let read = registry.requests(Kind::BlobGet);
        assert!(read <= 2, "configs alone: {read}");
        // And it is written again.
        let exported = learned(&job, &again.top.edge(), MIN).await;
        assert_eq!(inline(&exported, &again.layers).unwrap().unwrap(), value, "{tag}");
        drop((result, exported, job));
        fresh.close().await;
    }
    drop((exported, job));
    bench.close().await;
}

fn missing() -> Descriptor {
    Descriptor::new(media::OCI_MANIFEST.into(), 7, digest::sha256(b"missing"))
}

/// Layers are recognised by what they uncompress to, and where an image has them in another order they are named one by
/// one.
/// BuildKit row 89: by blob or by diffID.
#[tokio::test]
async fn layers_are_recognised_in_the_image() {
    let registry = registry().await;
    let bench = Bench::new(&registry).await;
    let built = ops(&bench);
    let (job, _) = bench.build(&[], &[&built.base, &built.run, &built.top]).await;
    let exported = learned(&job, &built.top.edge(), MIN).await;
    let records = |image: &[LayerBlob]| {
        let value = inline(&exported, image).unwrap()?;
        let blobs: Vec<Digest> = image.iter().map(|layer| layer.descriptor.digest().clone()).collect();
        Some(Config::parse_inline(&STANDARD.decode(value).unwrap(), &blobs, "test").unwrap().records)
    };
    // All of them compressed in another way.
    let other: Vec<LayerBlob> = built
        .layers
        .iter()
        .map(|layer| LayerBlob {
            descriptor: Descriptor::new(
                media::OCI_LAYER_ZSTD.into(),
                7,
                digest::sha256(layer.descriptor.digest().as_ref().as_bytes()),
            ),
            diff_id: layer.diff_id.clone(),
        })
        .collect();
    let tops = |image: &[LayerBlob]| -> Vec<usize> {
        let mut tops: Vec<usize> =
            records(image).unwrap().iter().flat_map(|record| &record.results).map(|top| top.layer).collect();
        tops.sort_unstable();
        tops
    };
    assert_eq!(tops(&built.layers), [2, 3]);
    assert_eq!(tops(&other), [2, 3]);
    // Something below.
    let below = Made::new("below").blob;
    let on: Vec<LayerBlob> = [below.clone()].into_iter().chain(built.layers.clone()).collect();
    let chains: Vec<Vec<usize>> = {
        let records = records(&on).unwrap();
        assert!(records.iter().all(|record| record.results.is_empty()));
        let mut chains: Vec<_> =
            records.into_iter().flat_map(|record| record.chains).map(|chain| chain.layers).collect();
        chains.sort();
        chains
    };
    assert_eq!(chains, [vec![1, 2, 3], vec![1, 2, 3, 4]]);
    // Only the lower part of it: the result of the last op is not in the image.
    assert_eq!(tops(&built.layers[..3]), [2]);
    assert!(records(&[below]).is_none());

    // Such chains are read, too.
    let value = inline(&exported, &on).unwrap().unwrap();
    seed(&registry, "app", "1", &on, config(&on, Some(&value))).await;
    let fresh = Bench::new(&registry).await;
    let import = fresh.import("type=registry,ref=registry.test/app:1");
    let again = ops(&fresh);
    let (fresh_job, result) = fresh.build(&[import], &[&again.base, &again.run, &again.top]).await;
    assert_eq!([&again.base, &again.run, &again.top].map(Step::execs), [0, 0, 0]);
    assert_eq!(result.tree().unwrap().layers().len(), 4);
    drop((result, fresh_job));
    fresh.close().await;
    drop((exported, job));
    bench.close().await;
}

/// BuildKit §6.4: a history that is shorter than the layers, diffIDs that are missing, or a cache that is none: a miss, and
/// maybe a warning.
#[tokio::test]
async fn a_config_that_lacks_something_is_a_miss() {
    let registry = registry().await;
    let bench = Bench::new(&registry).await;
    let built = ops(&bench);
    let (job, _) = bench.build(&[], &[&built.base, &built.run, &built.top]).await;
    let exported = learned(&job, &built.top.edge(), MIN).await;
    let value = inline(&exported, &built.layers).unwrap().unwrap();
    let whole = config(&built.layers, Some(&value));
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut config = whole.clone();
        change(&mut config);
        config
    };
    for (at, (config, warned)) in [
        (changed(&|config| config["rootfs"]["diff_ids"] = json!([])), false),
        (changed(&|config| config["rootfs"] = Value::Null), false),
        (changed(&|config| config[INLINE_FIELD] = "".into()), false),
        (changed(&|config| config[INLINE_FIELD] = "*".into()), true),
        (changed(&|config| config[INLINE_FIELD] = STANDARD.encode("[{}]").into()), true),
        (changed(&|config| config[INLINE_FIELD] = 7.into()), true),
    ]
    .into_iter()
    .enumerate()
    {
        seed(&registry, "odd", &format!("{at}"), &built.layers, config).await;
        let fresh = Bench::new(&registry).await;
        let import = fresh.import(&format!("type=registry,ref=registry.test/odd:{at}"));
        let again = ops(&fresh);
        let (job, _) = fresh.build(&[import], &[&again.base, &again.run, &again.top]).await;
        assert_eq!([&again.base, &again.run, &again.top].map(Step::execs), [1, 1, 1], "{at}");
        assert_eq!(!crate::support::warnings(&job).is_empty(), warned, "{at}");
        drop(job);
        fresh.close().await;
    }
    drop((exported, job));
    bench.close().await;
}
