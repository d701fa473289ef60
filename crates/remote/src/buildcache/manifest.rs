//! The manifest around a cache: its layers and its config, in either form.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_spec::image::Descriptor;
use serde::Serialize;

use super::Form;
use super::gojson;
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::media;

/// The annotation of a layer that says what it uncompresses to.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// The annotation of a layer that says when it was made.
pub const CREATED_AT: &str = "buildkit/createdat";
/// The annotation of a layer that says what made it.
pub const DESCRIPTION: &str = "buildkit/description";

/// Whose names the media types are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// `application/vnd.oci.image.…`.
    #[default]
    Oci,
    /// `application/vnd.docker.distribution.…`.
    Docker,
}

/// What a descriptor says, in the order in which Go writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Child<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    urls: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    schema_version: u32,
    media_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Child<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Child<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<Child<'a>>>,
}

/// The manifest of a cache of these layers and this config, to the byte as BuildKit writes it. Layers stand in the order
/// given; media types and annotations are theirs.
///
/// # Errors
/// [`Error::Invalid`] for an image manifest with Docker's names, which cannot have a config of another kind;
/// [`Error::Refused`] for more layers than a manifest can name.
pub fn assemble(form: Form, names: Names, config: &Descriptor, layers: &[Descriptor]) -> Result<Manifest> {
    const OPERATION: &str = "write cache manifest";
    let (media_type, split) = match (form, names) {
        (Form::Manifest, Names::Oci) => (media::OCI_MANIFEST, true),
        (Form::Index, Names::Oci) => (media::OCI_INDEX, false),
        (Form::Index, Names::Docker) => (media::DOCKER_LIST, false),
        (Form::Manifest, Names::Docker) => {
            let reason = "a cache in an image manifest has OCI media types";
            return Err(Error::invalid(OPERATION, config.digest(), reason));
        }
    };
    let mut children: Vec<Child<'_>> = layers.iter().map(child).collect();
    let document = if split {
        let (config, layers) = (Some(child(config)), Some(children));
        Document { schema_version: 2, media_type, config, layers, manifests: None }
    } else {
        children.push(child(config));
        Document { schema_version: 2, media_type, config: None, layers: None, manifests: Some(children) }
    };
    let text = gojson::to_string(&document).map_err(|error| Error::invalid(OPERATION, config.digest(), error))?;
    Manifest::parse(Bytes::from(text), None, None, "the manifest of a build cache")
}

fn child(descriptor: &Descriptor) -> Child<'_> {
    let annotations = descriptor.annotations().iter().flatten();
    Child {
        media_type: descriptor.media_type().as_ref(),
        digest: descriptor.digest().as_ref(),
        size: descriptor.size(),
        urls: descriptor.urls().as_deref().unwrap_or_default(),
        annotations: annotations.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
    }
}
