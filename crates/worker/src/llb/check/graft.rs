//! Merge and diff.

use crate::llb::Fault;
use crate::llb::pb::{DiffOp, MergeOp};

/// The inputs are used in their order, each once: how results come, and how keys are made.
pub(super) fn merge(merge: &MergeOp, inputs: usize) -> Result<usize, Fault> {
    if merge.inputs.is_empty() {
        return Err(Fault::Missing("inputs of the merge"));
    }
    in_order("layer of the merge", merge.inputs.iter().map(|input| input.input), inputs)
}

pub(super) fn diff(diff: &DiffOp, inputs: usize) -> Result<usize, Fault> {
    let lower = diff.lower.ok_or(Fault::Missing("lower side of the diff"))?.input;
    let upper = diff.upper.ok_or(Fault::Missing("upper side of the diff"))?.input;
    in_order("side of the diff", [lower, upper].into_iter().filter(|input| *input != -1), inputs)
}

fn in_order(what: &'static str, used: impl Iterator<Item = i64>, inputs: usize) -> Result<usize, Fault> {
    let mut count = 0;
    for (position, index) in used.enumerate() {
        if usize::try_from(index).is_ok_and(|at| at >= inputs) || index < 0 {
            return Err(super::index("input", index, inputs));
        }
        if usize::try_from(index) != Ok(position) {
            return Err(Fault::Order { what, position, index });
        }
        count += 1;
    }
    if count == inputs { Ok(1) } else { Err(Fault::Order { what, position: count, index: -1 }) }
}
