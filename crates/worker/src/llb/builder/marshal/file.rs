//! File operations.

use super::Inputs;
use crate::llb::builder::file::Step;
use crate::llb::builder::node::Output;
use crate::llb::pb;

pub(super) fn op(base: Option<&Output>, steps: &[Step], inputs: &Inputs) -> pb::FileOp {
    // Numbers of actions come after those of inputs.
    let first = i64::try_from(inputs.list.len()).unwrap_or(i64::MAX);
    let base = inputs.number(base);
    let actions = (0_i64..).zip(steps).map(|(at, step)| pb::FileAction {
        input: if at == 0 { base } else { first + at - 1 },
        secondary_input: inputs.number(step.from()),
        output: if usize::try_from(at + 1) == Ok(steps.len()) { 0 } else { -1 },
        action: Some(action(&step.action, base)),
    });
    pb::FileOp { actions: actions.collect() }
}

/// Names of owners are looked up in the tree as it was before the first step.
fn action(action: &pb::Action, base: i64) -> pb::Action {
    let mut action = action.clone();
    let owner = match &mut action {
        pb::Action::Copy(copy) => copy.owner.as_mut(),
        pb::Action::MkFile(file) => file.owner.as_mut(),
        pb::Action::MkDir(dir) => dir.owner.as_mut(),
        pb::Action::Symlink(link) => link.owner.as_mut(),
        pb::Action::Rm(_) => None,
    };
    for who in owner.into_iter().flat_map(|owner| [&mut owner.user, &mut owner.group]).flatten() {
        if let Some(pb::User::ByName(named)) = &mut who.user {
            named.input = base;
        }
    }
    action
}
