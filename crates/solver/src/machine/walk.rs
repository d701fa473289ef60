//! Looking over the ancestors of a vertex for what they can do.

use petgraph::stable_graph::NodeIndex;

use crate::machine::Machine;
use crate::ops::{Site, Wanted};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Looks for cache options: at each site in turn, and over its inputs if `above` is set. Depth first, a vertex before
    /// its inputs, inputs in their order; what an input was merged into comes right after it. Each vertex is visited once,
    /// those that failed are not asked, and nothing is visited when there is nothing left to be found. Vertices that are
    /// there no more are passed over.
    pub(crate) fn find_options(&mut self, sites: &[Site], above: bool, wanted: &mut Wanted) {
        self.walks = self.walks.wrapping_add(1);
        let walk = self.walks;
        let mut stack: Vec<NodeIndex> = Vec::new();
        for site in sites {
            let there = self.graph.node_weight(site.node).is_some_and(|node| node.serial == site.serial);
            if !there {
                continue;
            }
            stack.push(site.node);
            while let Some(at) = stack.pop() {
                if wanted.is_settled() {
                    return;
                }
                if self.visited.len() <= at.index() {
                    self.visited.resize(at.index() + 1, 0);
                }
                if std::mem::replace(&mut self.visited[at.index()], walk) == walk {
                    continue;
                }
                let node = &self.graph[at];
                if node.error.is_none() {
                    node.maps.iter().for_each(|map| map.opts.answer(wanted));
                }
                if !above {
                    continue;
                }
                for input in node.inputs.iter().rev() {
                    let mut edge = *input;
                    let mut chain = smallvec::SmallVec::<[NodeIndex; 2]>::new();
                    loop {
                        chain.push(self.edges[edge.at()].node);
                        match self.edges[edge.at()].merged_into {
                            Some(into) => edge = into,
                            None => break,
                        }
                    }
                    stack.extend(chain.into_iter().rev());
                }
            }
        }
    }

    /// Whether a vertex is there still.
    pub(crate) fn is_there(&self, site: Site) -> bool {
        self.graph.node_weight(site.node).is_some_and(|node| node.serial == site.serial)
    }
}
