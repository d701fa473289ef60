//! BuildKit's configs and manifests, to the byte.

use std::fs;
use std::path::PathBuf;

use lazyblob_remote::buildcache::{Config, Form, Names, assemble};
use lazyblob_remote::{Digest, Manifest, media};

fn at(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What BuildKit exported from each definition of the fixtures.
pub(crate) fn exported() -> Vec<(String, Vec<u8>)> {
    let folder = at("tests/fixtures/keys");
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = folder.join(&name);
            Some((name.strip_suffix(".cache.json")?.to_owned(), fs::read(path).unwrap()))
        })
        .collect();
    found.sort();
    found
}

/// A blob of the caches that BuildKit exported from a Dockerfile.
pub(crate) fn blob(digest: &Digest) -> Option<Vec<u8>> {
    let path = format!("../../tests/fixtures/buildkit-caches/blobs/sha256/{}", digest.digest());
    fs::read(at(&path)).ok()
}

/// The manifest that has this name among them.
pub(crate) fn manifest(name: &str) -> Manifest {
    let index = fs::read(at("../../tests/fixtures/buildkit-caches/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let is = |entry: &&serde_json::Value| entry["annotations"]["org.opencontainers.image.ref.name"] == name;
    let entry = index["manifests"].as_array().unwrap().iter().find(is).unwrap();
    let digest: Digest = entry["digest"].as_str().unwrap().parse().unwrap();
    let media_type = entry["mediaType"].as_str();
    Manifest::parse(blob(&digest).unwrap().into(), media_type, Some(&digest), name).unwrap()
}

pub(crate) const CACHES: [&str; 5] =
    ["cache-min-true", "cache-max-true", "cache-min-false", "cache-max-false", "cache-branch-b"];

/// The config and the layers of a cache in either form.
pub(crate) fn parts(cache: &Manifest) -> (lazyblob_remote::Descriptor, Vec<lazyblob_remote::Descriptor>) {
    let all: Vec<_> =
        cache.config().into_iter().chain(cache.layers()).chain(cache.entries()).cloned().collect();
    let is_config =
        |child: &lazyblob_remote::Descriptor| child.media_type().as_ref() == media::BUILDKIT_CACHE;
    let config = all.iter().find(|child| is_config(child)).unwrap().clone();
    (config, all.into_iter().filter(|child| !is_config(child)).collect())
}

/// BuildKit rows 83, 84: every config that BuildKit wrote is written the same, from whatever order.
#[test]
fn configs_are_read_and_written_the_same() {
    let mut configs = exported();
    assert_eq!(configs.len(), 40);
    for name in CACHES {
        let (config, _) = parts(&manifest(name));
        configs.push((name.to_owned(), blob(config.digest()).unwrap()));
    }
    for (name, bytes) in configs {
        let config = Config::parse(&bytes, &name).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(config.to_json().unwrap(), text, "{name}");
        // Whatever order it was in before.
        let mut shuffled = config.clone();
        let last = shuffled.records.len() - 1;
        shuffled.records.reverse();
        for input in shuffled.records.iter_mut().flat_map(|record| record.inputs.iter_mut()) {
            input.iter_mut().for_each(|way| way.link = last - way.link);
            input.reverse();
        }
        let last = shuffled.layers.len().saturating_sub(1);
        shuffled.layers.reverse();
        shuffled.layers.iter_mut().for_each(|layer| layer.parent = layer.parent.map(|parent| last - parent));
        let tops = shuffled.records.iter_mut().flat_map(|record| record.results.iter_mut());
        tops.for_each(|top| top.layer = last - top.layer);
        assert_eq!(shuffled.sorted().to_json().unwrap(), text, "{name}, from another order");
    }
}

/// BuildKit row 87: both forms, to the byte, and the names Docker has for them.
#[test]
fn manifests_are_assembled_the_same() {
    for name in CACHES {
        let cache = manifest(name);
        let (config, layers) = parts(&cache);
        let form = if cache.is_index() { Form::Index } else { Form::Manifest };
        let again = assemble(form, Names::Oci, &config, &layers).unwrap();
        assert_eq!(again.bytes(), cache.bytes(), "{name}");
        let docker = assemble(Form::Index, Names::Docker, &config, &layers).unwrap();
        assert_eq!(docker.media_type(), media::DOCKER_LIST);
        assert!(docker.is_build_cache());
        assert!(assemble(Form::Manifest, Names::Docker, &config, &layers).is_err());
    }
}

/// The cache in an image's config is written as BuildKit writes it.
/// BuildKit row 89: to the byte.
#[test]
fn an_image_s_own_cache_is_read_and_written_the_same() {
    use base64::Engine as _;
    let image = manifest("app-inline");
    let config = blob(image.config().unwrap().digest()).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let records = config["moby.buildkit.cache.v0"].as_str().unwrap();
    let records = base64::engine::general_purpose::STANDARD.decode(records).unwrap();
    let layers: Vec<Digest> = image.layers().iter().map(|layer| layer.digest().clone()).collect();
    let config = Config::parse_inline(&records, &layers, "app-inline").unwrap();
    assert_eq!(config.records_to_json().unwrap().into_bytes(), records);
    assert_eq!(config.stack(2), [0, 1, 2]);
}

/// BuildKit row 83: an absent parent is the first layer, and -1 is none.
#[test]
fn an_absent_parent_is_the_first_layer() {
    let layer =
        |fill: char, rest: &str| format!(r#"{{"blob":"sha256:{}"{rest}}}"#, fill.to_string().repeat(64));
    let text = format!(r#"{{"layers":[{},{}]}}"#, layer('a', r#","parent":-1"#), layer('b', ""));
    let config = Config::parse(text.as_bytes(), "test").unwrap();
    assert_eq!(config.layers.iter().map(|layer| layer.parent).collect::<Vec<_>>(), [None, Some(0)]);
    assert_eq!(config.to_json().unwrap(), text);
}
