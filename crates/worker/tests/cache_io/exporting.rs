//! What is exported can be imported, and moves no byte that need not move.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lazyblob_remote::buildcache::Config;
use lazyblob_remote::request::Kind;
use lazyblob_remote::testing::{TestRegistry, Toxic};
use lazyblob_remote::{Descriptor, Digest, Manifest, media};
use lazyblob_solver::{Edge, Job};
use lazyblob_worker::WorkerRef;
use serde_json::Value;

use crate::configs::parts;
use crate::ops::{Does, Made, Step};
use crate::support::{Bench, MAX, MIN, blobs, learned, registry};

/// Two stages on one image; the last one copies from the first.
struct Ops {
    base: Step,
    run: Step,
    other: Step,
    last: Step,
    layers: [Made; 5],
}

impl Ops {
    fn new(bench: &Bench) -> Self {
        let layers = ["one", "two", "run", "other", "last"].map(Made::new);
        let layer = |at: usize| Does::Layer(bench.worker.clone(), Box::new(layers[at].clone()));
        let base =
            Step::new("base", Does::Image(bench.worker.clone(), "base".to_owned(), layers[..2].to_vec()));
        let run = Step::new("run", layer(2)).on(&base);
        // From nothing, with a file of another.
        let empty = lazyblob_remote::digest::sha256(b"files");
        let other = Step::new("other", layer(3)).on(&base);
        let last = Step::new("last", layer(4)).on(&other).input(run.edge(), Some(empty), None);
        Self { base, run, other, last, layers }
    }

    fn all(&self) -> [&Step; 4] {
        [&self.base, &self.run, &self.other, &self.last]
    }

    fn execs(&self) -> [usize; 4] {
        self.all().map(Step::execs)
    }

    fn edge(&self) -> Edge {
        self.last.edge()
    }
}

async fn with_base() -> TestRegistry {
    let registry = registry().await;
    for layer in ["one", "two"].map(Made::new) {
        registry.seed_blob("base", layer.bytes).await;
    }
    registry
}

fn asked(registry: &TestRegistry) -> BTreeMap<&'static str, u64> {
    let counts = registry.counter().snapshot().into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(kind, count)| (kind.name(), count)).collect()
}

const TO: &str = "type=registry,ref=registry.test/cache:1";

async fn built(bench: &Bench) -> (Ops, Job<WorkerRef>) {
    let ops = Ops::new(bench);
    let (job, _) = bench.build(&[], &ops.all()).await;
    assert_eq!(ops.execs(), [1, 1, 1, 1]);
    (ops, job)
}

/// testMergeOpCacheMax: the layers of a lazy image are mounted, not read; what was made here is sent once; a builder that
/// has nothing imports it, runs nothing, pulls nothing, and exports the very same.
/// BuildKit row 84: to the byte.
#[tokio::test]
async fn what_is_exported_is_all_that_another_builder_needs() {
    for image in ["true", "false"] {
        let registry = with_base().await;
        let to = format!("{TO},mode=max,image-manifest={image}");
        let bench = Bench::new(&registry).await;
        let (ops, job) = built(&bench).await;
        let report = bench.export(&learned(&job, &ops.edge(), MAX).await, &to).await.unwrap();
        assert!(report.dropped.is_empty() && report.warnings.is_empty(), "{report:?}");
        let manifest = report.manifest.unwrap();
        assert_eq!(registry.requests(Kind::BlobGet), 0);
        assert_eq!(registry.requests(Kind::Mount), 2);
        assert_eq!(registry.requests(Kind::ManifestPut), 1);
        let sent: BTreeSet<String> = registry
            .log()
            .iter()
            .filter(|entry| entry.method == "PUT" && entry.kind == Kind::Upload)
            .map(|entry| entry.target.clone())
            .collect();
        assert_eq!(sent.len(), 4, "three layers and the config: {sent:?}");
        drop(job);
        bench.close().await;

        registry.reset();
        let fresh = Bench::new(&registry).await;
        let ops = Ops::new(&fresh);
        let import = fresh.import(TO);
        let (job, result) = fresh.build(&[import], &ops.all()).await;
        assert_eq!(ops.execs(), [0, 0, 0, 0]);
        assert_eq!(asked(&registry), BTreeMap::from([("blob_get", 1), ("manifest_get", 1)]));
        let stack = [0, 1, 3, 4].map(|at| ops.layers[at].digest().clone());
        assert_eq!(blobs(&result), stack);
        registry.reset();
        let exported = learned(&job, &ops.edge(), MAX).await;
        let again = fresh.export(&exported, &to).await.unwrap();
        assert_eq!(again.manifest.as_ref().unwrap().digest(), manifest.digest(), "image-manifest={image}");
        assert!(again.unchanged);
        assert_eq!(asked(&registry), BTreeMap::from([("manifest_head", 1)]));
        drop((result, exported, job));
        fresh.close().await;
    }
}

