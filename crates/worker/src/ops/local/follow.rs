//! What the symbolic links on a path lead to, so that it is sent as well.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use lazyblob_cache::contenthash::{Glob, has_wildcards};
use rustix::fs::{FileType, OFlags};

use super::file;
use crate::llb::paths;

/// Patterns for these paths and for everything their links lead to, within the directory; nothing where one of them is the
/// directory itself, which leaves nothing out. A name in a path may be a wildcard, of which each link is followed.
pub(super) fn follow(root: &OwnedFd, wanted: &[String]) -> io::Result<Option<Vec<String>>> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut waiting: Vec<String> = wanted.iter().map(|path| relative(path)).collect();
    while let Some(path) = waiting.pop() {
        let parts: Vec<&str> = path.split('/').collect();
        for at in 1..=parts.len() {
            let (way, rest) = (join(parts.get(..at)), join(parts.get(at..)));
            let targets = links(root, &way)?;
            if targets.is_empty() && !rest.is_empty() {
                continue;
            }
            if found.insert(way) {
                waiting.extend(targets.into_iter().map(|target| relative(&format!("{target}/{rest}"))));
            }
            break;
        }
    }
    Ok(found.iter().all(|path| path != ".").then(|| apart(found)))
}

fn join(parts: Option<&[&str]>) -> String {
    parts.unwrap_or_default().join("/")
}

/// The same place as seen from the directory: nothing leads out of it.
fn relative(path: &str) -> String {
    match paths::rooted(path).trim_start_matches('/') {
        "" => ".".to_owned(),
        path => path.to_owned(),
    }
}

/// Without those that are below others.
fn apart(sorted: BTreeSet<String>) -> Vec<String> {
    let mut apart: Vec<String> = Vec::new();
    for path in sorted {
        if !apart.last().is_some_and(|last| path.starts_with(&format!("{last}/"))) {
            apart.push(path);
        }
    }
    apart
}

/// Where the links of this path lead, from the directory: it is one, or a wildcard for several.
fn links(root: &OwnedFd, path: &str) -> io::Result<Vec<String>> {
    let (above, name) = file::split(path.as_bytes());
    let directory = match file::open(root, above, OFlags::DIRECTORY) {
        Ok(directory) => directory,
        // What is not there leads nowhere, and neither does what a link is on the way to: that one was followed.
        Err(error) if is_no_directory(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = vec![(name.to_vec(), FileType::Unknown)];
    if has_wildcards(name) {
        let glob = Glob::new(name).ok();
        let matches = |name: &[u8]| glob.as_ref().is_some_and(|glob| glob.matches(name));
        names = file::list(&directory)?;
        names.retain(|(name, _)| matches(name));
    }
    let mut targets = Vec::new();
    for (name, kind) in names {
        let is_link = match kind {
            FileType::Unknown => {
                file::facts_at(&directory, &name)?.is_some_and(|facts| facts.kind() == FileType::Symlink)
            }
            kind => kind == FileType::Symlink,
        };
        if is_link {
            let target = String::from_utf8_lossy(&file::target(&directory, &name)?).into_owned();
            let above = String::from_utf8_lossy(above);
            targets.push(if target.starts_with('/') { target } else { format!("{above}/{target}") });
        }
    }
    Ok(targets)
}

fn is_no_directory(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        error.raw_os_error().map(Errno::from_raw_os_error),
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
    )
}
