//! How an image is made of results.

use lazyblob_cache::layer::{Compression, Family};

use crate::llb::pb::Platform;

/// How an image is made.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageOptions {
    /// Whose media types it gets (`oci-mediatypes`). Where nothing is said: OCI's, unless the base's manifest can stay as
    /// it is.
    pub family: Option<Family>,
    /// How layers are compressed that have no blob yet; with `force_compression`, all of them.
    pub compression: Compression,
    /// Blobs that are compressed in another way are compressed anew. What is so already stays what it is, lazy ones too.
    pub force_compression: bool,
    /// Layers that must not be distributed stay what they are, with the addresses they have: their bytes do not move.
    /// Otherwise they become layers like any other (BuildKit's `prefer-nondist-layers`).
    pub prefer_nondist_layers: bool,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: when the image was made, and the latest time of its history.
    pub epoch: Option<u64>,
    /// Files of layers above the base get no later time than `epoch`.
    pub rewrite_timestamp: bool,
    /// What manifests say besides.
    pub annotations: Vec<Annotation>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            family: None,
            compression: Compression::GZIP,
            force_compression: false,
            prefer_nondist_layers: false,
            epoch: None,
            rewrite_timestamp: false,
            annotations: Vec::new(),
        }
    }
}

/// Where an annotation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Into manifests.
    Manifest,
    /// Into the index of several.
    Index,
    /// Into what the index says of its manifests.
    ManifestDescriptor,
}

/// An annotation (image-spec annotations.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Where it goes.
    pub place: Place,
    /// The platform whose manifest it is of; all of them where nothing is said.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}
