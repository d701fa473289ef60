//! In which order actions are done, and to which trees.
//!
//! Actions in a row, each on what the one before it made and nobody else wants, change one tree: a run. Its end is kept if it
//! is an output or if others go on from it; what is only copied from goes when all is done. What no output needs is not done.

use crate::llb::pb::{Action, FileOp, User};

use super::action::owner_of;

/// Where a tree comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    /// The empty tree.
    Nothing,
    /// An input of the op.
    Input(usize),
    /// The end of an earlier run.
    Run(usize),
}

/// What is done to one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) base: From,
    pub(super) steps: Vec<Step>,
    /// Whether its end is to be a ref: it is an output, or others go on from it.
    pub(super) is_kept: bool,
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) action: usize,
    pub(super) from: From,
}

/// In which order actions are done, and to which trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Each after those that it needs.
    pub(super) runs: Vec<Run>,
    /// The run that ends with each output.
    pub(super) outputs: Vec<usize>,
}

/// How often the tree that an action makes is wanted.
#[derive(Clone, Copy, Default)]
struct Wanted {
    is_needed: bool,
    to_go_on: usize,
    to_copy: usize,
    as_output: bool,
}

impl Wanted {
    /// Whether only the next action will ever see it.
    fn is_passed_on(self) -> bool {
        self.to_go_on == 1 && self.to_copy == 0 && !self.as_output
    }
}

impl Plan {
    /// The plan of an op that was checked: numbers are in range and nothing waits for itself.
    pub(super) fn new(file: &FileOp, inputs: usize) -> Self {
        let action = |number: i64| usize::try_from(number).ok().and_then(|number| number.checked_sub(inputs));
        let wanted = wanted(file, &action);
        let mut plan = Self { runs: Vec::new(), outputs: Vec::new() };
        let mut run_of: Vec<Option<usize>> = vec![None; file.actions.len()];
        for last in ends(file, &wanted, &action) {
            // Back to where the run begins.
            let mut steps = vec![last];
            while let Some(before) = steps.last().and_then(|step| action(file.actions.get(*step)?.input)) {
                if !wanted.get(before).is_some_and(|wanted| wanted.is_passed_on()) {
                    break;
                }
                steps.push(before);
            }
            steps.reverse();
            let of = |number: i64| match (usize::try_from(number), action(number)) {
                (_, Some(action)) => run_of.get(action).copied().flatten().map_or(From::Nothing, From::Run),
                (Ok(input), None) => From::Input(input),
                (Err(_), None) => From::Nothing,
            };
            let at = |step: &usize| file.actions.get(*step);
            let base = steps.first().and_then(at).map_or(From::Nothing, |action| of(action.input));
            let with_from = |step: &usize| Step {
                action: *step,
                from: at(step).map_or(From::Nothing, |action| of(action.secondary_input)),
            };
            let ends = wanted.get(last).copied().unwrap_or_default();
            let run = Run {
                base,
                steps: steps.iter().map(with_from).collect(),
                is_kept: ends.as_output || ends.to_go_on > 0,
            };
            if let Some(slot) = run_of.get_mut(last) {
                *slot = Some(plan.runs.len());
            }
            plan.runs.push(run);
        }
        let mut outputs: Vec<(i64, usize)> = file
            .actions
            .iter()
            .zip(&run_of)
            .filter_map(|(action, run)| Some((action.output, (*run)?)))
            .filter(|(output, _)| *output >= 0)
            .collect();
        outputs.sort_unstable();
        plan.outputs = outputs.into_iter().map(|(_, run)| run).collect();
        plan
    }

    /// Whether an input is read or changed.
    pub(super) fn uses(&self, file: &FileOp, input: usize) -> bool {
        self.runs.iter().any(|run| {
            run.base == From::Input(input)
                || run.steps.iter().any(|step| {
                    let action = file.actions.get(step.action).and_then(|action| action.action.as_ref());
                    step.from == From::Input(input) && matches!(action, Some(Action::Copy(_)))
                        || action.is_some_and(|action| asks(action, input))
                })
        })
    }
}

/// Whether an action looks up names in an input.
fn asks(action: &Action, input: usize) -> bool {
    let owner = owner_of(action).into_iter().flat_map(|owner| [&owner.user, &owner.group]).flatten();
    let mut inputs = owner.filter_map(|who| match &who.user {
        Some(User::ByName(named)) => usize::try_from(named.input).ok(),
        _ => None,
    });
    inputs.any(|of| of == input)
}

fn wanted(file: &FileOp, action: &impl Fn(i64) -> Option<usize>) -> Vec<Wanted> {
    let mut wanted = vec![Wanted::default(); file.actions.len()];
    let outputs = file.actions.iter().enumerate().filter(|(_, action)| action.output >= 0);
    let mut next: Vec<usize> = outputs.map(|(at, _)| at).collect();
    for at in &next {
        if let Some(wanted) = wanted.get_mut(*at) {
            (wanted.as_output, wanted.is_needed) = (true, true);
        }
    }
    while let Some(at) = next.pop() {
        let Some(needs) = file.actions.get(at) else { continue };
        for (number, goes_on) in [(needs.input, true), (needs.secondary_input, false)] {
            let Some((at, wanted)) = action(number).and_then(|at| Some((at, wanted.get_mut(at)?))) else {
                continue;
            };
            wanted.to_go_on += usize::from(goes_on);
            wanted.to_copy += usize::from(!goes_on);
            if !wanted.is_needed {
                wanted.is_needed = true;
                next.push(at);
            }
        }
    }
    wanted
}

