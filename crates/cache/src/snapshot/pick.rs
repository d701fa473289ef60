//! Which snapshotter a root has.

use std::fs;
use std::io;
use std::sync::Arc;

use super::Snapshotter;
use super::overlay::Overlay;
use super::places::{Places, nonce, sync_directory};
use super::plain::Plain;
use super::store::rename_new;
use crate::error::{Error, IoContext as _, Result};

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// What the root has; in a new one overlay where it works, else plain.
    #[default]
    Auto,
    /// [`Overlay`].
    Overlay,
    /// [`Plain`].
    Plain,
}

/// Opens the snapshots of a root. What is chosen the first time is written to `snapshots/kind`: the two keep layers in
/// different forms, and a root never mixes them.
///
/// # Errors
/// [`Error::Refused`] where the root has another kind than `wanted`, or one that does not work here for this user.
pub fn open(places: Places, wanted: Wanted) -> Result<Arc<dyn Snapshotter>> {
    places.create()?;
    let kind = match kind(&places)? {
        Some(kind) => kind,
        None => choose(&places, wanted)?,
    };
    let is_other = matches!((wanted, kind.as_str()), (Wanted::Overlay, "plain") | (Wanted::Plain, "overlay"));
    let object = places.snapshots.display();
    match kind.as_str() {
        _ if is_other => Err(Error::refused(
            "open snapshots",
            object,
            format!("they are of the kind {kind}: use another root, or remove these first"),
        )),
        "overlay" => match Overlay::probe(&places) {
            Ok(()) => Ok(Arc::new(Overlay::new(places))),
            Err(cause) => Err(Error::refused(
                "open snapshots",
                object,
                format!("they are of the kind overlay, which does not work here: {cause}"),
            )),
        },
        "plain" => Ok(Arc::new(Plain::new(places))),
        other => Err(Error::refused(
            "open snapshots",
            object,
            format!("they are of the kind {other:?}, which this version does not know"),
        )),
    }
}

fn kind(places: &Places) -> Result<Option<String>> {
    let path = places.snapshots.join("kind");
    match fs::read_to_string(&path) {
        Ok(kind) => Ok(Some(kind.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("open snapshots", path.display(), &path),
    }
}

/// Chooses, and writes it down unless another process does so first.
fn choose(places: &Places, wanted: Wanted) -> Result<String> {
    let name = match wanted {
        Wanted::Overlay => {
            Overlay::probe(places).map_err(|cause| {
                let reason = format!("overlayfs does not work here: {cause}");
                Error::refused("open snapshots", places.snapshots.display(), reason)
            })?;
            "overlay"
        }
        Wanted::Plain => "plain",
        Wanted::Auto => match Overlay::probe(places) {
            Ok(()) => "overlay",
            Err(cause) => {
                tracing::info!(%cause, "snapshots are plain directories");
                "plain"
            }
        },
    };
    let temporary = places.staging.join(format!(".kind.{}", nonce()));
    let path = places.snapshots.join("kind");
    let write = || -> io::Result<()> {
        fs::write(&temporary, name)?;
        fs::File::open(&temporary)?.sync_all()
    };
    write().during("open snapshots", temporary.display(), &temporary)?;
    if rename_new(&temporary, &path).is_err() {
        places.discard(&temporary)?;
        return kind(places)?.ok_or_else(|| Error::not_found("open snapshots", path.display(), ""));
    }
    sync_directory(&places.snapshots, "open snapshots")?;
    Ok(name.to_owned())
}
