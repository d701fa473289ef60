//! An OCI layout with one image, for other programs to unpack.

use std::fs;
use std::path::Path;

use lazyblob_remote::{digest, media};
use serde_json::{Value, json};

/// Writes an image of these layers, uncompressed, as `dir:latest`.
pub(crate) fn write(dir: &Path, layers: &[Vec<u8>]) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| {
        let digest = digest::sha256(bytes);
        fs::write(dir.join("blobs/sha256").join(digest.digest()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    };
    let diff_ids: Vec<_> = layers.iter().map(|layer| digest::sha256(layer).to_string()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = json!({
        "schemaVersion": 2,
        "config": blob(media::OCI_CONFIG, &bytes(&config)),
        "layers": layers.iter().map(|layer| blob(media::OCI_LAYER, layer)).collect::<Vec<_>>(),
    });
    let mut manifest = blob(media::OCI_MANIFEST, &bytes(&manifest));
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    fs::write(dir.join("index.json"), bytes(&json!({ "schemaVersion": 2, "manifests": [manifest] })))
        .unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}
