//! Everything that leads to something: what may become a record, and the ways between.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::key::{KeyId, Selector};
use crate::machine::{Traced, Way};

/// What may become a record.
pub(super) struct Node {
    pub(super) digest: KeyId,
    /// For each input the ways to it, in no order and some perhaps twice.
    pub(super) inputs: Vec<Vec<(Option<Selector>, usize)>>,
    /// The edge whose results are its own.
    pub(super) edge: Option<usize>,
}

/// Nodes, by their places.
#[derive(Default)]
pub(super) struct Web {
    pub(super) nodes: Vec<Node>,
    /// Of each edge of the trace: one for each op it has.
    pub(super) of_edge: Vec<SmallVec<[usize; 1]>>,
    /// Those without inputs: they are the same in every store.
    pub(super) leaves: HashMap<KeyId, usize>,
}

impl Web {
    /// The nodes of these edges and of the contents that lead to them. What holds for a session only has none.
    pub(super) fn of(edges: &[Traced]) -> Self {
        let mut web = Self::default();
        for (at, edge) in edges.iter().enumerate() {
            let mut nodes = SmallVec::new();
            for op in edge.ops.iter().filter(|op| !op.is_random()) {
                nodes.push(if edge.is_root {
                    let node = web.leaf(*op);
                    web.nodes[node].edge.get_or_insert(at);
                    node
                } else {
                    web.push(Node {
                        digest: *op,
                        inputs: vec![Vec::new(); edge.inputs.len()],
                        edge: Some(at),
                    })
                });
            }
            web.of_edge.push(nodes);
        }
        for (at, edge) in edges.iter().enumerate().filter(|(_, edge)| !edge.is_root) {
            let Some(node) = web.of_edge[at].first().copied() else { continue };
            for (input, way) in
                edge.inputs.iter().enumerate().flat_map(|(at, ways)| ways.iter().map(move |way| (at, way)))
            {
                match way {
                    Way::Edge(selector, below) => {
                        for below in web.of_edge[*below].clone() {
                            web.link(node, input, selector.clone(), below);
                        }
                    }
                    Way::Content(content) if content.is_random() => {}
                    Way::Content(content) => {
                        let below = web.leaf(*content);
                        web.link(node, input, None, below);
                    }
                }
            }
        }
        web
    }

    pub(super) fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The node of a key without inputs.
    pub(super) fn leaf(&mut self, digest: KeyId) -> usize {
        if let Some(known) = self.leaves.get(&digest) {
            return *known;
        }
        let node = self.push(Node { digest, inputs: Vec::new(), edge: None });
        self.leaves.insert(digest, node);
        node
    }

    /// Adds a way. One to an input that the node does not have is none.
    pub(super) fn link(&mut self, node: usize, input: usize, selector: Option<Selector>, below: usize) {
        if let Some(ways) = self.nodes[node].inputs.get_mut(input) {
            ways.push((selector, below));
        }
    }
}
