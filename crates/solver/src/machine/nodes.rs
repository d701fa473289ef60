//! The nodes of the active graph.
//!
//! What is below a node stands in it: its inputs, and what its edges were merged into. What is above it is only counted.
//! petgraph's graphs keep lists of both, out of which an arrow is taken in time of their length: discarding all that has
//! one base image as input would be quadratic.

use std::ops::{Index, IndexMut};

use petgraph::stable_graph::NodeIndex;

use crate::machine::arena::Arena;
use crate::machine::node::Node;
use crate::value::Value;

/// Nodes by their place.
pub(super) struct Nodes<R: Value>(Arena<Node<R>>);

impl<R: Value> Nodes<R> {
    pub(super) fn new() -> Self {
        Self(Arena::default())
    }

    pub(super) fn add_node(&mut self, node: Node<R>) -> NodeIndex {
        NodeIndex::new(self.0.insert(node))
    }

    pub(super) fn remove_node(&mut self, at: NodeIndex) -> Option<Node<R>> {
        self.0.remove(at.index())
    }

    pub(super) fn node_weight(&self, at: NodeIndex) -> Option<&Node<R>> {
        self.0.get(at.index())
    }

    pub(super) fn node_weight_mut(&mut self, at: NodeIndex) -> Option<&mut Node<R>> {
        self.0.get_mut(at.index())
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node<R>> {
        self.0.iter().map(|(_, node)| node)
    }

    pub(super) fn node_indices(&self) -> impl Iterator<Item = NodeIndex> {
        self.0.iter().map(|(at, _)| NodeIndex::new(at))
    }
}

impl<R: Value> Index<NodeIndex> for Nodes<R> {
    type Output = Node<R>;

    fn index(&self, at: NodeIndex) -> &Node<R> {
        &self.0[at.index()]
    }
}

impl<R: Value> IndexMut<NodeIndex> for Nodes<R> {
    fn index_mut(&mut self, at: NodeIndex) -> &mut Node<R> {
        &mut self.0[at.index()]
    }
}
