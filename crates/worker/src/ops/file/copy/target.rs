//! Where a source is copied to.
//!
//! | source | `dest` is | then |
//! |---|---|---|
//! | a directory, its contents alone | nothing yet | it is made, 0755, and filled |
//! | a directory, its contents alone | a directory | it is filled |
//! | a directory | nothing yet | it becomes a copy |
//! | a directory | there | a copy is made in it, of the same name, or what is there of that name is filled |
//! | anything else | a directory | a copy is made in it, of the same name |
//! | anything else | anything else | a copy is made in its place |
//!
//! Directories above are made, 0755; and so is `dest` itself if it ends with a slash. A source whose last part is `.` has no
//! name: its contents are meant. Links on the way and at the end of `dest` are followed, never those below.

use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode};
use rustix::io::Errno;

use super::Copier;
use crate::llb::paths;
use crate::ops::file::fault::{At as _, Done};
use crate::ops::file::tree::{Place, SEARCH, make_all};

/// The permissions of directories that nothing is said of.
const DIRECTORY: u32 = 0o755;

/// A name in a directory.
pub(super) struct Target {
    pub(super) dir: OwnedFd,
    /// `.` for the directory itself.
    pub(super) name: Vec<u8>,
    /// What it is called in errors.
    pub(super) path: Vec<u8>,
}

impl Target {
    pub(super) fn find(copier: &Copier<'_>, source: &[u8], dest: &str) -> Done<Self> {
        let above = match dest.rsplit_once('/') {
            Some((above, last)) if !last.is_empty() && last != "." => above,
            _ => dest,
        };
        let (to, look) = (copier.to, &copier.look);
        to.find(above.as_bytes(), true).and_then(|place| make_all(&place, DIRECTORY, look)).at(dest)?;
        let from = copier.from.find(source, copier.action.follow_symlink).at(source)?;
        let source_is_dir = from.facts().at(source)?.ok_or(Errno::NOENT).at(source)?.is_dir();
        let place = to.find(dest.as_bytes(), true).at(dest)?;
        let there = place.facts().at(dest)?;
        let contents = copier.action.dir_copy_contents && source_is_dir;
        let is_into = match there {
            Some(there) => {
                if source_is_dir {
                    !contents
                } else {
                    there.is_dir()
                }
            }
            None => false,
        };
        if is_into {
            let base = String::from_utf8_lossy(source);
            let name = match paths::base(&base) {
                "/" | "." => b".".to_vec(),
                // Of a pattern it may be any bytes.
                _ => source
                    .strip_suffix(b"/")
                    .unwrap_or(source)
                    .rsplit(|byte| *byte == b'/')
                    .next()
                    .unwrap_or_default()
                    .to_vec(),
            };
            let path = [dest.trim_end_matches(['/', '.']).as_bytes(), b"/", &name].concat();
            return Ok(Self { dir: place.enter().at(dest)?, name, path });
        }
        let path = dest.as_bytes().to_vec();
        if contents && there.is_none() {
            let dir = make_all(&place, DIRECTORY, look).at(dest)?;
            return Ok(Self { dir, name: b".".to_vec(), path });
        }
        Self::at(&place, path)
    }

    fn at(place: &Place<'_>, path: Vec<u8>) -> Done<Self> {
        let name =
            if place.is_within() { b".".as_slice() } else { place.name().ok_or(Errno::NOENT).at(&path)? };
        let dir = fs::openat(place.dir(), ".", SEARCH, Mode::empty()).at(&path)?;
        Ok(Self { dir, name: name.to_vec(), path })
    }
}
