//! Trees over trees, and what one has over another.

use super::node::Kind;
use super::state::State;

/// Trees laid over one another, the lowest first. The empty tree is left out; of one, that one is it. Surroundings are those
/// of the first.
pub fn merge<'a>(layers: impl IntoIterator<Item = &'a State>) -> State {
    let mut layers: Vec<&State> = layers.into_iter().filter(|layer| layer.output.is_some()).collect();
    match layers.len() {
        0 => State::default(),
        1 => layers.pop().cloned().unwrap_or_default(),
        _ => {
            let around = layers.first().map_or_else(State::default, |&first| first.clone());
            around.with(Kind::Merge(layers.into_iter().filter_map(|layer| layer.output.clone()).collect()))
        }
    }
}

/// What `upper` has over `lower`, what it lacks included. Surroundings are those of `lower`.
pub fn diff(lower: &State, upper: &State) -> State {
    match (&lower.output, &upper.output) {
        // Over nothing, all of it is more.
        (None, _) => upper.clone(),
        (Some(_), _) => lower.with(Kind::Diff { lower: lower.output.clone(), upper: upper.output.clone() }),
    }
}
