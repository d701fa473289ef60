//! Images, written to layouts by hand so that what is read is not what our own writer makes of it.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use lazyblob::remote::digest::sha256;
use lazyblob::remote::testing::{Image, gzip_layer};
use lazyblob::remote::{Descriptor, Manifest, media};
use serde_json::json;

use super::Desk;

/// Caches that BuildKit exported, without the layer of their base image.
pub(crate) fn buildkit_caches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/buildkit-caches")
}

/// An image of so many layers, a file in each; `salt` makes it another one.
pub(crate) fn image(layers: usize, salt: &str) -> Image {
    sized_image(layers, 512, salt)
}

/// An image of layers with so many bytes, which no compression makes fewer.
pub(crate) fn sized_image(layers: usize, size: usize, salt: &str) -> Image {
    let (blobs, diff_ids): (Vec<_>, Vec<_>) = (0..layers)
        .map(|at| {
            let name = format!("{salt}-{at}");
            gzip_layer(&format!("srv/{name}"), &noise(&name, size))
        })
        .unzip();
    let mut image = Image::with(&blobs, media::OCI_LAYER_GZIP, &json!({}));
    // What is to be unpacked needs the diffIDs of its layers, not the digests of their compressed bytes.
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = Bytes::from(config.to_string());
    let described = Descriptor::new(media::OCI_CONFIG.into(), config.len() as u64, sha256(&config));
    image.blobs[0] = (described, config);
    let described: Vec<_> = image.blobs.iter().map(|(descriptor, _)| descriptor).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": described[0], "layers": &described[1..],
    });
    image.manifest = Manifest::parse(Bytes::from(manifest.to_string()), None, None, "the test").unwrap();
    image
}

/// Bytes that are the same for a seed every time and repeat nothing: xorshift, begun at the seed's FNV hash.
fn noise(seed: &str, size: usize) -> Vec<u8> {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = seed.bytes().fold(0xcbf2_9ce4_8422_2325, hash) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..size).map(|_| next()).collect()
}

/// A layout on a desk, as bare files.
pub(crate) struct Written {
    root: PathBuf,
    entries: Vec<serde_json::Value>,
}

impl Written {
    /// An empty one.
    pub(crate) fn at(desk: &Desk, name: &str) -> Self {
        let root = desk.path(name);
        std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { root, entries: Vec::new() }
    }

    /// Stores a blob and returns its digest.
    pub(crate) fn blob(&self, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        std::fs::write(self.root.join("blobs/sha256").join(digest.digest()), bytes).unwrap();
        digest.to_string()
    }

    /// An image with all its blobs under no name of its own.
    pub(crate) fn unnamed(self, image: &Image) -> Self {
        for (_, blob) in &image.blobs {
            self.blob(blob);
        }
        self.blob(image.manifest.bytes());
        self
    }

    /// A manifest under a tag.
    pub(crate) fn name(mut self, tag: &str, manifest: &Manifest) -> Self {
        self.blob(manifest.bytes());
        let mut entry = json!(manifest.descriptor());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        self.entries.push(entry);
        let index = json!({"schemaVersion": 2, "manifests": self.entries});
        std::fs::write(self.root.join("index.json"), index.to_string()).unwrap();
        self
    }

    /// An image with all its blobs under a tag.
    pub(crate) fn image(self, tag: &str, image: &Image) -> Self {
        self.unnamed(image).name(tag, &image.manifest)
    }
}
