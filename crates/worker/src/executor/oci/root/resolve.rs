//! Where a name in a root is.

use std::collections::BTreeSet;
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
    /// Something that is mounted over the root, or in that.
    Covered,
}

impl Root {
    /// Follows all links of `path`, with the root as the root of each, and what is mounted at the paths of `covered` seen
    /// there. What is not there is taken as it is written.
    pub(super) fn resolve(&self, path: &Path, covered: &BTreeSet<PathBuf>) -> io::Result<Place> {
        let mut ahead = components(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                done.pop();
                continue;
            }
            done.push(name);
            if covered.contains(&done) {
                return Ok(Place::Covered);
            }
            let stat = match statat(&self.dir, &done, AtFlags::SYMLINK_NOFOLLOW) {
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
            let target = readlinkat(&self.dir, &done, Vec::new())?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                done.clear();
            } else {
                done.pop();
            }
            ahead.extend(components(&target));
        }
        Ok(Place::InRoot(done))
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
