//! Copies from one tree to another.
//!
//! What is copied where follows what BuildKit does; [`target`] has the rules. [`walk`] goes through a directory and copies
//! what the patterns choose; [`node`] copies one file, [`data`] what is in it, [`meta`] what is said of it.

mod chosen;
mod data;
mod meta;
mod node;
mod target;
mod walk;

use std::collections::HashMap;

use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use self::chosen::Chosen;
use self::data::Data;
use self::target::Target;
use super::chmod::Change;
use super::fault::{At as _, Done, Fault};
use super::tree::{Look, Root};
use super::{unpack, wildcard};
use crate::llb::paths;
use crate::llb::pb::FileActionCopy;

/// One copy action at work.
pub(super) struct Copier<'a> {
    from: &'a Root,
    to: &'a Root,
    action: &'a FileActionCopy,
    /// What is said of all that is made.
    look: Look,
    mode: Option<Change>,
    chosen: Chosen,
    data: Data,
    /// The first copy of each file with several names, by its path below the target.
    links: HashMap<super::tree::Id, Vec<u8>>,
    is_privileged: bool,
    cancel: &'a CancellationToken,
}

/// Copies what an action says. The tree that is copied to may be left with a part of it.
pub(super) fn copy(
    from: &Root,
    to: &Root,
    action: &FileActionCopy,
    owner: Option<(u32, u32)>,
    cancel: &CancellationToken,
) -> Done<()> {
    let (src, dest) = (with_end(&action.src), with_end(&action.dest));
    if !action.create_dest_path {
        let place = to.find(dest.as_bytes(), true).at(&dest)?;
        if !place.is_within() && place.name().is_none() {
            return Err(Errno::NOENT).at(&dest);
        }
    }
    let sources = if action.allow_wildcard && wildcard::is_one(src.as_bytes()) {
        let found = wildcard::expand(from, src.as_bytes(), action.follow_symlink)?;
        if found.is_empty() && !action.allow_empty_wildcard {
            return Err(Fault::wrong(&src, "nothing matches the pattern"));
        }
        found
    } else {
        vec![src.clone().into_bytes()]
    };
    let mut copier = Copier {
        from,
        to,
        action,
        look: Look::new(owner, action.timestamp),
        mode: change(action)?,
        chosen: Chosen::new(action)?,
        data: Data::default(),
        links: HashMap::new(),
        is_privileged: rustix::process::geteuid().is_root(),
        cancel,
    };
    for source in sources {
        copier.source(&source, &dest)?;
    }
    copier.chosen.check(&src)
}

impl Copier<'_> {
    /// Copies one source, or unpacks it.
    fn source(&mut self, source: &[u8], dest: &str) -> Done<()> {
        if self.cancel.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        if self.action.attempt_unpack_docker_compatibility
            && unpack::unpack(self.from, source, self.to, dest.as_bytes(), &self.look, self.cancel)?
        {
            return Ok(());
        }
        // Names of one file in what another source of the pattern found are copied anew.
        self.links.clear();
        let target = Target::find(self, source, dest)?;
        self.whole(source, &target)
    }
}

fn change(action: &FileActionCopy) -> Done<Option<Change>> {
    if !action.mode_str.is_empty() {
        let change = Change::parse(&action.mode_str);
        let wrong = || Fault::wrong(&action.dest, format_args!("{:?} is no mode of chmod", action.mode_str));
        return change.ok_or_else(wrong).map(Some);
    }
    Ok((action.mode != -1).then(|| Change::To(super::mode_bits(action.mode))))
}

/// From the root and clean, but for what is at its end: a slash, or a slash and a dot.
fn with_end(path: &str) -> String {
    let mut whole = paths::rooted(path);
    if path.ends_with("/.") {
        if whole != "/" {
            whole.push('/');
        }
        whole.push('.');
    } else if path.ends_with('/') && whole != "/" {
        whole.push('/');
    }
    whole
}
