//! What is imported hits, and is not pulled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use lazyblob_remote::buildcache::{Config, Form, Names, assemble};
use lazyblob_remote::keychain::{Credential, Fixed};
use lazyblob_remote::request::Kind;
use lazyblob_remote::server::Action;
use lazyblob_remote::testing::{Effect, TestRegistry, TokenServer, Toxic};
use lazyblob_remote::{Access, Descriptor, Digest, Manifest, digest, media};
use lazyblob_worker::cache_io::Imported;
use lazyblob_worker::llb::{Definition, Op};
use lazyblob_worker::session::Session;
use serde_json::Value;

use crate::configs;
use crate::ops::{Does, Made, Step};
use crate::support::{Bench, HOST, MAX, blobs, learned, registry, registry_of, warnings};

/// Puts a config into a registry as the cache `REPOSITORY:1`, with layers whose blobs nobody has.
async fn seed(registry: &TestRegistry, repository: &str, config: &[u8], form: Form) -> Manifest {
    let parsed = Config::parse(config, repository).unwrap();
    let layers: Vec<Descriptor> = parsed
        .layers
        .iter()
        .map(|layer| {
            let mut blob = Descriptor::new(media::OCI_LAYER_GZIP.into(), 1000, layer.blob.clone());
            let of = digest::sha256(layer.blob.as_ref().as_bytes()).to_string();
            blob.set_annotations(Some([("containerd.io/uncompressed".to_owned(), of)].into()));
            blob
        })
        .collect();
    let stored = registry.seed_blob(repository, Bytes::copy_from_slice(config)).await;
    let config = Descriptor::new(media::BUILDKIT_CACHE.into(), stored.size(), stored.digest().clone());
    let manifest = assemble(form, Names::Oci, &config, &layers).unwrap();
    registry.seed_manifest(repository, "1", &manifest).await;
    manifest
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The ops of a definition, with the digests that BuildKit had for them; those with inputs are not to be run.
fn ops_of(name: &str) -> (Vec<Step>, lazyblob_solver::Edge) {
    let text = String::from_utf8(fixture(&format!("{name}.llb.b64"))).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.split_whitespace().collect::<String>())
        .unwrap();
    let definition = Definition::read(&bytes).unwrap();
    let expect: Value = serde_json::from_slice(&fixture(&format!("{name}.expect.json"))).unwrap();
    let parsed =
        |text: &Value| text.as_str().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap());
    let ops = definition.vertices().iter().zip(expect["ops"].as_array().unwrap());
    let ops = ops.map(|(vertex, op)| {
        let keys: Vec<Digest> = match op["cacheMap"].as_array().unwrap().as_slice() {
            [Value::String(random)] if random == "random" => vec![lazyblob_solver::testing::random(name)],
            keys => keys.iter().map(|key| key.as_str().unwrap().parse().unwrap()).collect(),
        };
        let does = if vertex.inputs.is_empty() { Does::Scratch } else { Does::Nothing };
        let step = Step::new(&vertex.name.name, does).called(vertex.digest()).keys(keys);
        let deps = vertex.inputs.iter().zip(op["deps"].as_array().unwrap());
        deps.fold(step, |step, (input, dep)| {
            let content = dep["contentDigest"].as_str().and_then(|_| parsed(&dep["contentDigest"]));
            step.input(input.clone(), parsed(&dep["selector"]), content)
        })
    });
    assert!(!definition.vertices().iter().any(|vertex| matches!(vertex.op, Op::Build)), "{name}");
    (ops.collect(), definition.result().clone())
}

/// What was asked of a registry, by kind; nothing that was not.
fn asked(registry: &TestRegistry) -> BTreeMap<&'static str, u64> {
    let counts = registry.counter().snapshot().into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(kind, count)| (kind.name(), count)).collect()
}

const TWO: [(&str, u64); 2] = [("blob_get", 1), ("manifest_get", 1)];

