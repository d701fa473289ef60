//! Caches that BuildKit exported, imported here: nothing runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lazyblob::remote::testing::TestRegistry;
use lazyblob::remote::{Manifest, media};
use serde_json::Value;

use super::support::vertices;
use crate::support::Desk;

/// The images and caches, an OCI layout without the layers of the base image.
fn layout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/buildkit-keys")
}

/// The definitions they were made from.
fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/worker/tests/fixtures/keys")
}

fn blob(digest: &str) -> Option<Vec<u8>> {
    std::fs::read(layout().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).ok()
}

/// What is called what in the layout.
fn tags() -> BTreeMap<String, Value> {
    let index: Value = serde_json::from_slice(&std::fs::read(layout().join("index.json")).unwrap()).unwrap();
    let of = |entry: &Value| {
        let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
        (name.to_owned(), entry.clone())
    };
    index["manifests"].as_array().unwrap().iter().map(of).collect()
}

/// A registry that has the images' manifests and configs, and no layer: whoever asks for one fails.
async fn registry() -> TestRegistry {
    let registry = TestRegistry::start().await;
    let mut waiting: Vec<(String, String, Value)> = tags()
        .into_iter()
        .filter(|(tag, _)| !tag.starts_with("cache-"))
        .map(|(tag, entry)| {
            let (repository, tag) = tag.rsplit_once('-').unwrap();
            (repository.to_owned(), tag.to_owned(), entry)
        })
        .collect();
    while let Some((repository, name, entry)) = waiting.pop() {
        let bytes = blob(entry["digest"].as_str().unwrap()).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let kind = entry["mediaType"].as_str().unwrap();
        for child in document["manifests"].as_array().into_iter().flatten() {
            if let Some(bytes) = blob(child["digest"].as_str().unwrap()) {
                let kind = child["mediaType"].as_str();
                let manifest = Manifest::parse(bytes.into(), kind, None, "a fixture").unwrap();
                let config = manifest.config().unwrap().digest().to_string();
                registry.seed_blob(&repository, blob(&config).unwrap()).await;
                registry.seed_manifest(&repository, child["digest"].as_str().unwrap(), &manifest).await;
            }
        }
        let manifest = Manifest::parse(bytes.into(), Some(kind), None, "a fixture").unwrap();
        if kind != media::OCI_INDEX {
            let config = manifest.config().unwrap().digest().to_string();
            registry.seed_blob(&repository, blob(&config).unwrap()).await;
        }
        registry.seed_manifest(&repository, &name, &manifest).await;
    }
    registry.reset();
    registry
}

/// The local directory that two of the definitions name, as it was.
fn context(desk: &Desk) -> String {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let at = |name: &str| desk.path("ctx").join(name);
    std::fs::create_dir_all(at("d")).unwrap();
    for (name, text, mode) in [("fhard", "one", 0o644), ("f2", "two", 0o755), ("d/x", "x\n", 0o644)] {
        std::fs::write(at(name), text).unwrap();
        std::fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    }
    std::fs::hard_link(at("fhard"), at("f1")).unwrap();
    symlink("f1", at("fl")).unwrap();
    std::fs::set_permissions(at("d"), Permissions::from_mode(0o750)).unwrap();
    format!("--local ctx={}", at("").display())
}

/// For each definition that BuildKit exported a cache of: a build that imports this cache runs nothing, and reads nothing but
/// manifests and configs, of the cache and of the images.
#[tokio::test]
async fn a_build_with_buildkits_own_cache_runs_nothing() {
    let registry = registry().await;
    let mut built = 0;
    // A command that may write to a local directory has no record: BuildKit runs it each time, too.
    for tag in tags().into_keys().filter(|tag| tag != "cache-execlocalrw") {
        let Some(name) = tag.strip_prefix("cache-") else { continue };
        let desk = Desk::new();
        let hosts =
            format!("[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n", registry.host());
        desk.file("hosts/localhost_5200_/hosts.toml", &hosts);
        let text = std::fs::read_to_string(definitions().join(format!("{name}.llb.b64"))).unwrap();
        let definition = BASE64_STANDARD.decode(text.replace('\n', "")).unwrap();
        std::fs::write(desk.path("definition"), definition).unwrap();
        registry.reset();
        let words = format!(
            "--hosts-dir {} --no-upstream build --stats --progress json {} --platform linux/amd64 \
             --import-cache type=local,src={},tag={tag} definition",
            desk.path("hosts").display(),
            context(&desk),
            layout().display()
        );
        let ran = desk.run(&words).await.exits(0);
        let vertices = vertices(&ran);
        // A directory is read each time: its content is the key.
        let others = vertices.iter().filter(|(vertex, _)| !vertex.contains("local://"));
        assert!(
            others.clone().count() > 0 && others.clone().all(|(_, state)| state == "cached"),
            "{name}: {vertices:#?}\n{}",
            ran.stderr
        );
        let lines = registry.lines();
        let is_config = |line: &String| {
            let digest = line.rsplit_once("/blobs/").map(|(_, rest)| rest.split(['?', ' ']).next().unwrap());
            digest.is_some_and(|digest| blob(digest).is_some_and(|bytes| bytes.starts_with(b"{")))
        };
        assert!(
            lines.iter().all(|line| line.starts_with("GET /v2/")
                && (line.contains("/manifests/") || is_config(line))
                && line.ends_with(" 200")),
            "{name}: {lines:#?}"
        );
        assert!(lines.len() <= 3, "{name}: {lines:#?}");
        for entry in std::fs::read_dir(desk.path("root/store/blobs/sha256")).into_iter().flatten() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(bytes.starts_with(b"{"), "{name}: a layer was fetched");
        }
        built += 1;
    }
    assert_eq!(built, 34, "definitions with a cache that need no other server");
}
