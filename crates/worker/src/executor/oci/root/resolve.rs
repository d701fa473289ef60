//! Where a name in a root is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use rustix::io::Errno;

use super::{Root, is_absent};

/// So many links are followed, as by the kernel.
const LINKS: usize = 40;

/// What a name leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This path below the root, which has no links in it; it need not be there.
    InRoot(PathBuf),
    /// The same below a tree that is mounted, by its number; `seen` is where it is seen below the root.
    InTree { tree: usize, path: PathBuf, seen: PathBuf },
    /// Something that is mounted and not looked into, or in that.
    Covered,
}

/// What is mounted over a root, by where it is seen: below the root and without links.
#[derive(Debug, Default)]
pub(super) struct Covers {
    at: BTreeMap<PathBuf, Option<usize>>,
    trees: Vec<Root>,
}

impl Covers {
    /// Something is mounted at `seen` from now on; it is looked into if it is a tree.
    pub(super) fn cover(&mut self, seen: PathBuf, tree: Option<Root>) {
        // One that is mounted twice is one.
        let tree = tree.map(|tree| {
            let known = self.trees.iter().position(|other| other.path() == tree.path());
            known.unwrap_or_else(|| {
                self.trees.push(tree);
                self.trees.len() - 1
            })
        });
        // What was mounted below is not seen any more.
        self.at.retain(|at, _| !at.starts_with(&seen));
        self.at.insert(seen, tree);
    }

    /// The tree of this number.
    pub(super) fn tree(&self, number: usize) -> Option<&Root> {
        self.trees.get(number)
    }

    /// What is seen at `path`: where that is mounted, and the tree if it is looked into.
    fn over<'a>(&self, path: &'a Path) -> Option<(&'a Path, Option<usize>)> {
        path.ancestors().find_map(|at| Some((at, *self.at.get(at)?)))
    }
}

impl Root {
    /// Follows all links of `path`, with the root as the root of each, and what is mounted seen where it is. What is not
    /// there is taken as it is written.
    pub(super) fn resolve(&self, path: &Path, covers: &Covers) -> io::Result<Place> {
        let mut ahead = components(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(name);
            let (root, at) = match covers.over(&done) {
                None => (self, done.as_path()),
                Some((seen, Some(number))) if let Some(tree) = covers.tree(number) => {
                    (tree, done.strip_prefix(seen).unwrap_or(&done))
                }
                Some(_) => return Ok(Place::Covered),
            };
            if at.as_os_str().is_empty() {
                continue;
            }
            let stat = match statat(&root.dir, at, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(error) if is_absent(&error.into()) => continue,
                Err(error) => return Err(error.into()),
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&root.dir, at, Vec::new())?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                done.clear();
            } else {
                done.pop();
            }
            ahead.extend(components(&target));
        }
        Ok(match covers.over(&done) {
            None => Place::InRoot(done),
            Some((at, Some(tree))) => {
                Place::InTree { tree, path: done.strip_prefix(at).unwrap_or(&done).to_owned(), seen: done }
            }
            Some((_, None)) => Place::Covered,
        })
    }
}

/// The names of a path, last one first.
fn components(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}
