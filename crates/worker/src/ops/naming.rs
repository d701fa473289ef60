//! What vertices are called in the solver.

use std::collections::HashSet;

use lazyblob_remote::digest;
use lazyblob_solver::{Edge, SessionId};
use oci_spec::image::Digest;

use crate::llb::pb::Platform;
use crate::llb::{Definition, Op, Source};

/// What the vertices of a definition are called in the solver: by the digests of the definition; where it is built for
/// another platform than the worker's own, by these and the platform, so that one engine can build both. What is made of a
/// directory or a layout of a session's is called by that session as well: the solver shares what has one name, and another
/// session means other files by the same words.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    platform: Option<String>,
    session: Option<SessionId>,
    /// The vertices, by their digests in the definition, that the session is part of the name of.
    bound: HashSet<Digest>,
}

impl Naming {
    /// Names for a build for `platform` by a worker whose own is `own`.
    pub(super) fn new(platform: &Platform, own: &Platform) -> Self {
        let Platform { os, architecture, variant, os_version, os_features } = platform;
        let features = os_features.join(",");
        let text = || format!("{os}/{architecture}/{variant}/{os_version}/{features}");
        Self { platform: (platform != own).then(text), session: None, bound: HashSet::new() }
    }

    /// The same for what a session has of this definition.
    pub(super) fn of_session(mut self, session: &SessionId, definition: &Definition) -> Self {
        // Inputs come before those that have them.
        for vertex in definition.vertices() {
            let is_source =
                matches!(&vertex.op, Op::Source { source: Source::Local(_) | Source::OciLayout(_), .. });
            if is_source || vertex.inputs.iter().any(|input| self.bound.contains(&input.vertex)) {
                self.bound.insert(vertex.digest().clone());
            }
        }
        self.session = Some(session.clone());
        self
    }

    /// The digest of the vertex that has this digest in the definition.
    pub(super) fn digest(&self, digest: &Digest) -> Digest {
        let mut name = digest.clone();
        if let Some(platform) = &self.platform {
            name = digest::sha256(format!("{name} for {platform}").as_bytes());
        }
        if let Some(session) = &self.session
            && self.bound.contains(digest)
        {
            name = digest::sha256(format!("{name} of {session}").as_bytes());
        }
        name
    }

    /// The edge that is this one in the definition.
    pub(super) fn edge(&self, edge: &Edge) -> Edge {
        Edge { vertex: self.digest(&edge.vertex), output: edge.output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llb::{image, local, merge, oci_layout};

    fn own() -> Platform {
        Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() }
    }

    #[test]
    fn one_definition_for_two_platforms_is_two_graphs() {
        let own = own();
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

    #[test]
    fn what_is_of_a_session_is_named_by_it_and_nothing_else_is() {
        let own = own();
        let other = Platform { architecture: "arm64".into(), ..own.clone() };
        let base = image("registry.test/app:1").run(["base"]).root();
        let layout = oci_layout(format!("app@{}", digest::sha256(b"image")), "images");
        for source in [local("context"), layout] {
            let above = merge([&base, &source]).run(["above"]).root();
            let definition = above.definition(&own).unwrap();
            let [ann, bob] = ["ann", "bob"].map(SessionId::new);
            for platform in [&own, &other] {
                let plain = Naming::new(platform, &own);
                let [one, two] = [&ann, &bob].map(|id| plain.clone().of_session(id, &definition));
                let mut shared = 0;
                for vertex in definition.vertices() {
                    let digest = vertex.digest();
                    let is_shared = one.digest(digest) == two.digest(digest);
                    assert_eq!(is_shared, one.digest(digest) == plain.digest(digest));
                    shared += usize::from(is_shared);
                }
                // The image and the command on it; source, merge and the command above are not.
                assert_eq!((shared, definition.vertices().len()), (2, 5));
                assert_ne!(one.edge(definition.result()), two.edge(definition.result()));
            }
        }
    }
}
