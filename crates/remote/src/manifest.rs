//! Manifests as raw bytes with typed views; the bytes are the truth and are never written anew.

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde::Deserialize;
use serde_json::Value;

use crate::digest;
use crate::error::{Error, Mismatch, Result, What, printable};
use crate::media::{self, Class};

/// The largest manifest we accept, in bytes (distribution-spec: clients and registries should allow 4 MiB). Larger
/// ones up to but not including 8 MiB are accepted too, since registries differ in what they count.
pub const MAX_MANIFEST: u64 = 8 * 1024 * 1024 - 1;

/// An image manifest, an index or an artifact: bytes, and the descriptor that names them.
#[derive(Clone, Debug)]
pub struct Manifest {
    descriptor: Descriptor,
    bytes: Bytes,
    view: View,
}

/// The fields that concern us; everything else stays in the bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    #[serde(default, deserialize_with = "one")]
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "many")]
    layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "many")]
    manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "one")]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: Option<serde_json::Map<String, Value>>,
}

impl Manifest {
    /// Reads a manifest. `content_type` is what the carrier said; `expected` is the digest it was asked for by;
    /// `source` is named in errors.
    ///
    /// # Errors
    /// [`Error::Integrity`] for another digest than expected; [`Error::Invalid`] for what is not a manifest or is an index
    /// as well, for a `mediaType` that contradicts the carrier, and for schema 1; [`Error::Refused`] past [`MAX_MANIFEST`].
    pub fn parse(
        bytes: Bytes,
        content_type: Option<&str>,
        expected: Option<&Digest>,
        source: &str,
    ) -> Result<Self> {
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(too_large(source, bytes.len() as u64));
        }
        let digest = digest_like(&bytes, expected, source)?;
        if let Some(expected) = expected
            && *expected != digest
        {
            let mismatch = Mismatch::Digest { expected: expected.to_string(), actual: digest.to_string() };
            return Err(Error::Integrity { what: What::new("read manifest", source), mismatch });
        }
        let view: View = serde_json::from_slice(&bytes).map_err(|error| {
            Error::invalid("read manifest", source, format_args!("not a manifest: {error}"))
        })?;
        let media_type = view.media_type_of(content_type, source)?;
        let descriptor = Descriptor::new(MediaType::from(media_type.as_str()), bytes.len() as u64, digest);
        Ok(Self { descriptor, bytes, view })
    }

    /// Media type, size and digest of this manifest.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        self.descriptor.digest()
    }

    /// The media type, as the carrier or the manifest itself says.
    #[must_use]
    pub fn media_type(&self) -> &str {
        self.descriptor.media_type().as_ref()
    }

    /// The bytes, to be stored and pushed as they are.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether this is an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        media::class(self.media_type()) == Class::Index
    }

    /// The config's descriptor.
    #[must_use]
    pub fn config(&self) -> Option<&Descriptor> {
        self.view.config.as_ref()
    }

    /// The layers, bottom first.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        &self.view.layers
    }

    /// The entries of an index, in its order. Some of them may be blobs: BuildKit's older caches are such.
    #[must_use]
    pub fn entries(&self) -> &[Descriptor] {
        &self.view.manifests
    }

    /// The manifest this one refers to (signatures, attestations).
    #[must_use]
    pub fn subject(&self) -> Option<&Descriptor> {
        self.view.subject.as_ref()
    }

    /// The artifact type: the field, else the config's media type (distribution-spec "Listing Referrers").
    #[must_use]
    pub fn artifact_type(&self) -> Option<&str> {
        let config = || self.config().map(|config| config.media_type().as_ref());
        self.view.artifact_type.as_deref().filter(|kind| !kind.is_empty()).or_else(config)
    }

    /// The annotations of the manifest itself.
    #[must_use]
    pub fn annotations(&self) -> Option<&serde_json::Map<String, Value>> {
        self.view.annotations.as_ref()
    }

    /// Whether this is one of BuildKit's caches, in either form.
    #[must_use]
    pub fn is_build_cache(&self) -> bool {
        let is_cache = |child: &Descriptor| media::bare(child.media_type().as_ref()) == media::BUILDKIT_CACHE;
        self.config().is_some_and(is_cache) || self.entries().iter().any(is_cache)
    }

    /// Children that are manifests, in order, each digest once.
    #[must_use]
    pub fn child_manifests(&self) -> Vec<&Descriptor> {
        distinct(self.children().filter(|child| {
            matches!(
                media::class(child.media_type().as_ref()),
                Class::Manifest | Class::Index | Class::Schema1
            )
        }))
    }

    /// Children that are blobs, config first, each digest once. Layers that must not be distributed are among them.
    #[must_use]
    pub fn child_blobs(&self) -> Vec<&Descriptor> {
        distinct(self.children().filter(|child| media::class(child.media_type().as_ref()) == Class::Blob))
    }

    fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.view.config.iter().chain(&self.view.layers).chain(&self.view.manifests)
    }
}

