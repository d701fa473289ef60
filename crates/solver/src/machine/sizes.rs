//! How large what there is one of for each vertex, output or input is: what 100 000 vertices take follows from it.

use crate::machine::edge::{DepState, EdgeState};
use crate::machine::node::{Map, Node, Times, Use};
use crate::machine::tickets::Ticket;

/// Names the type and its size if it is larger than it may be.
fn at_most<T>(bytes: usize) {
    let (name, size) = (std::any::type_name::<T>(), size_of::<T>());
    assert!(size <= bytes, "{name} has {size} bytes, more than {bytes}");
}

#[test]
fn what_a_vertex_has_is_small() {
    at_most::<Node<i64>>(280);
    at_most::<Map<i64>>(72);
    at_most::<EdgeState<i64>>(312);
    at_most::<Times>(40);
    at_most::<Ticket>(32);
}

#[test]
fn what_an_input_has_is_small() {
    at_most::<DepState>(24);
    at_most::<Use<i64>>(8);
}
