//! One action done to a tree.

use tokio_util::sync::CancellationToken;

use super::copy::copy;
use super::fault::{Done, Fault};
use super::mkdir::mkdir;
use super::mkfile::mkfile;
use super::rm::rm;
use super::symlink::symlink;
use super::tree::Root;
use crate::error::Error;
use crate::llb::pb::{Action, ChownOpt};

/// Does an action to `to`. `from` is what is copied from.
pub(super) fn act(
    action: &Action,
    from: Option<&Root>,
    to: &Root,
    owner: Option<(u32, u32)>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    if cancel.is_cancelled() {
        return Err(fault(action, Fault::Cancelled));
    }
    let done: Done<()> = match action {
        Action::Copy(copied) => match from {
            Some(from) => copy(from, to, copied, owner, cancel),
            None => Err(Fault::wrong(&copied.src, "there is no tree to copy from")),
        },
        Action::MkFile(file) => mkfile(to, file, owner),
        Action::MkDir(dir) => mkdir(to, dir, owner),
        Action::Rm(removed) => rm(to, removed, cancel),
        Action::Symlink(link) => symlink(to, link, owner),
    };
    done.map_err(|error| fault(action, error))
}

/// The error of an action.
pub(super) fn fault(action: &Action, fault: Fault) -> Error {
    match action {
        Action::Copy(copy) => fault.during("copy", &format!("{} to {}", copy.src, copy.dest)),
        Action::MkFile(file) => fault.during("make file", &file.path),
        Action::MkDir(dir) => fault.during("make directory", &dir.path),
        Action::Rm(rm) => fault.during("remove", &rm.path),
        Action::Symlink(link) => fault.during("make symbolic link", &link.newpath),
    }
}

/// Whose an action says that what it makes is.
pub(super) fn owner_of(action: &Action) -> Option<&ChownOpt> {
    match action {
        Action::Copy(copy) => copy.owner.as_ref(),
        Action::MkFile(file) => file.owner.as_ref(),
        Action::MkDir(dir) => dir.owner.as_ref(),
        Action::Symlink(link) => link.owner.as_ref(),
        Action::Rm(_) => None,
    }
}