/// Row 96: every cache that BuildKit exported is all that its definition needs: nothing runs, and but for the manifest and
/// the config nothing is asked for.
/// BuildKit row 83: in whatever form it was exported.
#[tokio::test]
async fn every_cache_of_buildkit_s_hits_and_nothing_is_pulled() {
    let mut hit = 0;
    for (at, (name, config)) in configs::exported().into_iter().enumerate() {
        // A build within the build; and one whose last op cannot be recognised, for it writes to a local directory.
        if ["nested", "execlocalrw"].contains(&name.as_str()) {
            continue;
        }
        let registry = registry().await;
        let form = if at % 2 == 0 { Form::Manifest } else { Form::Index };
        seed(&registry, "cache", &config, form).await;
        registry.reset();
        let bench = Bench::new(&registry).await;
        let import = bench.import("type=registry,ref=registry.test/cache:1");
        let (ops, edge) = ops_of(&name);
        let job = bench.job(None, &[import], &ops.iter().collect::<Vec<_>>()).await;
        assert_eq!(asked(&registry), BTreeMap::new(), "{name}: before anybody asks");
        let built = job.build(&edge).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(built.cached, "{name}");
        let tree = built.result.tree().unwrap();
        assert!(tree.is_lazy().await.unwrap());
        assert_eq!(asked(&registry), BTreeMap::from(TWO), "{name}");
        assert_eq!(warnings(&job), Vec::<String>::new(), "{name}");
        assert!(tree.record().description.starts_with("imported from registry.test/cache:1"));
        drop((built, job));
        bench.close().await;
        hit += 1;
    }
    assert_eq!(hit, 38);
}

/// What a cache has of this key is no more than its records say: another op misses.
#[tokio::test]
async fn another_op_misses() {
    let registry = registry().await;
    let (_, config) = configs::exported().into_iter().find(|(name, _)| name == "exec1").unwrap();
    seed(&registry, "cache", &config, Form::Manifest).await;
    let bench = Bench::new(&registry).await;
    let import = bench.import("type=registry,ref=registry.test/cache:1");
    let (ops, edge) = ops_of("exec1");
    let last = ops.last().unwrap().clone().keys(vec![digest::sha256(b"another")]);
    let all: Vec<&Step> = ops[..ops.len() - 1].iter().chain([&last]).collect();
    let job = bench.job(None, &[import], &all).await;
    let error = job.build(&edge).await.err().unwrap().to_string();
    assert!(error.contains("is run"), "{error}");
    drop(job);
    bench.close().await;
}

struct Ops {
    base: Step,
    run: Step,
    copy: Step,
    layers: [Made; 4],
}

impl Ops {
    /// An image of two layers, an op on it, and another one on that.
    fn new(bench: &Bench) -> Self {
        let layers = ["one", "two", "run", "copy"].map(Made::new);
        let image = Does::Image(bench.worker.clone(), "base".to_owned(), layers[..2].to_vec());
        let base = Step::new("base", image);
        let run = Step::new("run", Does::Layer(bench.worker.clone(), Box::new(layers[2].clone()))).on(&base);
        let copy = Step::new("copy", Does::Layer(bench.worker.clone(), Box::new(layers[3].clone()))).on(&run);
        Self { base, run, copy, layers }
    }

    fn all(&self) -> [&Step; 3] {
        [&self.base, &self.run, &self.copy]
    }

    fn execs(&self) -> [usize; 3] {
        self.all().map(Step::execs)
    }
}

/// A registry with the base image and with a cache of the rest, and what is in it.
async fn exported(registry: &TestRegistry) {
    Box::pin(export(registry)).await;
}

async fn export(registry: &TestRegistry) {
    let bench = Bench::new(registry).await;
    let ops = Ops::new(&bench);
    for layer in &ops.layers[..2] {
        registry.seed_blob("base", layer.bytes.clone()).await;
    }
    let (job, _) = bench.build(&[], &ops.all()).await;
    let exported = learned(&job, &ops.copy.edge(), MAX).await;
    let report = bench.export(&exported, "type=registry,ref=registry.test/cache:1").await.unwrap();
    assert!(report.manifest.is_some() && report.dropped.is_empty(), "{report:?}");
    drop((exported, job));
    bench.close().await;
    registry.reset();
}

