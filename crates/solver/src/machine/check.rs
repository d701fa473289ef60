//! What must hold between steps. On in tests; it looks at everything, and names what it found.

use std::collections::HashMap;

use petgraph::stable_graph::NodeIndex;

use crate::machine::edge::{EdgeId, Level, Sums};
use crate::machine::node::Progress;
use crate::machine::tickets::Task;
use crate::machine::{LOCAL, Machine};
use crate::value::Value;

impl<R: Value> Machine<R> {
    /// Panics with all that is unsound. Only called where the settings ask for checks.
    pub(super) fn assert_sound(&self) {
        let unsound = self.unsound();
        assert!(unsound.is_empty(), "the solver's state is unsound:\n{}", unsound.join("\n"));
    }

    /// Everything that is not as it must be.
    pub(super) fn unsound(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut above: HashMap<NodeIndex, u32> = HashMap::new();
        for at in self.graph.node_indices() {
            self.check_node(at, &mut found);
            self.below(at).into_iter().for_each(|below| *above.entry(below).or_default() += 1);
        }
        for at in self.graph.node_indices() {
            let (node, above) = (&self.graph[at], above.get(&at).copied().unwrap_or_default());
            if node.above != above {
                found.push(format!("{}: {above} are above it, it counts {}", node.name, node.above));
            }
        }
        for (at, _) in self.edges.iter() {
            self.check_edge(EdgeId(u32::try_from(at).unwrap_or(u32::MAX)), &mut found);
        }
        for (id, ticket) in &self.tickets {
            let foreign = match ticket.task {
                Task::Probe { source, .. } | Task::Records { source, .. } => source != LOCAL,
                _ => false,
            };
            if self.lookups.contains(&(ticket.node, *id)) != (foreign && !ticket.waived) {
                found.push(format!("{id:?}: listed wrongly among what is waited for"));
            }
        }
        if let Some((_, id)) = self.lookups.iter().find(|(_, id)| !self.tickets.contains_key(id)) {
            found.push(format!("{id:?}: waited for, and it has ended"));
        }
        for (id, request) in &self.requests {
            if !self
                .edges
                .get(request.edge.at())
                .is_some_and(|edge| edge.requests().any(|known| known == *id))
            {
                found.push(format!("{id:?}: its edge does not know it"));
            }
        }
        found
    }

    fn check_node(&self, at: NodeIndex, found: &mut Vec<String>) {
        let node = &self.graph[at];
        let mut say = |what: String| found.push(format!("{}: {what}", node.name));
        let tickets = self.tickets.values().filter(|ticket| ticket.node == at).count();
        if tickets != node.tickets as usize {
            say(format!("{tickets} tickets are out, it counts {}", node.tickets));
        }
        for input in &node.inputs {
            let mut edge = *input;
            loop {
                let Some(state) = self.edges.get(edge.at()) else {
                    say(format!("its input {edge:?} is gone"));
                    break;
                };
                let below = &self.graph[state.node];
                if below.rank >= node.rank {
                    say(format!("rank {} above {} of rank {}", node.rank, below.name, below.rank));
                }
                let held =
                    |job| below.holders.iter().any(|holder: &crate::machine::node::Holder| holder.job == job);
                if let Some(holder) = node.holders.iter().find(|holder| !held(holder.job)) {
                    say(format!("{} holds it but not {}", holder.job, below.name));
                }
                match state.merged_into {
                    Some(into) => edge = into,
                    None => break,
                }
            }
        }
        for into in node.edges.iter().filter_map(|edge| self.edges[edge.at()].merged_into) {
            let target = &self.graph[self.edges[into.at()].node];
            let has = |job| target.holders.iter().any(|holder| holder.job == job);
            if let Some(holder) = node.holders.iter().find(|holder| !has(holder.job)) {
                say(format!("{} holds it but not {}, which stands for it", holder.job, target.name));
            }
        }
        let mirrors = node.rare.iter().flat_map(|rare| rare.mirrors.iter());
        for mirror in mirrors {
            let mut edges = self.graph.node_weight(*mirror).into_iter().flat_map(|node| node.edges.iter());
            let is_here = |into: EdgeId| self.edges[into.at()].node == at;
            if !edges.any(|edge| self.edges[edge.at()].merged_into.is_some_and(is_here)) {
                say("tells a vertex that none of its edges stands for".to_owned());
            }
        }
        if let Progress::Running(ticket, _) = node.exec
            && !self.tickets.get(&ticket).is_some_and(|ticket| matches!(ticket.task, Task::Exec { .. }))
        {
            say("its op runs without a ticket".to_owned());
        }
    }

    fn check_edge(&self, edge: EdgeId, found: &mut Vec<String>) {
        let state = &self.edges[edge.at()];
        let node = &self.graph[state.node];
        let mut say = |what: String| found.push(format!("{}[{}]: {what}", node.name, state.output));
        let mut wants = [0u32; 3];
        let mut count = |level: Level| match level {
            Level::None => {}
            Level::Fast => wants[0] += 1,
            Level::Slow => wants[1] += 1,
            Level::Complete => wants[2] += 1,
        };
        for (_, above) in self.edges.iter() {
            above.deps.iter().filter(|dep| dep.edge == edge).for_each(|dep| count(dep.wanted));
        }
        state.requests().for_each(|_| count(Level::Complete));
        if wants != state.wants {
            say(format!("wanted by {wants:?}, it counts {:?}", state.wants));
        }
        let mut sums = Sums::default();
        state.deps.iter().for_each(|dep| sums.add(dep.flags));
        if sums != state.sums {
            say(format!("its inputs make {sums:?}, it counts {:?}", state.sums));
        }
        for (input, dep) in state.deps.iter().enumerate() {
            if self.edges[dep.edge.at()].merged_into.is_some() && state.merged_into.is_none() {
                say(format!("its input {input} was merged away"));
            }
            let listed = self.edges[dep.edge.at()]
                .consumers
                .iter()
                .any(|(above, at)| *above == edge && *at as usize == input);
            if !listed && state.merged_into.is_none() {
                say(format!("its input {input} does not know it"));
            }
        }
        if state.merged_into.is_some() && (state.wants != [0; 3] || state.requests().next().is_some()) {
            say("merged away, but wanted".to_owned());
        }
        // Whoever is waited for waits for something: work, an edge below, or its turn.
        let waits = state.wanted() > Level::None
            && state.merged_into.is_none()
            && state.finished.is_none()
            && state.level < state.wanted()
            && state.error().is_none_or(|(level, _)| state.wanted() < *level);
        let busy = state.queued
            || node.tickets > 0
            || state.deps.iter().any(|dep| dep.wanted > Level::None)
            || matches!(node.exec, Progress::Queued)
            || matches!(node.mapping, Progress::Queued);
        if waits && !busy {
            say(format!(
                "wanted {:?}, known {:?}, and nothing is done about it",
                state.wanted(),
                state.level
            ));
        }
        let asks = state.deps.iter().any(|dep| dep.wanted > Level::None);
        if asks && state.wanted() == Level::None && !state.queued {
            say("wants something of its inputs, and nobody wants it".to_owned());
        }
    }
}
