//! Trees in one tar.
//!
//! ```text
//! root/staging/tar-NONCE/root/         one tree
//!                        root/DIR/     several, each under its name
//! ```
//!
//! Trees are made as for a directory of the user's and written in the order and with the rules of
//! [`layer::diff`](crate::layer::diff()): the same bytes for the same trees.

use std::fs::{self, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

use super::ExtractOptions;
use super::place::{Staging, rename};
use super::tree::Making;
use crate::blocking::blocking;
use crate::error::{Error, IoContext as _, Result, What};
use crate::layer::{self, Retimer};
use crate::manager::Manager;
use crate::refs::ImmutableRef;
use crate::root::delete;
use crate::snapshot::places::{nonce, private_directory};

const OPERATION: &str = "write tar";

/// A tree for a tar.
#[derive(Clone, Debug)]
pub struct TarTree {
    /// The directory of the tar that it goes to, a single name; none for the top of it.
    pub directory: Option<String>,
    /// The tree; nothing is an empty one.
    pub tree: Option<ImmutableRef>,
}

impl Manager {
    /// Writes `trees` as one tar to `out`, which is given back. No time in it is later than `latest`, seconds since 1970,
    /// if that is given. Where this process is not privileged, owners are the caller's and devices are left out.
    ///
    /// # Errors
    /// Those of [`ImmutableRef::extract_to`] and of [`layer::diff`](crate::layer::diff()); [`Error::Invalid`] for a
    /// directory that is not a name, and for one that two trees have.
    pub async fn tar_of<W: Write + Send + 'static>(
        &self,
        trees: Vec<TarTree>,
        out: W,
        latest: Option<u64>,
        access: &Access,
    ) -> Result<W> {
        let (manager, access) = (self.clone(), access.clone());
        let work = move |cancel: CancellationToken| async move {
            let name = format!("tar-{}", nonce());
            let claim =
                manager.root().staging_locks().claim(&name, access.progress.as_ref(), &cancel).await?;
            let place = manager.root().staging().join(&name);
            let what = What::new(OPERATION, place.display());
            let made = manager.laid_out(trees, &place, latest, &access, &cancel).await;
            blocking(
                || what,
                move || {
                    let written = made.and_then(|root| write(&root, out, latest, &cancel));
                    if let Err(error) = delete(&place) {
                        // The next one who opens the root finds it.
                        tracing::warn!(%error, path = %place.display(), "a tree stays behind");
                    }
                    drop(claim);
                    written
                },
            )
            .await
        };
        self.see_through(|cancel| Box::pin(work(cancel))).await
    }

    /// Makes the trees side by side. Returns where.
    async fn laid_out(
        &self,
        trees: Vec<TarTree>,
        place: &Path,
        latest: Option<u64>,
        access: &Access,
        cancel: &CancellationToken,
    ) -> Result<PathBuf> {
        let root = place.join("root");
        let make = {
            let (place, root, is_one) = (place.to_owned(), root.clone(), trees.iter().any(is_top));
            move || {
                let io = |made: io::Result<()>, path: &Path| made.during(OPERATION, path.display(), path);
                io(private_directory(&place), &place)?;
                if is_one { Ok(()) } else { io(fs::create_dir(&root), &root) }
            }
        };
        blocking(|| What::new(OPERATION, place.display()), make).await?;
        for TarTree { directory, tree } in trees {
            let target = match &directory {
                None => root.clone(),
                Some(name) if is_name(name) => root.join(name),
                Some(name) => return Err(Error::invalid(OPERATION, format_args!("{name:?}"), "not a name")),
            };
            let begun = place.join("tree");
            let what = || What::new(OPERATION, target.display());
            let staging = blocking(what, move || Staging::begin(&begun)).await?;
            let made = match &tree {
                Some(of) => {
                    let (options, settings) = (ExtractOptions::default(), *self.settings());
                    Making { of, options, settings, access, cancel }.run(&staging).await.map(drop)
                }
                None => Ok(()),
            };
            let time = directory.as_ref().map(|_| latest.unwrap_or_default());
            let goes = target.clone();
            let settle = move || {
                let settled = made.and_then(|()| {
                    settle(&staging.tree(), &goes, time).during(OPERATION, goes.display(), &goes)
                });
                staging.discard();
                settled
            };
            blocking(what, settle).await?;
        }
        Ok(root)
    }
}

/// Moves a tree to its place. One in a directory of its own gets the time `time`: what its root has is by chance.
fn settle(tree: &Path, target: &Path, time: Option<u64>) -> io::Result<()> {
    if target.try_exists()? {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "two trees have this name"));
    }
    rename(tree, target)?;
    if let Some(time) = time {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time);
        fs::File::open(target)?.set_times(FileTimes::new().set_modified(time))?;
    }
    Ok(())
}

fn write<W: Write>(root: &Path, out: W, latest: Option<u64>, cancel: &CancellationToken) -> Result<W> {
    let mut out = Retimer::new(out, latest.unwrap_or(u64::MAX)).without_root();
    layer::diff(None, root, &mut out, cancel)?;
    let mut out = out.finish().during(OPERATION, root.display(), Path::new("output"))?;
    out.flush().during(OPERATION, root.display(), Path::new("output"))?;
    Ok(out)
}

fn is_top(tree: &TarTree) -> bool {
    tree.directory.is_none()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..")
}
