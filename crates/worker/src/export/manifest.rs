//! Manifests and indexes, to the same bytes every time.

use std::collections::BTreeMap;

use bytes::Bytes;
use lazyblob_cache::layer::Family;
use lazyblob_remote::{Descriptor, Manifest, digest, media};
use serde_json::{Map, Value, json};

use super::layers::described;
use super::options::{Annotation, Place};
use crate::error::Result;
use crate::llb::pb::Platform;

/// The media types of a family: config, manifest, index.
pub(super) fn types(family: Family) -> (&'static str, &'static str, &'static str) {
    match family {
        Family::Oci => (media::OCI_CONFIG, media::OCI_MANIFEST, media::OCI_INDEX),
        Family::Docker => (media::DOCKER_CONFIG, media::DOCKER_MANIFEST, media::DOCKER_LIST),
    }
}

/// The annotations that go to `place` for `platform`, in the order of their keys.
pub(super) fn annotations(
    all: &[Annotation],
    place: Place,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let is_for = |annotation: &&Annotation| {
        let fits =
            platform.is_none() || annotation.platform.is_none() || annotation.platform.as_ref() == platform;
        annotation.place == place && fits
    };
    // What is said of one platform goes before what is said of all.
    let (general, particular): (Vec<_>, Vec<_>) =
        all.iter().filter(is_for).partition(|annotation| annotation.platform.is_none());
    let said = general.into_iter().chain(particular);
    said.map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
}

/// The manifest of one platform.
pub(super) fn manifest(
    family: Family,
    config: &Bytes,
    layers: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Manifest> {
    let (config_type, manifest_type, _) = types(family);
    let config = Descriptor::new(config_type.into(), config.len() as u64, digest::sha256(config));
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": described(&config),
        "layers": layers.iter().map(described).collect::<Vec<_>>(),
    });
    annotate(&mut manifest, annotations);
    read(&manifest, manifest_type)
}

/// The index of several platforms.
pub(super) fn index(
    family: Family,
    manifests: &[(&Platform, &Manifest)],
    annotated: &[Annotation],
) -> Result<Manifest> {
    let (_, _, index_type) = types(family);
    let entries = manifests.iter().map(|(platform, manifest)| {
        let mut entry = described(manifest.descriptor());
        annotate(&mut entry, &annotations(annotated, Place::ManifestDescriptor, Some(platform)));
        entry["platform"] = named(platform);
        entry
    });
    let mut index = json!({
        "schemaVersion": 2,
        "mediaType": index_type,
        "manifests": entries.collect::<Vec<_>>(),
    });
    annotate(&mut index, &annotations(annotated, Place::Index, None));
    read(&index, index_type)
}

fn annotate(value: &mut Value, annotations: &BTreeMap<String, String>) {
    if !annotations.is_empty() {
        value["annotations"] = json!(annotations);
    }
}

/// A platform as an index has it (image-spec image-index.md).
fn named(platform: &Platform) -> Value {
    let Platform { architecture, os, variant, os_version, os_features } = platform;
    let mut named = Map::new();
    named.insert("architecture".to_owned(), json!(architecture));
    named.insert("os".to_owned(), json!(os));
    for (key, value) in [("os.version", os_version), ("variant", variant)] {
        if !value.is_empty() {
            named.insert(key.to_owned(), json!(value));
        }
    }
    if !os_features.is_empty() {
        named.insert("os.features".to_owned(), json!(os_features));
    }
    Value::Object(named)
}

fn read(manifest: &Value, media_type: &str) -> Result<Manifest> {
    let bytes = Bytes::from(manifest.to_string());
    Ok(Manifest::parse(bytes, Some(media_type), None, "the image being exported")?)
}