/// Row 94: what is known to be there is neither sent nor asked for: a second export is one question, and one to another
/// name a manifest.
#[tokio::test]
async fn what_is_known_to_be_there_is_not_asked_for() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let exported = learned(&job, &ops.edge(), MAX).await;
    let first = bench.export(&exported, TO).await.unwrap();
    assert!(!first.unchanged);
    registry.reset();
    let second = bench.export(&learned(&job, &ops.edge(), MAX).await, TO).await.unwrap();
    assert_eq!(second.manifest, first.manifest);
    assert!(second.unchanged);
    assert_eq!(asked(&registry), BTreeMap::from([("manifest_head", 1)]));
    registry.reset();
    let named = bench.export(&exported, "type=registry,ref=registry.test/cache:2").await.unwrap();
    assert_eq!(named.manifest, first.manifest);
    assert_eq!(asked(&registry), BTreeMap::from([("manifest_head", 1), ("manifest_put", 1)]));

    // A registry that knows better is asked for everything.
    registry.reset();
    registry.add(Toxic::status(400).on(Kind::ManifestPut).times(1));
    let third = bench.export(&exported, "type=registry,ref=registry.test/cache:3").await.unwrap();
    assert_eq!(third.manifest, first.manifest);
    assert_eq!(registry.requests(Kind::ManifestPut), 2);
    assert_eq!(registry.requests(Kind::BlobHead), 6);
    drop((exported, job));
    bench.close().await;
}

/// The mode is the solver's business: the fewest results are those of the last op.
#[tokio::test]
async fn min_has_fewer_results_than_max() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let dir = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for (name, mode) in [("min", MIN), ("max", MAX)] {
        let to = dir.path().join(name);
        let spec = format!("type=local,dest={}", to.display());
        let report = bench.export(&learned(&job, &ops.edge(), mode).await, &spec).await.unwrap();
        let (_, config) = read(&to, report.manifest.as_ref().unwrap());
        let results = config.records.iter().filter(|record| !record.results.is_empty()).count();
        found.push((config.records.len(), results, config.layers.len()));
    }
    assert_eq!(found[1], (4, 3, 5));
    // Here every op's result is in blobs already, so that nothing has to be made for it.
    assert_eq!(found[0].0, 4);
    assert!(found[0].1 <= found[1].1);
    drop(job);
    bench.close().await;
}

fn blob(layout: &Path, digest: &Digest) -> Vec<u8> {
    fs::read(layout.join("blobs/sha256").join(digest.digest())).unwrap()
}

/// The manifest and the config of a cache in a layout.
fn read(layout: &Path, root: &Descriptor) -> (Manifest, Config) {
    let bytes = blob(layout, root.digest());
    let manifest = Manifest::parse(bytes.into(), None, Some(root.digest()), "test").unwrap();
    let (config, _) = parts(&manifest);
    let config = Config::parse(&blob(layout, config.digest()), "test").unwrap();
    (manifest, config)
}

