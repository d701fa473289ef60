//! The fixtures.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lazyblob_remote::{Digest, Reference, digest};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys")
}

pub(crate) fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All definitions, by name.
pub(crate) fn names() -> Vec<String> {
    let files =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.strip_suffix(".llb.b64")?.to_owned())).collect();
    names.sort();
    assert_eq!(names.len(), 41);
    names
}

pub(crate) fn definition(name: &str) -> Vec<u8> {
    let text = String::from_utf8(file(&format!("{name}.llb.b64"))).unwrap();
    STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// An image that definitions name.
pub(crate) struct Image {
    /// What the name stands for.
    pub(crate) root: Digest,
    pub(crate) config: Vec<u8>,
}

impl Image {
    pub(crate) fn of(reference: &Reference) -> Self {
        let name = reference.repository().path();
        let (root, image) = match name {
            "idx" => (file("idx.index.json"), "arm"),
            name => (file(&format!("{name}.manifest.json")), name),
        };
        Self { root: digest::sha256(&root), config: file(&format!("{image}.config.json")) }
    }
}
