//! Looking over the ancestors of a vertex for what they can do.

use std::collections::HashSet;

use petgraph::stable_graph::NodeIndex;
use smallvec::SmallVec;

use crate::machine::Machine;
use crate::machine::edge::EdgeId;
use crate::ops::{Site, Wanted};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Looks for cache options: at each site in turn, and over its inputs if `above` is set. Depth first, a vertex before
    /// its inputs, inputs in their order. Vertices that stand for one input, because they were merged, are asked together,
    /// that which is the input by definition first, before the inputs of any of them; so are those that a site is one with.
    /// Each vertex is visited once, those that failed are not asked, and nothing is visited when there is nothing left to
    /// be found. Vertices that are there no more are passed over.
    pub(crate) fn find_options(&mut self, sites: &[Site], above: bool, wanted: &mut Wanted) {
        self.walks = self.walks.wrapping_add(1);
        let mut merged = HashSet::new();
        let mut stack: Vec<EdgeId> = Vec::new();
        for site in sites {
            if !self.is_there(*site) {
                continue;
            }
            let mut group = SmallVec::from_slice(&[site.node]);
            if above {
                for edge in &self.graph[site.node].edges {
                    self.all_that_is(*edge, &mut group, &mut merged);
                }
            }
            loop {
                if wanted.is_settled() {
                    return;
                }
                group.retain(|at| self.visit(*at));
                for node in group.iter().map(|at| &self.graph[*at]).filter(|node| node.error.is_none()) {
                    node.maps.iter().for_each(|map| map.opts.answer(wanted));
                }
                if above {
                    let inputs = group.iter().rev().flat_map(|at| self.graph[*at].inputs.iter().rev());
                    stack.extend(inputs);
                }
                let Some(input) = stack.pop() else { break };
                group.clear();
                self.all_that_is(input, &mut group, &mut merged);
            }
        }
    }

    /// Adds the vertices of an edge, of what it was merged into, and of what else was merged into that. The last are many
    /// if many are the same, and are added once in a walk: `merged` has those edges for which they were.
    fn all_that_is(&self, edge: EdgeId, group: &mut SmallVec<[NodeIndex; 4]>, merged: &mut HashSet<EdgeId>) {
        let mut edge = edge;
        group.push(self.edges[edge.at()].node);
        while let Some(into) = self.edges[edge.at()].merged_into {
            edge = into;
            group.push(self.edges[edge.at()].node);
        }
        if let Some(rare) = self.edges[edge.at()].rare.as_ref().filter(|rare| !rare.absorbed.is_empty())
            && merged.insert(edge)
        {
            group.extend(rare.absorbed.iter().map(|absorbed| self.edges[absorbed.at()].node));
        }
    }

    /// Notes that a walk has come to a vertex. True if it was not there before.
    fn visit(&mut self, at: NodeIndex) -> bool {
        if self.visited.len() <= at.index() {
            self.visited.resize(at.index() + 1, 0);
        }
        std::mem::replace(&mut self.visited[at.index()], self.walks) != self.walks
    }

    /// Whether a vertex is there still.
    pub(crate) fn is_there(&self, site: Site) -> bool {
        self.graph.node_weight(site.node).is_some_and(|node| node.serial == site.serial)
    }
}
