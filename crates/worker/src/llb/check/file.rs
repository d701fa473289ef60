//! File operations.

use crate::llb::Fault;
use crate::llb::pb::{Action, ChownOpt, FileOp, User};

pub(super) fn outputs(file: &FileOp, inputs: usize) -> Result<usize, Fault> {
    if file.actions.is_empty() {
        return Err(Fault::Missing("actions"));
    }
    let reachable = inputs + file.actions.len();
    let mut needs = Vec::with_capacity(file.actions.len());
    for action in &file.actions {
        let input = super::number("input of an action", action.input, reachable)?;
        let secondary = super::number("second input of an action", action.secondary_input, reachable)?;
        let earlier = [input, secondary].map(|at| at.and_then(|at| at.checked_sub(inputs)));
        needs.push(earlier);
        what(action.action.as_ref().ok_or(Fault::Missing("action of a known kind"))?, inputs)?;
    }
    no_loop(&needs)?;
    match super::count_outputs(file.actions.iter().map(|action| action.output))? {
        0 => Err(Fault::Missing("output of an action")),
        count => Ok(count),
    }
}

fn what(action: &Action, inputs: usize) -> Result<(), Fault> {
    let (path, owner) = match action {
        Action::Copy(copy) => {
            super::path("source of a copy", &copy.src)?;
            let patterns =
                copy.include_patterns.iter().chain(&copy.exclude_patterns).chain(&copy.required_paths);
            if patterns.into_iter().any(|pattern| pattern.contains('\0')) {
                return Err(Fault::Path { what: "pattern of a copy", reason: "a NUL in it" });
            }
            (&copy.dest, &copy.owner)
        }
        Action::MkFile(file) => (&file.path, &file.owner),
        Action::MkDir(dir) => (&dir.path, &dir.owner),
        Action::Rm(rm) => (&rm.path, &None),
        Action::Symlink(link) => {
            // What it points at is text; whoever follows it stays inside.
            if link.oldpath.contains('\0') {
                return Err(Fault::Path { what: "target of a symbolic link", reason: "a NUL in it" });
            }
            (&link.newpath, &link.owner)
        }
    };
    super::path("path of an action", path)?;
    owner.as_ref().map_or(Ok(()), |owner| known_by(owner, inputs))
}

fn known_by(owner: &ChownOpt, inputs: usize) -> Result<(), Fault> {
    for who in [&owner.user, &owner.group].into_iter().flatten() {
        if let Some(User::ByName(named)) = &who.user {
            super::number("input of an owner", named.input, inputs)?;
        }
    }
    Ok(())
}

/// Actions may name later ones, so they may wait for themselves.
fn no_loop(needs: &[[Option<usize>; 2]]) -> Result<(), Fault> {
    // Each action is done when those it needs are: whatever stays is in a loop or behind one.
    let mut waits: Vec<usize> = needs.iter().map(|needs| needs.iter().flatten().count()).collect();
    let mut users = vec![Vec::new(); needs.len()];
    for (action, needs) in needs.iter().enumerate() {
        for need in needs.iter().flatten() {
            if let Some(users) = users.get_mut(*need) {
                users.push(action);
            }
        }
    }
    let mut ready: Vec<usize> = (0..needs.len()).filter(|action| waits.get(*action) == Some(&0)).collect();
    while let Some(done) = ready.pop() {
        for user in users.get(done).into_iter().flatten() {
            if let Some(left) = waits.get_mut(*user) {
                *left -= 1;
                if *left == 0 {
                    ready.push(*user);
                }
            }
        }
    }
    waits.iter().position(|left| *left > 0).map_or(Ok(()), |action| Err(Fault::ActionLoop(action)))
}
