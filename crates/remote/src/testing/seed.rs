//! Images made in the test.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;

use crate::digest::sha256;
use crate::manifest::Manifest;
use crate::media;

/// An image manifest with everything it names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Manifest,
    /// Config first, then the layers bottom first.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl Image {
    /// An image of layers that are taken as they are, with a config that names them as uncompressed.
    #[must_use]
    pub fn of(layers: &[Bytes]) -> Self {
        Self::with(layers, media::OCI_LAYER, &json!({}))
    }

    /// An image of layers of one media type, whose manifest has further fields (`annotations`, `subject` …).
    #[must_use]
    pub fn with(layers: &[Bytes], layer_type: &str, fields: &serde_json::Value) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| sha256(layer).to_string()).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Bytes::from(config.to_string());
        let mut blobs = vec![(descriptor(media::OCI_CONFIG, &config), config)];
        blobs.extend(layers.iter().map(|layer| (descriptor(layer_type, layer), layer.clone())));
        let described = |(descriptor, _): &(Descriptor, Bytes)| descriptor.clone();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": described(&blobs[0]),
            "layers": blobs[1..].iter().map(described).collect::<Vec<_>>(),
        });
        if let (Some(manifest), Some(fields)) = (manifest.as_object_mut(), fields.as_object()) {
            manifest.extend(fields.clone());
        }
        let manifest = Manifest::parse(Bytes::from(manifest.to_string()), None, None, "the test");
        Self { manifest: manifest.expect("a manifest made here is one"), blobs }
    }

    /// The config's descriptor.
    #[must_use]
    pub fn config(&self) -> &Descriptor {
        &self.blobs[0].0
    }

    /// The layers' descriptors, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs[1..].iter().map(|(descriptor, _)| descriptor)
    }

    /// An index of manifests; `platforms` are architectures, one for each manifest.
    #[must_use]
    pub fn index(manifests: &[&Manifest], platforms: &[&str]) -> Manifest {
        let entries: Vec<_> = manifests
            .iter()
            .zip(platforms)
            .map(|(manifest, architecture)| {
                let mut entry = json!(manifest.descriptor());
                entry["platform"] = json!({ "os": "linux", "architecture": architecture });
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries });
        let index = Manifest::parse(Bytes::from(index.to_string()), None, None, "the test");
        index.expect("an index made here is one")
    }
}

/// A gzip of a tar with one file, and the diffID of that tar as text.
#[must_use]
pub fn gzip_layer(path: &str, content: &[u8]) -> (Bytes, String) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, path, content).expect("a tar in memory takes a file");
    let tar = archive.into_inner().expect("a tar in memory ends");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).expect("memory takes bytes");
    (Bytes::from(gzip.finish().expect("memory takes bytes")), sha256(&tar).to_string())
}

fn descriptor(media_type: &str, bytes: &Bytes) -> Descriptor {
    Descriptor::new(MediaType::from(media_type), bytes.len() as u64, sha256(bytes))
}
