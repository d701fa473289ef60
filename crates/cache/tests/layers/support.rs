//! A directory to apply layers to.

use std::io::Write as _;
use std::path::Path;

use flate2::write::GzEncoder;
use lazyblob_cache::Result;
use lazyblob_cache::layer::{Applied, Form, Options, apply, unpack};
use lazyblob_cache::testing::Tree;
use lazyblob_remote::digest::sha256;
use lazyblob_remote::media;
use oci_spec::image::{Descriptor, MediaType};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A directory within another one, so that a test sees what gets out.
pub(crate) struct Target {
    outside: TempDir,
}

impl Target {
    pub(crate) fn new() -> Self {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        std::fs::create_dir(&root).unwrap();
        // As umoci has a root that no layer names.
        std::fs::File::open(&root).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        Self { outside }
    }

    pub(crate) fn dir(&self) -> std::path::PathBuf {
        self.outside.path().join("root")
    }

    pub(crate) fn apply(&self, tar: &[u8], form: Form) -> Result<Applied> {
        self.apply_with(tar, &options(form))
    }

    pub(crate) fn apply_with(&self, tar: &[u8], options: &Options) -> Result<Applied> {
        apply(tar, &self.dir(), options, &CancellationToken::new())
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.dir()).unwrap()
    }

    /// Checks that there is nothing beside the root.
    pub(crate) fn assert_nothing_escaped(&self) {
        let beside: Vec<_> =
            std::fs::read_dir(self.outside.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, ["root"]);
    }
}

/// What this process can do.
pub(crate) fn options(form: Form) -> Options {
    let is_root = rustix::process::geteuid().is_root();
    if is_root { Options::privileged(form) } else { Options::unprivileged(form) }
}

/// Unpacks a blob whose diffID is that of `tar`.
pub(crate) fn unpacked(blob: &[u8], media_type: &str, tar: &[u8], dir: &Path) -> Result<Applied> {
    let (descriptor, cancel) = (descriptor(blob, media_type), CancellationToken::new());
    unpack(blob, &descriptor, &sha256(tar), dir, &options(Form::Tree), &cancel)
}

pub(crate) fn descriptor(blob: &[u8], media_type: &str) -> Descriptor {
    Descriptor::new(MediaType::from(media_type), blob.len() as u64, sha256(blob))
}

pub(crate) const GZIP: &str = media::OCI_LAYER_GZIP;
pub(crate) const ZSTD: &str = media::OCI_LAYER_ZSTD;
pub(crate) const BARE: &str = media::OCI_LAYER;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Has umoci unpack an image of these layers below `dir`; gives the root of the tree, or what umoci says.
pub(crate) fn umoci(layers: &[Vec<u8>], dir: &Path) -> Result<std::path::PathBuf, String> {
    let image = dir.join("image");
    let blobs = image.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = sha256(bytes);
        std::fs::write(blobs.join(digest.digest()), bytes).unwrap();
        digest.to_string()
    };
    let diff_ids: Vec<_> = layers.iter().map(|layer| sha256(layer).to_string()).collect();
    let described =
        |layer: &Vec<u8>| serde_json::json!({"mediaType": BARE, "digest": put(layer), "size": layer.len()});
    let layers: Vec<_> = layers.iter().map(described).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_CONFIG, "digest": put(config.as_bytes()), "size": config.len()},
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": media::OCI_MANIFEST, "digest": put(manifest.as_bytes()), "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": "it"},
        }],
    });
    std::fs::write(image.join("index.json"), index.to_string()).unwrap();
    std::fs::write(image.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let bundle = dir.join("bundle");
    let mut umoci = std::process::Command::new("umoci");
    umoci.arg("unpack").arg("--image").arg(format!("{}:it", image.display())).arg(&bundle);
    let output = umoci.output().unwrap();
    if output.status.success() {
        Ok(bundle.join("rootfs"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Whether this is root, which makes devices and gives files away; where not, `what` is noted as not run.
pub(crate) fn is_root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        lazyblob_remote::testing::not_run(what, "it wants root");
    }
    is_root
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().try_into().unwrap()
}
