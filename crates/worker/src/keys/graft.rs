//! Keys of merge and diff. All of every input counts, so there are no selectors; and no content keys, since what matters is
//! not only what is in a tree but which layers it is made of.

use super::json::Object;
use super::{DepKeys, OpKeys};
use crate::llb::pb::{DiffInput, DiffOp, MergeOp};

pub(super) fn merge(merge: &MergeOp, inputs: usize) -> OpKeys {
    let mut object = Object::new();
    object.always("Type", "buildkit.merge.v0");
    object.object("Merge", Some(merge), |object, merge| {
        object.objects("inputs", &merge.inputs, |object, input| object.number("input", input.input));
    });
    OpKeys { preimage: object.finish(), deps: vec![DepKeys::default(); inputs] }
}

pub(super) fn diff(diff: &DiffOp, inputs: usize) -> OpKeys {
    let side = |object: &mut Object, side: &DiffInput| object.number("input", side.input);
    let mut object = Object::new();
    object.always("Type", "buildkit.diff.v0");
    object.object("Diff", Some(diff), |object, diff| {
        object.object("lower", diff.lower.as_ref(), side);
        object.object("upper", diff.upper.as_ref(), side);
    });
    OpKeys { preimage: object.finish(), deps: vec![DepKeys::default(); inputs] }
}
