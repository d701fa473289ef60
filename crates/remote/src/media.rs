//! Media types: what a descriptor's child is, decided by its type alone (unknown types included).

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The two bytes `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// BuildKit's cache config.
pub const BUILDKIT_CACHE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// Docker's manifest schema 1, which nobody should write any more.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same, signed.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// What we accept as a manifest; without this header distribution answers 404 for OCI types. Schema 1 is named so
/// that it can be refused by name.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1, \
    */*;q=0.1";

/// What a descriptor points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An image manifest or an artifact's: config and layers.
    Manifest,
    /// An index or manifest list: more descriptors.
    Index,
    /// Docker schema 1, refused by name.
    Schema1,
    /// Bytes: layers, configs, anything else.
    Blob,
}

/// The class of a media type; parameters do not matter.
#[must_use]
pub fn class(media_type: &str) -> Class {
    match bare(media_type) {
        OCI_MANIFEST | DOCKER_MANIFEST => Class::Manifest,
        OCI_INDEX | DOCKER_LIST => Class::Index,
        DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED => Class::Schema1,
        _ => Class::Blob,
    }
}

/// A media type without its parameters.
#[must_use]
pub fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether the type is a layer that must not be distributed (image-spec, "Non-Distributable Layers").
#[must_use]
pub fn is_foreign(media_type: &str) -> bool {
    let media_type = bare(media_type);
    media_type.contains(".nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}
