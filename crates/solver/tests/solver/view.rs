//! Graphs as they are looked at: before they run, while they do, and after.

use lazyblob_solver::testing::{Gate, Script};
use lazyblob_solver::{
    Error, Graph, GraphView, JobOptions, Known, OpError, Settings, Solver, Vertex, VertexState, VertexView,
};

use crate::support::{checked, graph, job, solver};
use lazyblob_solver::testing::memory_cache;

fn of<'a>(view: &'a GraphView, op: &Script) -> &'a VertexView {
    view.vertex(&op.digest()).unwrap()
}

fn states<const N: usize>(view: &GraphView, ops: [&Script; N]) -> [VertexState; N] {
    ops.map(|op| of(view, op).state)
}
