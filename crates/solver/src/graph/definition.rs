//! A build graph as it is handed in: checked once, before anything of it runs.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use oci_spec::image::Digest;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::error::{Error, Result};
use crate::ids::VertexName;
use crate::scheduler::message;
use crate::value::Value;
use crate::vertex::Vertex;

/// How a vertex has another as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrow {
    /// The position among the inputs.
    pub(crate) input: u32,
    /// Which output of the other.
    pub(crate) output: u32,
}

/// A build graph without cycles, in which every input is there.
pub struct Graph<R: Value> {
    /// Arrows go from a vertex to its inputs.
    vertices: DiGraph<Vertex<R>, Arrow>,
    /// The kind of the op of each vertex: an op is asked once, and here, where only its own build can come to harm.
    kinds: Vec<Arc<str>>,
    index: HashMap<Digest, NodeIndex>,
    /// Inputs before those that have them.
    order: Vec<NodeIndex>,
}

impl<R: Value> Graph<R> {
    /// A graph of these vertices. The same vertex may be given several times.
    ///
    /// # Errors
    /// [`Error::Cycle`] with the path, [`Error::MissingInput`], or [`Error::Invalid`] for two vertices of one digest with
    /// different inputs, and for an op that panics when it is asked for its kind.
    pub fn new(vertices: impl IntoIterator<Item = Vertex<R>>) -> Result<Self> {
        let mut graph = DiGraph::new();
        let mut index = HashMap::new();
        let (mut kinds, mut known_kinds) = (Vec::new(), BTreeSet::new());
        for vertex in vertices {
            match index.get(&vertex.name.digest) {
                None => {
                    let digest = vertex.name.digest.clone();
                    kinds.push(kind(&vertex, &mut known_kinds)?);
                    index.insert(digest, graph.add_node(vertex));
                }
                Some(known) => same(&graph[*known], &vertex)?,
            }
        }
        for at in graph.node_indices() {
            for input in 0..graph[at].inputs.len() {
                let vertex: &Vertex<R> = &graph[at];
                let edge = &vertex.inputs[input];
                let Some(to) = index.get(&edge.vertex).copied() else {
                    let (vertex, missing) = (vertex.name.as_ref().clone(), edge.clone());
                    return Err(Error::MissingInput { vertex, input, missing });
                };
                let arrow = Arrow { input: u32::try_from(input).unwrap_or(u32::MAX), output: edge.output };
                graph.add_edge(at, to, arrow);
            }
        }
        // Arrows lead to inputs, so that dependants come first.
        let mut order = petgraph::algo::toposort(&graph, None)
            .map_err(|cycle| Error::Cycle { path: path(&graph, &index, cycle.node_id()) })?;
        order.reverse();
        Ok(Self { vertices: graph, kinds, index, order })
    }

    /// How many vertices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.vertices.node_count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vertex of this digest.
    #[must_use]
    pub fn vertex(&self, digest: &Digest) -> Option<&Vertex<R>> {
        self.index.get(digest).and_then(|at| self.vertices.node_weight(*at))
    }

    /// All vertices, inputs before those that have them.
    pub fn vertices(&self) -> impl Iterator<Item = &Vertex<R>> {
        self.order.iter().filter_map(|at| self.vertices.node_weight(*at))
    }

    /// All vertices with the kinds of their ops, inputs before those that have them.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (&Vertex<R>, &str)> {
        let sorted = |at: &NodeIndex| Some((self.vertices.node_weight(*at)?, &**self.kinds.get(at.index())?));
        self.order.iter().filter_map(sorted)
    }

    /// All vertices with the kinds of their ops, inputs before those that have them.
    pub(crate) fn into_vertices(self) -> impl Iterator<Item = (Vertex<R>, Arc<str>)> {
        let (nodes, _) = self.vertices.into_nodes_edges();
        let mut nodes: Vec<_> = nodes.into_iter().map(|node| node.weight).zip(self.kinds).map(Some).collect();
        self.order.into_iter().filter_map(move |at| nodes.get_mut(at.index()).and_then(Option::take))
    }
}

/// The kind of the op of a vertex; those of one kind have one text.
fn kind<R: Value>(vertex: &Vertex<R>, known: &mut BTreeSet<Arc<str>>) -> Result<Arc<str>> {
    let kind: Arc<str> = catch_unwind(AssertUnwindSafe(|| vertex.op.kind().into())).map_err(|panic| {
        let reason = format!("its kind is not to be had: panicked: {}", message(&*panic));
        Error::Invalid { vertex: vertex.name.to_string(), reason }
    })?;
    if let Some(known) = known.get(&kind) {
        return Ok(Arc::clone(known));
    }
    known.insert(Arc::clone(&kind));
    Ok(kind)
}

/// Refuses a second vertex of the same digest that is another one.
fn same<R: Value>(known: &Vertex<R>, other: &Vertex<R>) -> Result<()> {
    if known.inputs == other.inputs && known.options == other.options {
        return Ok(());
    }
    let reason = "given twice, with different inputs or options".to_owned();
    Err(Error::Invalid { vertex: known.name.to_string(), reason })
}

/// A way from a vertex on a cycle back to it, without recursion: a chain may be long.
fn path<R: Value>(
    graph: &DiGraph<Vertex<R>, Arrow>,
    index: &HashMap<Digest, NodeIndex>,
    start: NodeIndex,
) -> Vec<VertexName> {
    let name = |at: NodeIndex| VertexName::clone(&graph[at].name);
    // (vertex, how many of its inputs were tried)
    let mut stack = vec![(start, 0)];
    let mut seen = vec![false; graph.node_count()];
    while let Some((at, tried)) = stack.last_mut() {
        let Some(input) = graph[*at].inputs.get(*tried) else {
            stack.pop();
            continue;
        };
        *tried += 1;
        let Some(to) = index.get(&input.vertex).copied() else { continue };
        if to == start {
            return stack.iter().map(|(at, _)| name(*at)).chain([name(start)]).collect();
        }
        if !std::mem::replace(&mut seen[to.index()], true) {
            stack.push((to, 0));
        }
    }
    vec![name(start)]
}

impl<R: Value> std::fmt::Debug for Graph<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.vertices().map(|vertex| vertex.name.to_string())).finish()
    }
}
