//! Digests of what real trees contain are BuildKit's.

use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::future::join_all;
use lazyblob_cache::ImmutableRef;
use lazyblob_cache::layer::{Form, Options, apply};
use lazyblob_cache::testing::Tar;
use lazyblob_cache::testing::images::{Packed, image};
use lazyblob_cache::testing::tars::Header;
use lazyblob_remote::testing::{Image, not_run};
use lazyblob_remote::{Access, Descriptor, Digest, Manifest, digest, media};
use lazyblob_solver::{KeyId, LoadCx, OpError, SlowDigest as _, VertexName};
use lazyblob_worker::WorkerRef;
use lazyblob_worker::keys::{ContentSelector, OpKeys};
use lazyblob_worker::llb::{Definition, ImageOptions, image_with};
use lazyblob_worker::ops::ContentDigest;
use lazyblob_worker::session::Session;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Bench, HOST, Reads, Wanted, context, kinds, session};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of a cache that BuildKit exported.
fn exported(name: &str) -> Vec<u8> {
    std::fs::read(fixture("tests/fixtures/keys").join(name)).unwrap()
}

/// A file of what BuildKit computed of trees.
fn computed(name: &str) -> Vec<u8> {
    std::fs::read(fixture("../cache/tests/fixtures/contenthash").join(name)).unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A layer with the files of a tree, but for one whose content is not there.
fn layer(name: &str) -> Vec<u8> {
    let (records, smaller) = (json(&computed("records.json")), json(&computed("selectors.json")));
    let of = if records[name].is_array() { &records[name] } else { &smaller["trees"][name] };
    let mut tar = Tar::new();
    for record in of.as_array().unwrap() {
        let path = text(record, "path").trim_start_matches('/');
        let kind = match text(record, "type") {
            "d" => b'5',
            "l" => b'2',
            "f" if record["data"].is_string() => b'0',
            _ => continue,
        };
        if !path.is_empty() {
            let mode = u32::from_str_radix(text(record, "mode").trim_start_matches("0o"), 8).unwrap();
            let header = Header::new(kind, path).mode(mode).link(text(record, "link"));
            tar = tar.entry(&header, text(record, "data"));
        }
    }
    tar.end()
}

/// The image `odd:1` as it was when BuildKit pulled it.
fn odd() -> Image {
    let manifest = Bytes::from(exported("odd.manifest.json"));
    let config = Bytes::from(exported("odd.config.json"));
    let mut blobs = vec![(
        Descriptor::new(media::OCI_CONFIG.into(), config.len() as u64, digest::sha256(&config)),
        config,
    )];
    for name in ["odd-1.tar.gz", "odd-2.tar.gz"] {
        let bytes = Bytes::from(computed(name));
        blobs.push((
            Descriptor::new(media::OCI_LAYER_GZIP.into(), bytes.len() as u64, digest::sha256(&bytes)),
            bytes,
        ));
    }
    let manifest = Manifest::parse(manifest, None, None, "a fixture").unwrap();
    Image { manifest, blobs }
}

impl Bench {
    /// A lazy image of the registry.
    async fn image(&self, name: &str, layer_limit: Option<usize>) -> ImmutableRef {
        let options = ImageOptions { layer_limit, ..ImageOptions::default() };
        let state = image_with(format!("{HOST}/{name}:1"), options);
        let definition = state.definition(&"linux/amd64".parse().unwrap()).unwrap();
        let options = lazyblob_worker::ops::LoadOptions::default();
        let graph = lazyblob_worker::ops::graph(&self.worker, &definition, &options).unwrap();
        let built = self.solve(graph, definition.result(), Session::default()).await.unwrap();
        built.result.tree().unwrap().clone()
    }

    /// The tree of this name.
    async fn tree(&self, name: &str) -> ImmutableRef {
        match name {
            "odd" | "odd-lower" => {
                self.registry.seed("odd", "1", &odd()).await;
                let tree = self.image("odd", (name == "odd-lower").then_some(1)).await;
                // A hard link's entry says nothing of the file to us. BuildKit's apply gives the file the mode it says.
                tree.extract(&Access::anonymous()).await.unwrap();
                let key = tree.layers()[0].record().snapshot.clone().unwrap();
                let suid = self.worker.manager().snapshots().directory(&key).unwrap().join("t/suid");
                std::fs::set_permissions(&suid, Permissions::from_mode(0o644)).unwrap();
                tree
            }
            "local" => {
                let mut tar = Vec::new();
                GzDecoder::new(computed("local.tar.gz").as_slice()).read_to_end(&mut tar).unwrap();
                let dir = tempfile::tempdir().unwrap();
                let options = Options::unprivileged(Form::Tree);
                apply(tar.as_slice(), dir.path(), &options, &CancellationToken::new()).unwrap();
                let session = session(&dir.path().join("ctx"), &Arc::<Reads>::default());
                self.build(context(), session).await.unwrap()
            }
            name => {
                self.seed(name, &layer(name)).await;
                self.image(name, None).await
            }
        }
    }

    async fn seed(&self, name: &str, tar: &[u8]) {
        self.registry.seed(name, "1", &image(&[(tar.to_vec(), Packed::Gzip)])).await;
    }

    fn digest(&self, parts: &[ContentSelector]) -> ContentDigest {
        let vertex =
            VertexName { digest: lazyblob_solver::testing::digest("v"), name: "the consumer".into() };
        ContentDigest::new(&self.worker, &vertex, 3, parts)
    }

    async fn of(&self, parts: &[ContentSelector], tree: &ImmutableRef) -> Result<Digest, OpError> {
        let input = WorkerRef::new(tree.clone());
        self.digest(parts).slow_digest(&LoadCx::detached(), &input).await
    }

    /// Layers that were sent for.
    fn pulled(&self) -> usize {
        let log = self.registry.log();
        log.iter().filter(|entry| entry.method.as_str() == "GET" && entry.target.contains("/blobs/")).count()
    }
}

#[tokio::test]
async fn every_input_s_content_has_buildkit_s_digest() {
    for kind in kinds() {
        let bench = Bench::new(kind).await;
        let mut counted = 0;
        for case in json(&computed("selectors.json"))["cases"].as_array().unwrap() {
            let (name, tree) = (text(case, "name"), text(case, "tree"));
            // What it reads is not among the fixtures.
            if name == "copyimg" {
                continue;
            }
            if tree.starts_with("odd") && !rustix::process::geteuid().is_root() {
                not_run(name, "the owners of its files want root");
                continue;
            }
            let written = String::from_utf8(exported(&format!("{name}.llb.b64"))).unwrap();
            let written: String = written.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(written).unwrap();
            let definition = Definition::read(&bytes).unwrap();
            let expect = json(&exported(&format!("{name}.expect.json")));
            let input = bench.tree(tree).await;
            for (vertex, op) in definition.vertices().iter().zip(expect["ops"].as_array().unwrap()) {
                let Some(keys) = OpKeys::of(vertex, &"linux/amd64".parse().unwrap()).unwrap() else {
                    continue;
                };
                for (dep, wanted) in keys.deps.iter().zip(op["deps"].as_array().unwrap()) {
                    let Some(parts) = &dep.content else { continue };
                    let digest = bench.of(parts, &input).await.unwrap();
                    assert_eq!(digest.to_string(), text(wanted, "contentDigest"), "{kind:?} {name}");
                    assert_eq!(KeyId::of_content(&digest).to_string(), text(wanted, "slowRecord"), "{name}");
                    counted += 1;
                }
            }
        }
        assert_eq!(counted, if rustix::process::geteuid().is_root() { 28 } else { 20 });
        bench.close().await;
    }
}

#[tokio::test]
async fn what_is_known_costs_neither_a_pull_nor_a_mount() {
    for kind in kinds() {
        let bench = Bench::new(kind).await;
        let tree = bench.tree("tree").await;
        let parts = [ContentSelector::path("/d", false)];
        assert_eq!(bench.pulled(), 1, "the config alone: it is lazy");
        let ask = || bench.of(&parts, &tree);
        let asked = join_all([ask(), ask(), ask()]).await;
        let digest = asked[0].as_ref().unwrap();
        assert!(asked.iter().all(|other| other.as_ref().unwrap() == digest), "{kind:?}");
        assert_eq!(bench.pulled(), 2, "{kind:?}: its layer, once");
        drop(tree);

        // Another process knows it, though the files are not to be seen any more.
        let bench = bench.again(kind).await;
        let tree = bench.image("tree", None).await;
        let key = tree.layers()[0].record().snapshot.clone().unwrap();
        let files = bench.worker.manager().snapshots().directory(&key).unwrap();
        std::fs::remove_dir_all(files.join("d")).unwrap();
        assert_eq!(&bench.of(&parts, &tree).await.unwrap(), digest, "{kind:?}");
        // What nobody asked for before is looked for.
        assert!(bench.of(&[ContentSelector::path("/top.go", false)], &tree).await.is_ok());
        let damaged = std::fs::read_dir(files.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let kept: Vec<PathBuf> = damaged
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("content-"))
            .collect();
        assert_eq!(kept.len(), 1, "{kind:?}: one table, and nothing half written");
        std::fs::write(&kept[0], "damaged").unwrap();
        drop(tree);
        let bench = bench.again(kind).await;
        let tree = bench.image("tree", None).await;
        assert!(bench.of(&parts, &tree).await.is_err(), "{kind:?}: a damaged table is none, and /d is gone");
        drop(tree);
        bench.close().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let bench = Bench::new(Wanted::Plain).await;
    let tree = bench.tree("tree").await;
    for parts in [[ContentSelector::path("d/../nope", false)], [ContentSelector::path("/lnk/nope", true)]] {
        let said = match bench.of(&parts, &tree).await {
            Err(OpError::Failed(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said.contains("nope") && said.contains("input 3 of the consumer"), "{said}");
    }
    let nothing = WorkerRef::scratch();
    let cx = LoadCx::detached();
    let whole = bench.digest(&[ContentSelector::whole()]).slow_digest(&cx, &nothing).await.unwrap();
    let empty = digest::sha256(digest::sha256(b"").as_ref().as_bytes());
    assert_eq!(whole, empty, "one more sum over that of nothing");
    let missing = bench.digest(&[ContentSelector::path("/x", false)]).slow_digest(&cx, &nothing).await;
    assert!(matches!(missing, Err(OpError::Failed(_))), "{missing:?}");
    drop(tree);
    bench.close().await;
}

#[tokio::test]
async fn bytes_that_nobody_has_are_lost() {
    let bench = Bench::new(Wanted::Plain).await;
    let mut image = image(&[(layer("tree"), Packed::Gzip)]);
    image.blobs.truncate(1);
    bench.registry.seed("gone", "1", &image).await;
    let tree = bench.image("gone", None).await;
    let said = bench.of(&[ContentSelector::whole()], &tree).await;
    assert!(matches!(said, Err(OpError::InputLost { .. })), "{said:?}");
    drop(tree);
    bench.close().await;
}