/// testCacheExportCacheDeletedContent: a result whose blob is gone is left out, the record stays; what stood on it, too.
/// BuildKit row 85: its keys are in what is written.
#[tokio::test]
async fn a_result_whose_blob_is_gone_leaves_its_record() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let exported = learned(&job, &ops.edge(), MAX).await;
    let report = bench.export(&exported, &format!("type=local,dest={}", one.display())).await.unwrap();
    let (_, before) = read(&one, report.manifest.as_ref().unwrap());
    drop((exported, job));
    bench.close().await;

    fs::remove_file(one.join("blobs/sha256").join(ops.layers[4].digest().digest())).unwrap();
    let fresh = Bench::new(&registry).await;
    let ops = Ops::new(&fresh);
    let import = fresh.import(&format!("type=local,src={}", one.display()));
    let (job, result) = fresh.build(&[import], &ops.all()).await;
    assert_eq!(ops.execs(), [0, 0, 0, 0]);
    let exported = learned(&job, &ops.edge(), MAX).await;
    let report = fresh.export(&exported, &format!("type=local,dest={}", two.display())).await.unwrap();
    assert_eq!(report.dropped.len(), 1);
    assert!(report.dropped[0].reason.contains(ops.layers[4].digest().as_ref()), "{report:?}");
    assert!(report.warnings[0].contains("1 results are left out"), "{report:?}");
    let (manifest, after) = read(&two, report.manifest.as_ref().unwrap());
    let shape = |config: &Config| {
        let records = config.records.iter();
        records.map(|record| (record.digest.clone(), record.inputs.clone())).collect::<Vec<_>>()
    };
    assert_eq!(shape(&after), shape(&before));
    assert_eq!((before.layers.len(), after.layers.len(), manifest.layers().len()), (5, 4, 4));
    drop((result, exported, job));
    fresh.close().await;
}

/// testLocalCacheExportReset: what nothing names any more is removed, and nothing else.
/// BuildKit row 91: by tag or digest, one cache beside another.
#[tokio::test]
async fn reset_removes_what_nothing_names() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("cache");
    let at = |rest: &str| format!("type=local,dest={}{rest}", to.display());
    let kept = bench.export(&learned(&job, &ops.edge(), MAX).await, &at(",tag=kept")).await.unwrap();
    bench.export(&learned(&job, &ops.edge(), MAX).await, &at("")).await.unwrap();
    drop(job);
    let single =
        Step::new("single", Does::Layer(bench.worker.clone(), Box::new(Made::new("single")))).on(&ops.base);
    let (job, _) = bench.build(&[], &[&ops.base, &single]).await;
    let exported = learned(&job, &single.edge(), MAX).await;
    let names = || -> BTreeSet<String> {
        let entries = fs::read_dir(to.join("blobs/sha256")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let before = names();
    let report = bench.export(&exported, &at("")).await.unwrap();
    assert_eq!(names().difference(&before).count(), 3, "a layer, a config, a manifest");
    // The other tag still names the rest.
    let again = bench.export(&exported, &at(",reset=true")).await.unwrap();
    assert_eq!(again.manifest, report.manifest);
    assert!(names().is_superset(&before));
    untag(&to, "kept");
    bench.export(&exported, &at(",reset=true")).await.unwrap();
    let root = report.manifest.unwrap();
    let (manifest, _) = read(&to, &root);
    let mut expected: BTreeSet<String> =
        manifest.child_blobs().iter().map(|blob| blob.digest().digest().to_owned()).collect();
    expected.insert(root.digest().digest().to_owned());
    assert_eq!(names(), expected);
    assert!(kept.manifest.is_some());
    drop((exported, job));
    bench.close().await;
}

fn untag(layout: &Path, tag: &str) {
    let path = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries = index["manifests"].as_array_mut().unwrap();
    entries.retain(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] != tag);
    fs::write(path, index.to_string()).unwrap();
}

/// testRegistryEmptyCacheExport: what has no layers is not exported.
/// BuildKit row 88: neither a manifest nor a config is sent.
#[tokio::test]
async fn a_cache_without_layers_is_not_written() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let ops = Ops::new(&bench);
    let (job, _) = bench.build(&[], &[&ops.base]).await;
    for rest in ["", ",image-manifest=false", ",image-manifest=false,oci-mediatypes=false"] {
        let exported = learned(&job, &ops.base.edge(), MAX).await;
        let report = bench.export(&exported, &format!("{TO}{rest}")).await.unwrap();
        assert!(report.manifest.is_none());
        assert_eq!(report.warnings, ["cache export: nothing to export"]);
    }
    assert_eq!(asked(&registry), BTreeMap::new());
    drop(job);
    bench.close().await;
}

