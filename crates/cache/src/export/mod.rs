//! The tree of a ref in a directory of the user's.
//!
//! ```text
//! PARENT/.NAME.lazyblob-NONCE/       0700, flocked while somebody works in it
//!                             tree/  ─ syncfs ─ rename ─▶ PARENT/NAME, which was absent or empty
//! ```
//!
//! Layers that have snapshots are copied from there; blobs of the others are fetched all at once and applied one after the
//! other, each while it is received. So a tree that is extracted once costs no snapshots. Nothing is asked of the network
//! for what is in the root. Whatever goes wrong, the directory is as it was: what a killed process leaves beside it is
//! known by its name and by nobody holding its lock, and goes with the next extraction to the same place.

mod count;
mod layers;
mod merge;
mod mounted;
mod place;
mod tar;
mod tree;

use std::path::Path;

use lazyblob_remote::Access;
use tokio_util::sync::CancellationToken;

pub use self::mounted::MountOptions;
use self::place::Staging;
pub use self::tar::TarTree;
use self::tree::Making;
use crate::blocking::blocking;
use crate::error::{Result, What};
use crate::image::Image;
use crate::layer::{Form, Options, Skipped};
use crate::manager::{Manager, Settings};
use crate::refs::ImmutableRef;
use crate::snapshot::Keep;

/// What is taken over to the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractOptions {
    /// The setuid and setgid bits are kept even where owners are not.
    pub keep_setuid: bool,
    /// As a process without privileges does it, also where this is a privileged one: all files are the caller's, and
    /// devices are left out.
    pub unprivileged: bool,
}

/// A tree that was extracted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files, directories and others, by names; the directory itself is not counted.
    pub entries: u64,
    /// What they take on disk, in bytes; files of several names count once.
    pub bytes: u64,
    /// What was left out, layer by layer: what a layer above hides is counted, too.
    pub skipped: Skipped,
}

impl ExtractOptions {
    fn is_privileged(self, settings: &Settings) -> bool {
        settings.privileged && !self.unprivileged
    }

    /// How layers are applied.
    fn layers(self, settings: &Settings) -> Options {
        let privileged = self.is_privileged(settings);
        let options =
            if privileged { Options::privileged(Form::Tree) } else { Options::unprivileged(Form::Tree) };
        Options { setuid: privileged || self.keep_setuid, limits: settings.limits, ..options }
    }

    /// How snapshots are copied.
    fn copies(self, settings: &Settings) -> Keep {
        let Options { owners, devices, setuid, xattrs, .. } = self.layers(settings);
        Keep { owners, devices, setuid, xattrs }
    }
}

impl ImmutableRef {
    /// Extracts its tree to `dir`, which is absent or an empty directory, and is the whole tree when this returns,
    /// durably, or else what it was before. What is not here is fetched on behalf of `access`.
    ///
    /// Who drops the future withdraws: what was begun is cleaned up, and [`Manager::close`] waits for that.
    ///
    /// # Errors
    /// * [`Error::Refused`](crate::Error::Refused): there is something in `dir`, it is no directory, a link, or the
    ///   working directory; a layer goes beyond a limit or leads out of its tree.
    /// * [`Error::NeedsRemoteProviders`](crate::Error::NeedsRemoteProviders) with all blobs that nobody knows a way to.
    /// * [`Error::Integrity`](crate::Error::Integrity), [`Error::Invalid`](crate::Error::Invalid): a layer is not what its
    ///   config says, or makes no sense; [`Error::Lost`](crate::Error::Lost): one has neither blob nor snapshot.
    /// * Those of transfers; [`Error::Io`](crate::Error::Io) with the file.
    pub async fn extract_to(
        &self,
        dir: &Path,
        options: ExtractOptions,
        access: &Access,
    ) -> Result<Extracted> {
        extract(self.manager(), Some(self.clone()), dir, options, access).await
    }
}

impl Image {
    /// Extracts its tree to `dir`, as [`ImmutableRef::extract_to`]: an image of no layers is an empty directory.
    ///
    /// # Errors
    /// Those of [`Image::files`] and [`ImmutableRef::extract_to`].
    pub async fn extract_to(
        &self,
        manager: &Manager,
        dir: &Path,
        options: ExtractOptions,
        access: &Access,
    ) -> Result<Extracted> {
        extract(manager, self.files()?.cloned(), dir, options, access).await
    }
}

async fn extract(
    manager: &Manager,
    of: Option<ImmutableRef>,
    dir: &Path,
    options: ExtractOptions,
    access: &Access,
) -> Result<Extracted> {
    let (dir, settings, access) = (dir.to_owned(), *manager.settings(), access.clone());
    let what = What::new("extract to", dir.display());
    let work = move |cancel: CancellationToken| async move {
        let staging = blocking(|| what.clone(), move || Staging::begin(&dir)).await?;
        let made = match of {
            Some(of) => {
                let making = Making { of: &of, options, settings, access: &access, cancel: &cancel };
                making.run(&staging).await
            }
            None => Ok(Skipped::default()),
        };
        blocking(
            || what.clone(),
            move || match made {
                Ok(skipped) => staging.finish(skipped, &cancel),
                Err(error) => {
                    staging.discard();
                    Err(error)
                }
            },
        )
        .await
    };
    // Boxed: callers hold it inside futures of their own.
    manager.see_through(|cancel| Box::pin(work(cancel))).await
}
