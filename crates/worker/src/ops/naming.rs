//! What vertices are called in the solver.

use lazyblob_remote::digest;
use lazyblob_solver::Edge;
use oci_spec::image::Digest;

use crate::llb::pb::Platform;

/// What the vertices of a definition are called in the solver: by the digests of the definition; where it is built for
/// another platform than the worker's own, by these and the platform, so that one engine can build both.
#[derive(Clone, Debug)]
pub(super) struct Naming(Option<String>);

impl Naming {
    /// Names for a build for `platform` by a worker whose own is `own`.
    pub(super) fn new(platform: &Platform, own: &Platform) -> Self {
        let Platform { os, architecture, variant, os_version, os_features } = platform;
        let features = os_features.join(",");
        let text = || format!("{os}/{architecture}/{variant}/{os_version}/{features}");
        Self((platform != own).then(text))
    }

    /// The digest of the vertex that has this digest in the definition.
    pub(super) fn digest(&self, digest: &Digest) -> Digest {
        match &self.0 {
            None => digest.clone(),
            Some(platform) => digest::sha256(format!("{digest} for {platform}").as_bytes()),
        }
    }

    /// The edge that is this one in the definition.
    pub(super) fn edge(&self, edge: &Edge) -> Edge {
        Edge { vertex: self.digest(&edge.vertex), output: edge.output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_definition_for_two_platforms_is_two_graphs() {
        let own = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let other = Platform { architecture: "arm64".into(), ..own.clone() };
        let third = Platform { variant: "v9".into(), ..other.clone() };
        let edge = Edge { vertex: digest::sha256(b"op"), output: 2 };
        assert_eq!(Naming::new(&own, &own).edge(&edge), edge);
        let named = |platform| Naming::new(platform, &own).edge(&edge);
        assert_ne!(named(&other), edge);
        assert_ne!(named(&other), named(&third));
        assert_eq!(named(&other), named(&other));
        assert_eq!(named(&other).output, 2);
    }
}
