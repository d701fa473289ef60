//! Sources: what is brought in from outside, with its settings read.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use lazyblob_remote::{Digest, Reference};

use super::pb::SourceOp;
use super::{Fault, limits};

/// What a source brings in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// An image of a registry: `docker-image://`.
    Image(ImageSource),
    /// An image of a layout on this machine: `oci-layout://`.
    OciLayout(ImageSource),
    /// A directory of the client's: `local://`.
    Local(LocalSource),
    /// Something else, by the name of its scheme. No such source is run.
    Other {
        /// What stands before `://`, or everything where that is not there.
        scheme: String,
    },
}

/// An image, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// What it is called.
    pub reference: Reference,
    /// Whether what is here already may do.
    pub resolve_mode: ResolveMode,
    /// How many of its layers are wanted, from the bottom; `None` is all.
    pub layer_limit: Option<usize>,
    /// What the name must stand for, where the client is sure; only for an image of a registry.
    pub checksum: Option<Digest>,
    /// Which layout it is in, as the client named it; only for a layout.
    pub store: Option<String>,
}

/// Whether an image that is here already may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveMode {
    /// What the builder does by default.
    #[default]
    Default,
    /// The registry is asked.
    Pull,
    /// What is here does.
    Local,
}

/// A directory of the client's, by the name it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSource {
    /// The name.
    pub name: String,
    /// The session that has it, where that is not the one that builds.
    pub session: Option<String>,
    /// What tells it from other clients' of the same name, where several build at once.
    pub unique: Option<String>,
    /// What is sent, if not everything.
    pub include_patterns: Vec<String>,
    /// What is not sent.
    pub exclude_patterns: Vec<String>,
    /// What is sent together with what its symbolic links lead to.
    pub follow_paths: Vec<String>,
    /// What tells it from others of the same name, so that a former transfer is updated.
    pub shared_key_hint: Option<String>,
}

impl Source {
    /// The source an op describes.
    pub(super) fn read(op: &SourceOp) -> Result<Self, Fault> {
        let Some((scheme, rest)) = op.identifier.split_once("://") else {
            return Err(fault(op, "not of the form SCHEME://REST"));
        };
        match scheme {
            "docker-image" => image(op, rest).map(Self::Image),
            "oci-layout" => layout(op, rest).map(Self::OciLayout),
            "local" => local(op, rest).map(Self::Local),
            scheme => Ok(Self::Other { scheme: scheme.to_owned() }),
        }
    }

    /// What is not supported about it, in the plural.
    pub(super) fn unsupported(&self) -> Option<String> {
        match self {
            Self::Image(_) | Self::OciLayout(_) | Self::Local(_) => None,
            Self::Other { scheme } => Some(format!("{scheme} sources")),
        }
    }
}

fn image(op: &SourceOp, rest: &str) -> Result<ImageSource, Fault> {
    let reference = Reference::from_str(rest).map_err(|error| fault(op, &error.to_string()))?;
    let resolve_mode = match attribute(&op.attrs, "image.resolvemode") {
        None | Some("" | "default") => ResolveMode::Default,
        Some("pull") => ResolveMode::Pull,
        Some("local") => ResolveMode::Local,
        Some(value) => return Err(bad("image.resolvemode", value, "not one of default, pull and local")),
    };
    let layer_limit = layer_limit(op, "image.layerlimit")?;
    let checksum = match attribute(&op.attrs, "image.checksum") {
        None | Some("") => None,
        Some(value) => Some(value.parse().map_err(|_| bad("image.checksum", value, "not a digest"))?),
    };
    Ok(ImageSource { reference, resolve_mode, layer_limit, checksum, store: None })
}

fn layout(op: &SourceOp, rest: &str) -> Result<ImageSource, Fault> {
    let reference = Reference::from_str(rest).map_err(|error| fault(op, &error.to_string()))?;
    if reference.digest().is_none() {
        return Err(fault(op, "an image in a layout is named by its digest"));
    }
    Ok(ImageSource {
        reference,
        resolve_mode: ResolveMode::Local,
        layer_limit: layer_limit(op, "oci.layerlimit")?,
        checksum: None,
        store: attribute(&op.attrs, "oci.store").map(str::to_owned),
    })
}

fn layer_limit(op: &SourceOp, name: &'static str) -> Result<Option<usize>, Fault> {
    match attribute(&op.attrs, name) {
        None => Ok(None),
        Some(value) => match value.parse() {
            Ok(limit) if limit > 0 => Ok(Some(limit)),
            Ok(_) => Err(bad(name, value, "there must be one layer")),
            Err(error) => Err(bad(name, value, &error.to_string())),
        },
    }
}

fn local(op: &SourceOp, name: &str) -> Result<LocalSource, Fault> {
    if name.is_empty() || name.len() > limits::PATH_BYTES || name.contains('\0') {
        return Err(fault(op, "a directory needs a name"));
    }
    let list = |name| match attribute(&op.attrs, name) {
        None => Ok(Vec::new()),
        Some(value) => serde_json::from_str(value).map_err(|error| bad(name, value, &error.to_string())),
    };
    let text = |name| attribute(&op.attrs, name).filter(|value| !value.is_empty()).map(str::to_owned);
    Ok(LocalSource {
        name: name.to_owned(),
        session: text("local.session"),
        unique: text("local.unique"),
        include_patterns: list("local.includepattern")?,
        exclude_patterns: list("local.excludepatterns")?,
        follow_paths: list("local.followpaths")?,
        shared_key_hint: text("local.sharedkeyhint"),
    })
}

fn attribute<'a>(attrs: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    attrs.get(name).map(String::as_str)
}

fn fault(op: &SourceOp, reason: &str) -> Fault {
    Fault::Source { identifier: op.identifier.clone(), reason: reason.to_owned() }
}

fn bad(name: &'static str, value: &str, reason: &str) -> Fault {
    Fault::Attribute { name, value: value.to_owned(), reason: reason.to_owned() }
}
