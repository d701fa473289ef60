//! A node of a build graph.

use std::sync::Arc;
use std::time::Duration;

use oci_spec::image::Digest;

use crate::ids::{Edge, VertexName};
use crate::ops::Op;
use crate::value::Value;

/// An op with its inputs.
#[derive(Clone)]
pub struct Vertex<R: Value> {
    /// The digest of its definition, inputs included, and what people call it. Vertices of equal digest are one vertex,
    /// whichever job brings them.
    pub name: Arc<VertexName>,
    /// What it does.
    pub op: Arc<dyn Op<R>>,
    /// Its inputs, in order.
    pub inputs: Vec<Edge>,
    /// What is not part of its definition.
    pub options: VertexOptions,
}

/// What may be asked of a vertex without making it another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VertexOptions {
    /// Whether it is run whatever the cache has. What it computes is remembered.
    pub ignore_cache: bool,
    /// Whether its records are left out of exported caches.
    pub no_export: bool,
    /// How long each of its cache maps, its op, the preparation of an input for it and the look into one may take; `None` for
    /// what the settings say.
    pub deadline: Option<Duration>,
}

impl<R: Value> Vertex<R> {
    /// A vertex with default options.
    pub fn new(digest: Digest, name: impl Into<Arc<str>>, op: Arc<dyn Op<R>>, inputs: Vec<Edge>) -> Self {
        Self {
            name: Arc::new(VertexName { digest, name: name.into() }),
            op,
            inputs,
            options: VertexOptions::default(),
        }
    }

    /// The same vertex with the cache ignored.
    #[must_use]
    pub fn ignoring_cache(mut self) -> Self {
        self.options.ignore_cache = true;
        self
    }
}
