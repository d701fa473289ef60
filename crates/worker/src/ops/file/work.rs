//! A run done to a tree. Blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::action::{act, fault, owner_of};
use super::fault::{Done, Fault};
use super::owner::{group, user};
use super::plan::{From, Run};
use super::tree::Root;
use crate::error::{Error, Result};
use crate::llb::pb::{Action, ChownOpt, FileOp, User, UserOpt};

/// The trees that a run reads besides its own. Names that its base knows are looked up in its own, before it changes.
pub(super) fn reads(file: &FileOp, run: &Run) -> BTreeSet<From> {
    let mut reads = BTreeSet::new();
    for step in &run.steps {
        let Some(action) = file.actions.get(step.action).and_then(|action| action.action.as_ref()) else {
            continue;
        };
        let has_from = file.actions.get(step.action).is_some_and(|action| action.secondary_input >= 0);
        if matches!(action, Action::Copy(_)) && has_from {
            reads.insert(step.from);
        }
        let owner = owner_of(action).into_iter().flat_map(|owner| [&owner.user, &owner.group]).flatten();
        reads.extend(owner.filter_map(known_by).filter(|from| *from != run.base));
    }
    reads
}

/// Does a run to the tree at `to`, with those it reads at `sources`. Gives warnings.
pub(super) fn work(
    file: &FileOp,
    run: Option<&Run>,
    to: &Path,
    sources: &BTreeMap<From, PathBuf>,
    cancel: &CancellationToken,
) -> Result<Vec<String>> {
    let Some(run) = run else { return Ok(Vec::new()) };
    let open = |path: &Path| Root::open(path).map_err(|error| Error::io("open tree", path, error.into()));
    let to = open(to)?;
    let mut roots = BTreeMap::new();
    for (from, path) in sources {
        roots.insert(*from, open(path)?);
    }
    let actions =
        || run.steps.iter().filter_map(|step| Some((step, file.actions.get(step.action)?.action.as_ref()?)));
    let mut warnings = Vec::new();
    let mut owners = Vec::with_capacity(run.steps.len());
    for (_, action) in actions() {
        let root = |from: From| if from == run.base { Some(&to) } else { roots.get(&from) };
        let owner = owner_of(action).map(|owner| ids(owner, &root, &mut warnings)).transpose();
        owners.push(owner.map_err(|error| fault(action, error))?);
    }
    for ((step, action), owner) in actions().zip(owners) {
        act(action, roots.get(&step.from), &to, owner, cancel)?;
    }
    Ok(warnings)
}

fn known_by(who: &UserOpt) -> Option<From> {
    match &who.user {
        Some(User::ByName(named)) => usize::try_from(named.input).ok().map(From::Input),
        Some(User::ById(_)) | None => None,
    }
}

/// The numbers of an owner, as BuildKit has them: a user by number is of the group of that number, one by name of its own.
/// What is not said is root, and so is a name that nobody knows, of which there is a warning.
fn ids<'r>(
    owner: &ChownOpt,
    root: &impl Fn(From) -> Option<&'r Root>,
    warnings: &mut Vec<String>,
) -> Done<(u32, u32)> {
    let (mut uid, mut gid) = (0, 0);
    let looked_up = |who: &UserOpt, name: &str| {
        let of = known_by(who).and_then(root);
        of.ok_or_else(|| Fault::wrong(name, "there is no tree to look the name up in"))
    };
    match owner.user.as_ref().map(|who| (who, &who.user)) {
        Some((_, Some(User::ById(id)))) => (uid, gid) = (*id, *id),
        Some((who, Some(User::ByName(named)))) => match user(looked_up(who, &named.name)?, &named.name)? {
            Some(found) => (uid, gid) = found,
            None => warnings.push(format!("the user {:?} is not in /etc/passwd: root is taken", named.name)),
        },
        Some((_, None)) | None => {}
    }
    match owner.group.as_ref().map(|who| (who, &who.user)) {
        Some((_, Some(User::ById(id)))) => gid = *id,
        Some((who, Some(User::ByName(named)))) => match group(looked_up(who, &named.name)?, &named.name)? {
            Some(found) => gid = found,
            None => {
                warnings.push(format!("the group {:?} is not in /etc/group: root's is taken", named.name));
            }
        },
        Some((_, None)) | None => {}
    }
    Ok((uid, gid))
}
