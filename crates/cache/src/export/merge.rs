//! The tree of a ref merged into a directory that may have something in it.
//!
//! ```text
//! DIR/..merge.lazyblob-NONCE/tree/ ─ each entry by one rename ─▶ DIR/
//! ```
//!
//! Who looks sees every file as it was or as it is to be. What the tree does not have stays; what it has replaces what was
//! there, a directory that was in the way of a file included. Links that were there are replaced and never followed.

use std::fs::{self, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::place::{Staging, rename};
use super::tree::Making;
use super::{ExtractOptions, Extracted, count};
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::Skipped;
use crate::manager::Manager;
use crate::refs::ImmutableRef;
use crate::root::delete;

const OPERATION: &str = "merge into";
/// What the tree is called while it is made.
const NAME: &str = ".merge";

impl Manager {
    /// Puts the tree of a ref, or of nothing, into `dir`, which is made if it does not exist, over what is there. The
    /// directory itself keeps its mode and its owner. Nothing in it changes before the whole tree is on its file system;
    /// who withdraws while it is moved leaves files of which each is whole.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract_to`], but for what it says of a directory that is not empty.
    pub async fn merge_into(
        &self,
        of: Option<ImmutableRef>,
        dir: &Path,
        options: ExtractOptions,
        access: &Access,
    ) -> Result<Extracted> {
        let (dir, settings, access) = (dir.to_owned(), *self.settings(), access.clone());
        let what = What::new(OPERATION, dir.display());
        let work = move |cancel: CancellationToken| async move {
            let place = dir.clone();
            let begin = move || {
                fs::create_dir_all(&place).during(OPERATION, place.display(), &place)?;
                Staging::begin(&place.join(NAME))
            };
            let staging = blocking(|| what.clone(), begin).await?;
            let made = match of {
                Some(of) => {
                    let making = Making { of: &of, options, settings, access: &access, cancel: &cancel };
                    making.run(&staging).await
                }
                None => Ok(Skipped::default()),
            };
            blocking(
                || what.clone(),
                move || {
                    let merged = made.and_then(|skipped| {
                        let counted = merge(&staging.tree(), &dir, &cancel)?;
                        staging.sync()?;
                        Ok(Extracted { skipped, ..counted })
                    });
                    staging.discard();
                    merged
                },
            )
            .await
        };
        self.see_through(|cancel| Box::pin(work(cancel))).await
    }
}

/// Two directories to be made one.
struct Pair {
    from: PathBuf,
    to: PathBuf,
    /// The upper one's mode and time come last: what is moved changes them.
    leaving: bool,
}

fn merge(tree: &Path, dir: &Path, cancel: &CancellationToken) -> Result<Extracted> {
    let counted = count::count(tree).during(OPERATION, dir.display(), tree)?;
    let mut waiting = vec![Pair { from: tree.to_owned(), to: dir.to_owned(), leaving: false }];
    while let Some(pair) = waiting.pop() {
        if pair.leaving {
            dress(&pair.from, &pair.to).during(OPERATION, dir.display(), &pair.to)?;
            continue;
        }
        if pair.to != dir {
            waiting.push(Pair { from: pair.from.clone(), to: pair.to.clone(), leaving: true });
        }
        let entries = fs::read_dir(&pair.from).during(OPERATION, dir.display(), &pair.from)?;
        for entry in entries {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled { what: What::new(OPERATION, dir.display()) });
            }
            let entry = entry.during(OPERATION, dir.display(), &pair.from)?;
            let (from, to) = (entry.path(), pair.to.join(entry.file_name()));
            let is_dir = entry.file_type().during(OPERATION, dir.display(), &from)?.is_dir();
            if place(&from, &to, is_dir).during(OPERATION, dir.display(), &to)? == Placed::Both {
                waiting.push(Pair { from, to, leaving: false });
            }
        }
    }
    Ok(counted)
}

#[derive(PartialEq, Eq)]
enum Placed {
    Moved,
    /// There are directories on both sides.
    Both,
}

fn place(from: &Path, to: &Path, is_dir: bool) -> io::Result<Placed> {
    let found = match fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found?),
    };
    match found {
        Some(found) if found.is_dir() && is_dir => return Ok(Placed::Both),
        Some(found) if found.is_dir() => delete(to)?,
        Some(_) if is_dir => fs::remove_file(to)?,
        _ => {}
    }
    rename(from, to).map(|()| Placed::Moved)
}

fn dress(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    let open = fs::File::open(to)?;
    open.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
    open.set_times(FileTimes::new().set_modified(meta.modified()?))
}
