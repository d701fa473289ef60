//! Images of compressed layers.

use std::io::Write as _;

use bytes::Bytes;
use lazyblob_remote::testing::Image;
use lazyblob_remote::{Descriptor, Manifest, digest, media};
use serde_json::json;

/// How a layer of a test's image is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// An image of these tars, the bottom one first, for this machine's platform.
#[must_use]
pub fn image(layers: &[(Vec<u8>, Packed)]) -> Image {
    let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest::sha256(tar).to_string()).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = Bytes::from(config.to_string());
    let mut blobs = vec![(descriptor(media::OCI_CONFIG, &config), config)];
    blobs.extend(layers.iter().map(|(tar, packed)| {
        let (media_type, bytes) = pack(tar, *packed);
        (descriptor(media_type, &bytes), bytes)
    }));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": blobs[0].0,
        "layers": blobs[1..].iter().map(|(descriptor, _)| descriptor).collect::<Vec<_>>(),
    });
    let manifest = Bytes::from(manifest.to_string());
    let manifest = Manifest::parse(manifest, Some(media::OCI_MANIFEST), None, "a test's").unwrap();
    Image { manifest, blobs }
}

/// A tar compressed, with the media type that says how.
#[must_use]
pub fn pack(tar: &[u8], packed: Packed) -> (&'static str, Bytes) {
    match packed {
        Packed::Plain => ("application/vnd.oci.image.layer.v1.tar", Bytes::copy_from_slice(tar)),
        Packed::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(tar).unwrap();
            ("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish().unwrap().into())
        }
        Packed::Zstd => {
            ("application/vnd.oci.image.layer.v1.tar+zstd", zstd::encode_all(tar, 1).unwrap().into())
        }
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type.into(), bytes.len() as u64, digest::sha256(bytes))
}
