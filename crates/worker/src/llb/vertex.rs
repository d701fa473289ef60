//! A vertex of a definition.

use std::sync::Arc;

use lazyblob_solver::{Edge, VertexName};
use oci_spec::image::Digest;

use super::{BadPlatform, Source, name, normalised, pb};

/// A vertex of a definition, checked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Vertex {
    /// The sha256 of its bytes, and what people call it.
    pub name: VertexName,
    /// What it does.
    pub op: Op,
    /// What it works on.
    pub inputs: Vec<Edge>,
    /// For which platform, as written; `None` is the builder's own. See [`Vertex::platform`].
    pub written_platform: Option<pb::Platform>,
    /// What is said of it without being part of it.
    pub metadata: pb::OpMetadata,
    /// How many outputs it has.
    pub outputs: usize,
}

/// What a vertex does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "there is one of a vertex, and it is moved twice")]
pub enum Op {
    /// Brings something in.
    Source {
        /// As it is written.
        identifier: String,
        /// What it is.
        source: Source,
    },
    /// Runs a command.
    Exec(Box<pb::ExecOp>),
    /// Copies, makes and removes files.
    File(pb::FileOp),
    /// Lays its inputs over one another.
    Merge(pb::MergeOp),
    /// What one input has over another.
    Diff(pb::DiffOp),
    /// A build within the build. No such op is run.
    Build,
    /// Hands its inputs on. No such op is run.
    Passthrough,
}

impl Vertex {
    /// The digest of its bytes.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.name.digest
    }

    /// For which platform it is, under its normal names, where the builder's own is `default`.
    ///
    /// # Errors
    /// [`BadPlatform`] if `default` is; that of the vertex was checked.
    pub fn platform(&self, default: &pb::Platform) -> Result<pb::Platform, BadPlatform> {
        normalised(self.written_platform.as_ref(), default)
    }

    /// Whether it is run whatever the cache has.
    #[must_use]
    pub fn ignores_cache(&self) -> bool {
        self.metadata.ignore_cache
    }

    /// Whether its records go into exported caches.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.metadata.export_cache.as_ref().is_none_or(|export| export.value)
    }

    /// What is not supported about it, in the plural.
    pub(super) fn unsupported(&self) -> Option<String> {
        match &self.op {
            Op::Source { source, .. } => source.unsupported(),
            Op::Build => Some("nested builds".to_owned()),
            Op::Passthrough => Some("passthrough ops".to_owned()),
            Op::Exec(exec) if exec.mounts.iter().any(|mount| !mount.result_id.is_empty()) => {
                Some("mounts of results of other builds".to_owned())
            }
            Op::Exec(exec) if !exec.cdi_devices.is_empty() => Some("devices".to_owned()),
            Op::Exec(_) | Op::File(_) | Op::Merge(_) | Op::Diff(_) => None,
        }
    }

    /// A name for errors about bytes that are no vertex yet.
    pub(super) fn called(digest: Digest, op: Option<&Op>, metadata: Option<&pb::OpMetadata>) -> VertexName {
        let given = metadata.and_then(|metadata| metadata.description.get(name::CUSTOM_NAME));
        let name: Arc<str> = match (given, op) {
            (Some(given), _) if !given.is_empty() => given.as_str().into(),
            (_, Some(op)) => name::of(op).into(),
            (_, None) => "unknown op".into(),
        };
        VertexName { digest, name }
    }
}
