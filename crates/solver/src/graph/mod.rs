//! Build graphs as they are handed in, and as they are looked at.

mod definition;
mod dot;
mod json;
mod view;

pub use definition::Graph;
pub use view::{GraphView, Known, OutputView, Port, VertexState, VertexView};
