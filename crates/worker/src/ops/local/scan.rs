//! What there is in a directory, without reading any file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use tokio_util::sync::CancellationToken;

use super::file::{self, Facts};
use super::filter::{Above, BAD, Filter};
use crate::error::{Error, Result};

/// Something that is sent.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// From the directory, with no slash at either end.
    pub(super) path: Vec<u8>,
    pub(super) facts: Facts,
    /// Where it leads, if it is a symbolic link.
    pub(super) target: Vec<u8>,
}

/// A directory that is being gone through.
struct Open {
    path: Vec<u8>,
    /// Itself, until something in it is sent.
    unsent: Option<Item>,
    above: Above,
    /// What is in it and not looked at yet, the first one last.
    waiting: Vec<(Item, Above, bool)>,
}

/// Goes through the directory at `path`, which is open as `root`: all that is sent of it, directories before what is in
/// them and the rest by name. Sockets are not sent.
pub(super) fn scan(
    root: &OwnedFd,
    path: &Path,
    filter: &Filter,
    cancel: &CancellationToken,
) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut opened =
        vec![Open { path: Vec::new(), unsent: None, above: Above::default(), waiting: Vec::new() }];
    let mut is_new = true;
    while let Some(directory) = opened.last_mut() {
        if is_new {
            if cancel.is_cancelled() {
                return Err(cancelled(path));
            }
            directory.waiting = match list(root, path, &directory.path, filter, &directory.above) {
                // Nobody asked for it, and what in it is asked for is told by nobody.
                Err(Error::Io { source, .. })
                    if directory.unsent.is_some() && source.kind() == io::ErrorKind::PermissionDenied =>
                {
                    Vec::new()
                }
                listed => listed?,
            };
            is_new = false;
        }
        let Some((item, above, sends)) = directory.waiting.pop() else {
            opened.pop();
            continue;
        };
        if sends {
            // What is sent is in a directory: it is sent now, if it was not for its own sake.
            items.extend(opened.iter_mut().filter_map(|directory| directory.unsent.take()));
        }
        if item.facts.is_directory() {
            let (path, unsent) = (item.path.clone(), (!sends).then(|| item.clone()));
            opened.push(Open { path, unsent, above, waiting: Vec::new() });
            is_new = true;
        }
        if sends {
            items.push(item);
        }
    }
    Ok(items)
}

/// What of a directory is to be looked at, whether it is sent, and what was found out for what is in it; the last by name
/// comes first.
fn list(
    root: &OwnedFd,
    whole: &Path,
    directory: &[u8],
    filter: &Filter,
    above: &Above,
) -> Result<Vec<(Item, Above, bool)>> {
    let io =
        |path: &[u8], error: io::Error| Error::io("read local directory", &whole.join(file::os(path)), error);
    let open = file::open(root, directory, OFlags::DIRECTORY).map_err(|error| io(directory, error))?;
    let mut found = Vec::new();
    for (name, kind) in file::list(&open).map_err(|error| io(directory, error))?.into_iter().rev() {
        let path = if directory.is_empty() { name.clone() } else { [directory, b"/", &name].concat() };
        let mut facts = None;
        let kind = match kind {
            FileType::Unknown => {
                facts = file::facts_at(&open, &name).map_err(|error| io(&path, error))?;
                let Some(facts) = &facts else { continue };
                facts.kind()
            }
            kind => kind,
        };
        let choice = filter.choose(&path, kind == FileType::Directory, above).map_err(|pattern| {
            Error::failed(
                "choose files of local directory",
                whole.display(),
                format!("pattern {pattern:?}: {BAD}"),
            )
        })?;
        if !choice.sends && !choice.descends || kind == FileType::Socket {
            continue;
        }
        if facts.is_none() {
            facts = file::facts_at(&open, &name).map_err(|error| io(&path, error))?;
        }
        // What has gone since it was listed is not there.
        let Some(facts) = facts else { continue };
        let target = match facts.kind() {
            FileType::Symlink => file::target(&open, &name).map_err(|error| io(&path, error))?,
            _ => Vec::new(),
        };
        found.push((Item { path, facts, target }, choice.above, choice.sends));
    }
    Ok(found)
}

/// That nobody wants it any more.
pub(super) fn cancelled(path: &Path) -> Error {
    Error::Cancelled { what: lazyblob_remote::What::new("read local directory", path.display()) }
}