/// Row 96: of what is imported exactly the blobs that somebody reads are pulled.
/// BuildKit row 94: what is imported is lazy, and has handlers.
#[tokio::test]
async fn only_what_is_read_is_pulled() {
    let registry = registry().await;
    exported(&registry).await;
    let bench = Bench::new(&registry).await;
    let import = bench.import("type=registry,ref=registry.test/cache:1");
    let ops = Ops::new(&bench);
    let (job, result) = bench.build(&[import], &ops.all()).await;
    assert_eq!(ops.execs(), [0, 0, 0]);
    assert_eq!(asked(&registry), BTreeMap::from(TWO));
    let wanted: Vec<Digest> = ops.layers.iter().map(|layer| layer.digest().clone()).collect();
    assert_eq!(blobs(&result), wanted);
    // One of the four.
    let remote = result.tree().unwrap().remote(&Access::anonymous()).unwrap();
    let blob = remote.descriptors[2].clone();
    lazyblob_remote::Provider::open(&remote.provider, &blob, 0..blob.size()).await.unwrap();
    assert_eq!(registry.requests(Kind::BlobGet), 2);
    assert!(registry.lines().last().unwrap().contains(blob.digest().as_ref()));
    result.tree().unwrap().extract(&Access::anonymous()).await.unwrap();
    assert_eq!(registry.requests(Kind::BlobGet), 5);
    drop((remote, result, job));
    bench.close().await;
}

/// Row 93: a blob that is gone after the hit: the vertex runs.
#[tokio::test]
async fn a_blob_that_is_gone_after_the_hit_has_its_vertex_run() {
    let registry = registry().await;
    exported(&registry).await;
    let bench = Bench::new(&registry).await;
    let import = bench.import("type=registry,ref=registry.test/cache:1");
    let ops = Ops::new(&bench);
    let read = Step::new("read", Does::Reads(bench.worker.clone())).on(&ops.copy);
    registry
        .add(Toxic::status(404).on(Kind::BlobGet).path(format!("cache/blobs/{}", ops.layers[3].digest())));
    let all = [&ops.base, &ops.run, &ops.copy, &read];
    let (job, result) = bench.build(&[import], &all).await;
    assert_eq!(all.map(Step::execs), [0, 0, 1, 1]);
    result.tree().unwrap().extract(&Access::anonymous()).await.unwrap();
    drop((result, job));
    bench.close().await;
}

