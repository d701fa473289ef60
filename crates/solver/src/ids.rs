//! Names of things a solver has while it runs.

use std::fmt;
use std::sync::Arc;

use oci_spec::image::Digest;

/// One output of a vertex: what is asked of a solver, and what a vertex has as input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// The vertex.
    pub vertex: Digest,
    /// Which of its outputs, from 0.
    pub output: u32,
}

impl Edge {
    /// The first output of a vertex.
    #[must_use]
    pub fn first(vertex: Digest) -> Self {
        Self { vertex, output: 0 }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.vertex, self.output)
    }
}

/// A vertex as it is told about: in errors, in the status stream, in exported graphs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VertexName {
    /// The digest of its definition.
    pub digest: Digest,
    /// What people call it.
    pub name: Arc<str>,
}

impl fmt::Display for VertexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.digest)
    }
}

/// A job of a solver. Never given out twice by one solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(crate) u32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.0)
    }
}

/// Who asks: opaque to the solver. An embedder maps it to credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A session of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name it was made of.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