impl View {
    /// The carrier's type and the manifest's own must agree; where neither says, the shape decides.
    fn media_type_of(&self, content_type: Option<&str>, source: &str) -> Result<String> {
        let carried = content_type.map(media::bare).filter(|kind| media::class(kind) != Class::Blob);
        let own = self.media_type.as_deref().map(media::bare).filter(|kind| !kind.is_empty());
        let kind = match (carried, own) {
            (Some(carried), Some(own)) if carried != own => {
                let reason = format!("its mediaType is {} but it was delivered as {carried}", shown(own));
                return Err(Error::invalid("read manifest", source, reason));
            }
            (_, Some(own)) => own,
            (Some(carried), None) => carried,
            (None, None) if self.schema_version == Some(1) => media::DOCKER_SCHEMA1,
            (None, None) if self.config.is_some() => media::OCI_MANIFEST,
            (None, None) if !self.manifests.is_empty() => media::OCI_INDEX,
            (None, None) => {
                return Err(Error::invalid("read manifest", source, "not a manifest: it has no mediaType"));
            }
        };
        match media::class(kind) {
            Class::Schema1 => {
                let reason =
                    "Docker schema 1 manifests are not supported; push the image again with a current tool";
                Err(Error::invalid("read manifest", source, reason))
            }
            Class::Blob => {
                Err(Error::invalid("read manifest", source, format!("{} is not a manifest", shown(kind))))
            }
            Class::Manifest if self.config.is_none() => {
                Err(Error::invalid("read manifest", source, "not an image manifest: it has no config"))
            }
            // One digest must not be two images, depending on who reads it (image-spec, GHSA-77vh-xpmg-72qh).
            Class::Manifest if !self.manifests.is_empty() => {
                Err(Error::invalid("read manifest", source, "a manifest that has an index's `manifests`"))
            }
            Class::Index if self.config.is_some() || !self.layers.is_empty() => Err(Error::invalid(
                "read manifest",
                source,
                "an index that has a manifest's `config` or `layers`",
            )),
            Class::Manifest | Class::Index => Ok(kind.to_owned()),
        }
    }
}

/// Text of somebody else's as it may be shown, not endless.
fn shown(text: &str) -> String {
    printable(text).chars().take(100).collect()
}

/// An index or manifest past the limit.
pub(crate) fn too_large(source: &str, size: u64) -> Error {
    Error::refused("read manifest", source, format_args!("{size} bytes are past the limit of {MAX_MANIFEST}"))
}

/// The digest of `bytes` with the algorithm of `expected`, sha256 where nothing is expected.
fn digest_like(bytes: &[u8], expected: Option<&Digest>, source: &str) -> Result<Digest> {
    let Some(expected) = expected else { return Ok(digest::sha256(bytes)) };
    let unsupported = || {
        let reason = format!("digest algorithm {} is not supported", expected.algorithm());
        Error::invalid("read manifest", source, reason)
    };
    let mut hasher = digest::Hasher::new(expected.algorithm()).ok_or_else(unsupported)?;
    hasher.update(bytes);
    hasher.finish().parse().map_err(|_| unsupported())
}

fn distinct<'a>(children: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut seen = std::collections::HashSet::new();
    children.filter(|child| seen.insert(child.digest().as_ref())).collect()
}

/// Reads a descriptor and forgives what does not concern us: an incomplete platform, an unknown field.
pub(crate) fn lenient(mut value: Value) -> std::result::Result<Descriptor, serde_json::Error> {
    let first = serde_json::from_value(value.clone());
    match (first, value.as_object_mut().and_then(|fields| fields.remove("platform"))) {
        (Err(_), Some(_)) => serde_json::from_value(value),
        (first, _) => first,
    }
}

fn one<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<Descriptor>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    value.map(lenient).transpose().map_err(serde::de::Error::custom)
}

fn many<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Vec<Descriptor>, D::Error> {
    let values = Option::<Vec<Value>>::deserialize(from)?.unwrap_or_default();
    values.into_iter().map(lenient).collect::<std::result::Result<_, _>>().map_err(serde::de::Error::custom)
}