/// Row 93: a cache that is broken or cannot be reached is a miss, and one warning that names it; one that is not there is
/// none.
#[tokio::test]
async fn a_cache_that_cannot_be_read_is_a_miss_and_a_warning() {
    let registry = registry().await;
    exported(&registry).await;
    seed(&registry, "loops", br#"{"records":[]}"#, Form::Manifest).await;
    let circle =
        format!(r#"{{"records":[{{"digest":"{}","inputs":[[{{"link":0}}]]}}]}}"#, digest::sha256(b"x"));
    seed_raw(&registry, "circle", &circle).await;
    registry.add(Toxic::status(500).on(Kind::ManifestGet).path("failing"));
    let bench = Bench::new(&registry).await;
    for (name, said) in [
        ("registry.test/failing:1", Some("500")),
        ("registry.test/circle:1", Some("circles")),
        ("nowhere.test/cache:1", Some("nowhere.test")),
        ("registry.test/missing:1", None),
        // An image without a cache of its own.
        ("registry.test/image:1", None),
        ("registry.test/loops:1", None),
    ] {
        registry.seed_image("image", "1", &["a layer".into()]).await;
        let ops = Ops::new(&bench);
        // Beside one that is whole.
        let good = bench.import("type=registry,ref=registry.test/cache:1");
        let import = bench.import(&format!("type=registry,ref={name}"));
        let extra =
            Step::new(&format!("on {name}"), Does::Layer(bench.worker.clone(), Box::new(Made::new("extra"))))
                .on(&ops.copy);
        let all = [&ops.base, &ops.run, &ops.copy, &extra];
        let (job, _) = bench.build(&[import, good], &all).await;
        assert_eq!(all.map(Step::execs), [0, 0, 0, 1], "{name}");
        let warnings = warnings(&job);
        match said {
            Some(said) => {
                // Each vertex that looked has it.
                assert!(!warnings.is_empty(), "{name}");
                assert!(warnings.iter().all(|text| *text == warnings[0]), "{name}: {warnings:?}");
                assert!(warnings[0].contains(said) && warnings[0].contains(name), "{name}: {warnings:?}");
            }
            None => assert_eq!(warnings, Vec::<String>::new(), "{name}"),
        }
        drop(job);
    }
    bench.close().await;
}

async fn seed_raw(registry: &TestRegistry, repository: &str, config: &str) {
    let stored = registry.seed_blob(repository, Bytes::copy_from_slice(config.as_bytes())).await;
    let config = Descriptor::new(media::BUILDKIT_CACHE.into(), stored.size(), stored.digest().clone());
    let manifest = assemble(Form::Manifest, Names::Oci, &config, &[]).unwrap();
    registry.seed_manifest(repository, "1", &manifest).await;
}

/// Row 93: a registry that does not answer holds nobody up: another cache is heard meanwhile, and after the time that a cache
/// has for an answer the build goes on without it.
#[tokio::test]
async fn a_registry_that_hangs_is_not_waited_for() {
    let registry = registry().await;
    exported(&registry).await;
    registry.add(Toxic::new(Effect::Hang).path("hangs"));
    let bench = Bench::patient(&registry, Duration::from_secs(5)).await;
    let hanging = bench.import("type=registry,ref=registry.test/hangs:1");
    let good = bench.import("type=registry,ref=registry.test/cache:1");
    let ops = Ops::new(&bench);
    let (job, _) = bench.build(&[hanging, good], &ops.all()).await;
    assert_eq!(ops.execs(), [0, 0, 0]);
    drop(job);
    bench.close().await;

    let bench = Bench::patient(&registry, Duration::from_millis(100)).await;
    let hanging = bench.import("type=registry,ref=registry.test/hangs:1");
    let ops = Ops::new(&bench);
    let (job, _) = bench.build(&[hanging], &ops.all()).await;
    assert_eq!(ops.execs(), [1, 1, 1]);
    let warnings = warnings(&job);
    assert!(warnings.iter().all(|text| text.contains("registry.test/hangs:1")), "{warnings:?}");
    assert!(!warnings.is_empty());
    drop(job);
    bench.close().await;
}

/// An import that a build does not need is not waited for.
#[tokio::test]
async fn what_is_here_is_found_without_an_import_that_hangs() {
    let registry = registry().await;
    exported(&registry).await;
    registry.add(Toxic::new(Effect::Hang).path("hangs"));
    let bench = Bench::patient(&registry, Duration::from_secs(3600)).await;
    let ops = Ops::new(&bench);
    drop(bench.build(&[], &ops.all()).await);
    let again = Ops::new(&bench);
    let hanging = bench.import("type=registry,ref=registry.test/hangs:1");
    let built = tokio::time::timeout(Duration::from_secs(120), bench.build(&[hanging], &again.all())).await;
    drop(built.expect("it is not waited for"));
    assert_eq!(again.execs(), [0, 0, 0]);
    bench.close().await;
}

fn user(name: &str) -> Arc<Fixed> {
    Arc::new(Fixed::default().with(HOST, Credential::basic(name, "secret")))
}

/// BuildKit row 90: testRegistryCacheImportSessionRebind: what one build imported is read with the credentials of the one
/// that reads it.
#[tokio::test]
async fn bytes_are_read_with_the_credentials_of_whoever_reads() {
    let tokens = TokenServer::new(HOST).user("alice", "secret").user("bob", "secret");
    let tokens = ["base", "cache"].iter().fold(tokens, |tokens, repository| {
        tokens.allow("alice", repository, &[Action::Pull]).allow("bob", repository, &[Action::Pull])
    });
    let open = registry().await;
    exported(&open).await;
    let registry = registry_of(TestRegistry::builder().tokens(tokens)).await;
    // The same content behind a guard.
    let bench = Bench::new(&open).await;
    let source = bench.import("type=registry,ref=registry.test/cache:1");
    drop(source);
    copy(&open, &registry).await;
    bench.close().await;

    let bench = Bench::new(&registry).await;
    let alice = bench.worker.sessions().open(Session { keychain: user("alice"), ..Session::default() });
    let bob = bench.worker.sessions().open(Session { keychain: user("bob"), ..Session::default() });
    let import: Arc<Imported> =
        bench.import_as("type=registry,ref=registry.test/cache:1", &Access::new(user("alice")));
    let ops = Ops::new(&bench);
    let first = bench.job(Some(alice.id().clone()), &[import], &ops.all()).await;
    first.build(&ops.copy.edge()).await.unwrap();
    let read = Step::new("read", Does::Reads(bench.worker.clone())).on(&ops.copy);
    let second = bench.job(Some(bob.id().clone()), &[], &[&ops.base, &ops.run, &ops.copy, &read]).await;
    second.build(&ops.copy.edge()).await.unwrap();
    let users = || -> Vec<Option<String>> {
        registry.tokens().unwrap().requests().into_iter().map(|request| request.user).collect()
    };
    assert_eq!(users(), [Some("alice".to_owned())]);
    drop((first, alice));
    second.build(&read.edge()).await.unwrap();
    assert_eq!(ops.execs(), [0, 0, 0]);
    assert!(users()[1..].iter().all(|user| user.as_deref() == Some("bob")), "{:?}", users());
    assert!(users().len() > 1);
    drop((second, bob));
    bench.close().await;
}

/// Everything under `cache:1` of one registry into another.
async fn copy(from: &TestRegistry, to: &TestRegistry) {
    let client =
        crate::support::client_over(Arc::new(from.transport()), lazyblob_remote::hosts::Hosts::default());
    let name: lazyblob_remote::RepositoryName = "registry.test/cache".parse().unwrap();
    let repository =
        client.repository(&name, lazyblob_remote::Scopes::pull(&name), &Access::anonymous()).unwrap();
    let source = lazyblob_remote::registry::RegistrySource::new(repository);
    let tag = lazyblob_remote::endpoint::Name::Tag("1".to_owned());
    let manifest = lazyblob_remote::Source::manifest(&source, &tag).await.unwrap();
    for blob in manifest.child_blobs() {
        let blobs = lazyblob_remote::Source::blobs(&source);
        let settings = client.transfers().settings().clone();
        let blob =
            lazyblob_remote::transfer::Blob::new(blob.clone(), &[blobs], settings, Access::anonymous());
        to.seed_blob("cache", blob.read_whole(1 << 20).await.unwrap()).await;
    }
    to.seed_manifest("cache", "1", &manifest).await;
    client.close().await;
}

/// Where the blobs of an import were is remembered with them: they can be had after a restart, too.
#[tokio::test]
async fn where_blobs_were_is_remembered() {
    let registry = registry().await;
    exported(&registry).await;
    let bench = Bench::new(&registry).await;
    let import = bench.import("type=registry,ref=registry.test/cache:1");
    let ops = Ops::new(&bench);
    let (job, result) = bench.build(&[import], &ops.all()).await;
    let digests = blobs(&result);
    let manager = bench.worker.manager();
    let handlers = manager.handlers_from_hints(&digests, &Access::anonymous()).await.unwrap();
    assert!(digests.iter().all(|digest| handlers.has(digest)));
    assert_eq!(asked(&registry), BTreeMap::from(TWO));
    drop((result, job));
    bench.close().await;
}