/// The last actions of all runs, each after all that it needs.
fn ends(file: &FileOp, wanted: &[Wanted], action: &impl Fn(i64) -> Option<usize>) -> Vec<usize> {
    let is_end = |at: usize| wanted.get(at).is_some_and(|wanted| wanted.is_needed && !wanted.is_passed_on());
    let mut is_done = vec![false; file.actions.len()];
    let mut ends = Vec::new();
    let mut waiting: Vec<usize> = (0..file.actions.len())
        .rev()
        .filter(|at| wanted.get(*at).is_some_and(|wanted| wanted.as_output))
        .collect();
    while let Some(at) = waiting.last().copied() {
        let needs = file.actions.get(at).map(|needs| [needs.input, needs.secondary_input]);
        let open = needs
            .into_iter()
            .flatten()
            .filter_map(action)
            .find(|need| !is_done.get(*need).copied().unwrap_or(true));
        if let Some(open) = open {
            waiting.push(open);
            continue;
        }
        waiting.pop();
        if let Some(done) = is_done.get_mut(at).filter(|done| !**done) {
            *done = true;
            if is_end(at) {
                ends.push(at);
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llb::pb::{FileAction, FileActionCopy, FileActionMkFile};

    /// Actions by input, second input and output.
    fn file(actions: &[(i64, i64, i64)]) -> FileOp {
        let action = |&(input, secondary_input, output): &(i64, i64, i64)| FileAction {
            input,
            secondary_input,
            output,
            action: Some(if secondary_input < 0 {
                Action::MkFile(FileActionMkFile::default())
            } else {
                Action::Copy(FileActionCopy::default())
            }),
        };
        FileOp { actions: actions.iter().map(action).collect() }
    }

    fn run(base: From, steps: &[(usize, From)], is_kept: bool) -> Run {
        let steps = steps.iter().map(|&(action, from)| Step { action, from }).collect();
        Run { base, steps, is_kept }
    }

    #[test]
    fn actions_in_a_row_change_one_tree() {
        let plan = Plan::new(&file(&[(0, -1, -1), (2, 1, -1), (3, -1, 0)]), 2);
        let steps = [(0, From::Nothing), (1, From::Input(1)), (2, From::Nothing)];
        assert_eq!(plan, Plan { runs: vec![run(From::Input(0), &steps, true)], outputs: vec![0] });
    }

    #[test]
    fn what_two_want_is_kept() {
        // Both go on from the first.
        let plan = Plan::new(&file(&[(-1, -1, -1), (0, -1, 1), (0, -1, 0)]), 0);
        let nothing = From::Nothing;
        assert_eq!(plan.runs[0], run(nothing, &[(0, nothing)], true));
        assert_eq!(
            plan.runs[1..],
            [run(From::Run(0), &[(1, nothing)], true), run(From::Run(0), &[(2, nothing)], true)]
        );
        assert_eq!(plan.outputs, [2, 1]);
        // An output that is gone on from.
        let plan = Plan::new(&file(&[(0, -1, 0), (1, -1, 1)]), 1);
        assert_eq!(plan.runs.len(), 2);
        assert!(plan.runs.iter().all(|run| run.is_kept));
    }

    #[test]
    fn what_is_only_copied_from_is_not_kept() {
        // The second comes first here, and the third is needed by nobody.
        let plan = Plan::new(&file(&[(0, 2, 0), (-1, -1, -1), (0, -1, -1)]), 1);
        let nothing = From::Nothing;
        let first = run(nothing, &[(1, nothing)], false);
        assert_eq!(plan.runs, [first, run(From::Input(0), &[(0, From::Run(0))], true)]);
        assert!(plan.uses(&file(&[(0, 2, 0), (-1, -1, -1), (0, -1, -1)]), 0));
    }

    #[test]
    fn inputs_that_nobody_needs_are_not_used() {
        let op = file(&[(0, -1, 0), (1, 2, -1)]);
        let plan = Plan::new(&op, 3);
        assert!(plan.uses(&op, 0) && !plan.uses(&op, 1) && !plan.uses(&op, 2));
    }

    #[test]
    fn long_chains_do_not_use_the_stack() {
        let mut actions = vec![(-1, -1, -1)];
        actions.extend((0..100_000).map(|at| (at, -1, -1)));
        actions.push((100_000, -1, 0));
        let plan = Plan::new(&file(&actions), 0);
        assert_eq!((plan.runs.len(), plan.runs[0].steps.len()), (1, 100_002));
    }
}