/// testZstdLocalCacheExport: all layers in another compression, where that is asked for; else they stay what they are.
#[tokio::test]
async fn layers_are_compressed_anew_only_if_asked_to() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let dir = tempfile::tempdir().unwrap();
    let exported = learned(&job, &ops.edge(), MAX).await;
    let mut seen = Vec::new();
    for (at, rest) in [
        "compression=zstd",
        "compression=zstd,force-compression=true",
        "compression=uncompressed,force-compression=true",
    ]
    .into_iter()
    .enumerate()
    {
        let to = dir.path().join(at.to_string());
        let spec = format!("type=local,dest={},image-manifest=false,{rest}", to.display());
        let report = bench.export(&exported, &spec).await.unwrap();
        let (manifest, config) = read(&to, &report.manifest.unwrap());
        assert!(manifest.is_index() && config.layers.len() == 5);
        let (_, layers) = parts(&manifest);
        let types: BTreeSet<String> = layers.iter().map(|layer| layer.media_type().to_string()).collect();
        seen.push(types);
        for layer in layers {
            let bytes = blob(&to, layer.digest());
            assert_eq!(bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), at == 1);
            // Whatever its compression, it says what it uncompresses to.
            let diff_id = &layer.annotations().as_ref().unwrap()["containerd.io/uncompressed"];
            assert!(ops.layers.iter().any(|made| made.blob.diff_id.as_ref() == diff_id));
        }
    }
    let one = |kind: &str| BTreeSet::from([kind.to_owned()]);
    assert_eq!(seen, [one(media::OCI_LAYER_GZIP), one(media::OCI_LAYER_ZSTD), one(media::OCI_LAYER)]);
    drop((exported, job));
    bench.close().await;
}

/// Docker's media types are those of the manifest and of the layers.
#[tokio::test]
async fn docker_s_names_are_of_layers_too() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let dir = tempfile::tempdir().unwrap();
    let exported = learned(&job, &ops.edge(), MAX).await;
    let spec = format!("type=local,dest={},oci-mediatypes=false", dir.path().display());
    let report = bench.export(&exported, &spec).await.unwrap();
    let (manifest, _) = read(dir.path(), &report.manifest.unwrap());
    assert_eq!(manifest.media_type(), media::DOCKER_LIST);
    let (_, layers) = parts(&manifest);
    assert!(layers.iter().all(|layer| layer.media_type().as_ref() == media::DOCKER_LAYER_GZIP));
    drop((exported, job));
    // And can be imported.
    let fresh = Bench::new(&registry).await;
    let ops = Ops::new(&fresh);
    let import = fresh.import(&format!("type=local,src={}", dir.path().display()));
    let (job, result) = fresh.build(&[import], &ops.all()).await;
    assert_eq!(ops.execs(), [0, 0, 0, 0]);
    result.tree().unwrap().extract(&lazyblob_remote::Access::anonymous()).await.unwrap();
    drop((result, job));
    fresh.close().await;
    bench.close().await;
}

/// Row 99: a target that fails is an error, and nothing has the name.
/// BuildKit row 93: with nobody who ignores it.
#[tokio::test]
async fn a_target_that_fails_is_an_error() {
    let registry = with_base().await;
    let bench = Bench::new(&registry).await;
    let (ops, job) = built(&bench).await;
    let exported = learned(&job, &ops.edge(), MAX).await;
    // The target's trouble is not that of a source: no result is dropped for it.
    for (kind, status) in [(Kind::Upload, 403), (Kind::Upload, 404), (Kind::ManifestPut, 403)] {
        registry.add(Toxic::status(status).on(kind));
        let error = bench.export(&exported, TO).await.unwrap_err().to_string();
        assert!(error.contains("registry.test"), "{error}");
        registry.behave();
    }
    let lines = registry.lines();
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("PUT") && line.contains("/manifests/") && line.ends_with("201"))
    );
    assert!(bench.export(&exported, TO).await.unwrap().manifest.is_some());
    drop((exported, job));
    bench.close().await;
}
